"""Every page in a real browser: an axe scan, and nothing wider than a small phone.

Needs Chromium (Debian's `chromium`), so `make browser-tests` runs it and the usual checks do not. Chromium is driven by
its command line alone: axe is written into a copy of the page and leaves what it finds in the title.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from client.site.monitor.look import monitor
from common.reporting.monitor_page import write_page
from common.reporting.run_report import write_run_report
from simulations.engine.run import run_study
from tests.client.simulated import a_department

QUICK = ["data.patients=160", "data.image_size=28", "training.rounds=2", "training.local_epochs=1",
         "privacy.accountant=rdp", "evaluation.local_epochs=1", "evaluation.personal_epochs=1"]  # fmt: skip
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
SCAN = """
<script>%s</script><script>
axe.run(document, {runOnly: %s}).then(found => {
  const left = found.violations.map(v => [v.id, v.nodes.map(n => n.html.slice(0, 120))]);
  document.documentElement.setAttribute("data-found", JSON.stringify({passes: found.passes.length, left}));
});
</script></body>"""
FRAME = """<iframe src="%s" width="320" height="900" style="border: 0"></iframe><script>
document.querySelector("iframe").onload = event => {
  const inside = event.target.contentDocument.scrollingElement;
  const found = {needed: inside.scrollWidth, given: event.target.contentWindow.innerWidth};
  document.documentElement.setAttribute("data-found", JSON.stringify(found));
};
</script>"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from simulations.analysis.explain import ExplainOptions, explain_run

    folder = tmp_path_factory.mktemp("run") / "run"
    run_study(QUICK, "inprocess", folder, None, lambda row: None)
    explain_run(folder, ExplainOptions())
    write_run_report(folder)
    (folder / "site").mkdir()
    look = a_department(folder / "site", "a" * 64, scanner=True)
    write_page(monitor(folder / "site", look), folder / "monitor.html")
    return folder


def browsed(page: Path) -> dict[str, Any]:
    """Returns what the page's script left on its root element."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    assert browser, "These checks need Chromium: apt-get install chromium"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
               "--virtual-time-budget=60000", "--dump-dom", page.as_uri()]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    match = re.search(r'data-found="([^"]*)"', done.stdout)
    assert match, "The page's script did not finish"
    found: dict[str, Any] = json.loads(html.unescape(match[1]))
    return found


PAGES = ("report.html", "privacy.html", "privacy/site_1.html", "sites/site_1/gallery/index.html", "monitor.html")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_used_by_everybody(run: Path, tmp_path: Path, name: str) -> None:
    import axe_core_python

    axe = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", (run / name).read_text(encoding="utf-8"))
    page = tmp_path / "page.html"
    page.write_text(text.replace("</body>", SCAN % (axe, json.dumps(RULES))), encoding="utf-8")
    found = browsed(page)
    assert found["passes"] > 10
    assert found["left"] == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_a_small_phone(run: Path, tmp_path: Path, name: str) -> None:
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME % (run / name).as_uri(), encoding="utf-8")
    found = browsed(frame)
    assert found["given"] == 320 and found["needed"] <= 320
