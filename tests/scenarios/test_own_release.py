"""Hospitals that let leave all, figures on a grid, a verdict or nothing of their own models: one run, one report."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from client.site.hospital import Site
from simulations.engine import emulation
from tests.scenarios.conftest import Federation

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "schemas" / "evaluation-1.schema.json"


def allow(monkeypatch: pytest.MonkeyPatch, **levels: str) -> None:
    """Gives each emulated hospital a policy of its own."""
    build = emulation.build_site

    def built(study: Any, name: str, folder: Path) -> Site:
        site = build(study, name, folder)
        policy = dataclasses.replace(site.policy, own_models=levels[name])  # type: ignore[arg-type]
        return dataclasses.replace(site, policy=policy)

    monkeypatch.setattr(emulation, "build_site", built)


def checked(federation: Federation) -> dict[str, Any]:
    document = federation.read("evaluation.json")
    assert [error.message for error in Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(document)] == []
    return document


def test_each_hospital_is_shown_as_far_as_it_allows(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, site_1="verdict", site_2="none", site_3="rounded")
    run = federation.run("privacy=none")
    assert (run["status"], run["reason"]) == ("COMPLETED", ""), "whoever keeps something is not lost"
    document = checked(federation)
    levels = {site: row["level"] for site, row in document["own_release"].items()}
    assert levels == {"site_1": "verdict", "site_2": "none", "site_3": "rounded"}
    assert set(document["models"]) == {"federated"} and document["comparisons"] == {}
    assert document["do_no_harm"]["sites"]["site_2"]["verdict"] == "not measured"
    page = (federation.folder / "report.html").read_text()
    assert "not released by the hospital" in page and "the hospital says: " in page and "rounded to 0.05" in page
    assert "no local model was trained" not in page


def test_those_that_release_all_are_compared_without_the_others(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, site_1="full", site_2="none", site_3="verdict")
    assert federation.run("privacy=none")["status"] == "COMPLETED"
    document = checked(federation)
    assert set(document["models"]["local"]["sites"]) == {"site_1"}
    assert set(document["comparisons"]["federated_minus_local"]["sites"]) == {"site_1"}
    assert set(document["do_no_harm"]["sites"]) == {"site_1", "site_2", "site_3"}


def test_a_run_in_which_all_keep_them_says_so(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, site_1="none", site_2="none", site_3="none")
    assert federation.run("privacy=none")["status"] == "COMPLETED"
    checked(federation)
    assert "Not released by the hospitals" in (federation.folder / "report.html").read_text()


def test_an_honest_run_proves_every_validation_but_the_last(federation: Federation) -> None:
    federation.run("privacy=none training.rounds=4 strategy.averaging=0.5 evaluation.local_baseline=false")
    for path in federation.folder.glob("sites/*/questions/*.json"):
        (asked,) = json.loads(path.read_text()).values()
        assert asked["proven"] == ["1", "2", "3"] and len(asked["validated"]) == 4 and asked["test"]
        assert all(len(digests) == 1 for digests in asked["validated"].values())
