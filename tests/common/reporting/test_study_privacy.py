"""The page that collects the sites' privacy statements says which of them a key stands behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from simulations.engine.run import run_study


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    overrides = ["data.patients=200", "data.image_size=28", "training.rounds=1", "privacy.accountant=rdp",
                 "evaluation.local_baseline=false", "evaluation.personal_epochs=0"]  # fmt: skip
    return run_study(overrides, "inprocess", tmp_path_factory.mktemp("study") / "run")


def test_a_run_leaves_one_page_with_every_site_signed(run_folder: Path) -> None:
    page = (run_folder / "privacy.html").read_text(encoding="utf-8")
    for path in (run_folder / "privacy").glob("*.json"):
        statement = json.loads(path.read_text(encoding="utf-8"))
        assert f'href="privacy/{path.stem}.html"' in page
        assert f"{statement['epsilon']:.4f}" in page
    assert page.count('<td class="wrap">right</td>') == 4
    assert "Research use only - not a medical device" in page


def test_the_runs_own_report_leads_to_the_page(run_folder: Path) -> None:
    assert 'href="privacy.html"' in (run_folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"private": true, "site": "site_1", "epsilon": "<b>low"}'])
def test_a_statement_that_cannot_be_shown_stops_nothing(damage: str, run_folder: Path, tmp_path: Path) -> None:
    from common.reporting.study_privacy import write_privacy_pages

    (tmp_path / "privacy").mkdir()
    (tmp_path / "privacy" / "site_1.json").write_text(damage)
    shutil.copy(run_folder / "privacy" / "site_2.json", tmp_path / "privacy")
    write_privacy_pages(tmp_path)
    page = (tmp_path / "privacy.html").read_text(encoding="utf-8")
    assert page.count('<td class="wrap">right</td>') == 1 and "<b>" not in page
    assert 'href="privacy/site_2.html"' in page and 'href="privacy/site_1.html"' not in page


def test_a_statement_of_another_site_is_named(run_folder: Path, tmp_path: Path) -> None:
    from common.reporting.study_privacy import write_privacy_pages

    (tmp_path / "privacy").mkdir()
    shutil.copy(run_folder / "privacy" / "site_2.json", tmp_path / "privacy" / "site_1.json")
    write_privacy_pages(tmp_path)
    assert "it names site_2, not site_1" in (tmp_path / "privacy.html").read_text(encoding="utf-8")


def test_a_statement_that_was_changed_shows_as_changed(run_folder: Path, tmp_path: Path) -> None:
    from common.reporting.study_privacy import write_privacy_pages

    for path in (run_folder / "privacy").glob("*.json"):
        statement = json.loads(path.read_text(encoding="utf-8"))
        if path.stem == "site_2":
            statement["epsilon"] /= 2
        (tmp_path / "privacy").mkdir(exist_ok=True)
        (tmp_path / "privacy" / path.name).write_text(json.dumps(statement), encoding="utf-8")
    write_privacy_pages(tmp_path)
    page = (tmp_path / "privacy.html").read_text(encoding="utf-8")
    assert page.count('<td class="wrap">right</td>') == 3
    assert "changed after the site had signed it" in page
