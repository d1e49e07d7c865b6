"""The reader's page as it is served, in a process of its own, and Chromium before it."""

from __future__ import annotations

import dataclasses
import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from common.inference.package import Package
from tests.packaged import made, phantom_run, pictures

__all__ = ["made", "phantom_run", "pictures"]

ODD = "<img src=x onerror=alert(1)>&\"'grey"
"""Name of an exam that a page must show as it is, and not as what it would do."""
WATCH = """document.addEventListener("securitypolicyviolation",
  event => console.error("CSP", event.violatedDirective, event.blockedURI));"""


@dataclasses.dataclass(eq=False)
class Served:
    """One run of ``oncofed-site read``."""

    process: subprocess.Popen[str]
    home: Path
    start: str

    @property
    def base(self) -> str:
        return self.start.partition("/start")[0]

    @property
    def address(self) -> tuple[str, int]:
        found = urlsplit(self.start)
        assert found.hostname and found.port
        return found.hostname, found.port

    def ask(self, path: str, method: str = "GET", body: str = "", **headers: str) -> tuple[int, dict[str, str], str]:
        """Returns status, headers and text of one request, whose headers have ``_`` for ``-``."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        text = answer.read().decode("latin-1")
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text

    def cookie(self) -> str:
        """Returns the cookie for the token, which is used up by it."""
        status, headers, _ = self.ask(self.start.removeprefix(self.base))
        assert status == 303, status
        return headers["set-cookie"].partition(";")[0]

    def readings(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.home / "readings.jsonl").read_text().splitlines()]

    def end(self) -> int:
        self.process.terminate()
        code = self.process.wait(60)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


def served(made: Package, home: Path, images: Path, *words: str) -> Served:
    """Starts the command on a free port and returns once it answers."""
    command = [sys.executable, "-m", "client.cli.main", "read", "--reader", "Dr Weber", "--package", str(made.folder),
               "--in", str(images), "--home", str(home), *words]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    assert process.stdout is not None and process.stderr is not None
    start = process.stdout.readline().strip()
    if not start:
        raise AssertionError(process.stderr.read())
    return Served(process, home, start)


@pytest.fixture(scope="session")
def exams(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms of nine patients, the first of two images; two blank images; one file that was cut."""
    folder = tmp_path_factory.mktemp("exams")
    places = sorted(place for place in pictures.iterdir() if place.is_dir())
    for place in places[:9]:
        shutil.copytree(place, folder / place.name)
    first = folder / places[0].name
    shutil.copy(next(first.glob("*.png")), first / "second.png")
    Image.fromarray(np.full((96, 96), 90, np.uint8)).save(folder / "blank.png")
    shutil.copy(folder / "blank.png", folder / f"{ODD}.png")
    (folder / "cut.png").write_bytes((folder / "blank.png").read_bytes()[:60])
    return folder


@pytest.fixture(scope="module")
def reading(made: Package, exams: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page over these exams, at a site; each test of a file has its own exams of it."""
    found = served(made, tmp_path_factory.mktemp("home"), exams)
    try:
        yield found
    finally:
        found.end()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Playwright's loop runs in this thread until the file's last test, and asyncio takes no second one."""
    chromium = shutil.which("chromium")
    assert chromium, "These tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@dataclasses.dataclass(eq=False)
class Watched:
    """A page with all that it asked for, and all that a browser complained of."""

    page: Page
    hosts: set[str]
    complaints: list[str]


@pytest.fixture(scope="module")
def context(browser: Browser, reading: Served) -> BrowserContext:
    """The one browser that showed the token."""
    found = browser.new_context(viewport={"width": 1280, "height": 800})
    found.add_init_script(WATCH)
    found.new_page().goto(reading.start)
    (cookie,) = found.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"
    return found


@pytest.fixture
def watched(context: BrowserContext, reading: Served) -> Iterator[Watched]:
    """A fresh page of that browser at the worklist; it must have stayed on this machine, and without a complaint."""
    page = context.new_page()
    found = Watched(page, set(), [])
    page.on("request", lambda request: found.hosts.add(urlsplit(request.url).netloc))
    page.on("console", lambda said: found.complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.goto(reading.base)
    yield found
    page.close()
    assert found.hosts == {urlsplit(reading.base).netloc}
    assert found.complaints == []


def rows(page: Page, base: str) -> list[dict[str, Any]]:
    """Returns the worklist by its JSON."""
    found: list[dict[str, Any]] = page.request.get(f"{base}/worklist.json").json()["exams"]
    return found


def patients(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the nine exams that are phantoms of patients, in the order of the worklist."""
    return [row for row in found if row["name"] not in ("blank", ODD, "cut")]
