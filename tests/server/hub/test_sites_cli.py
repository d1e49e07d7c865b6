"""Letting a site in: the fingerprint is compared, and its size is agreed on and kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from server.cli.main import app
from server.hub.home import HubConfig, HubHome, create
from server.hub.registry import Registry
from tests.server.hub.asking import asked


@pytest.fixture
def home(tmp_path: Path) -> HubHome:
    home = HubHome(tmp_path / "hub")
    create(home, HubConfig())
    Registry(home.sites_file).invite("north-1")
    return home


def command(home: HubHome, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--home", str(home.path)])


def request_of(home: HubHome, folder: Path, declared: int) -> tuple[str, str]:
    """Returns the path of a request of ``north-1`` and its fingerprint."""
    found = asked(Registry(home.sites_file), "north-1", folder, declared_patients=declared)
    return str(folder / "request.json"), found.fingerprint


def declared(home: HubHome) -> int:
    return Registry(home.sites_file).sites()["north-1"].declared_patients


def test_nobody_is_let_in_without_a_fingerprint(home: HubHome, tmp_path: Path) -> None:
    path, fingerprint = request_of(home, tmp_path / "keys", 200)
    refused = command(home, "approve", path)
    assert refused.exit_code == 2 and "telephone" in refused.output
    assert command(home, "approve", path, "--fingerprint", "0" * 16).exit_code == 5
    assert command(home, "approve", path, "--fingerprint", fingerprint).exit_code == 0
    rows = json.loads(command(home, "sites", "--json").stdout)["data"]["sites"]
    assert [(row["name"], row["status"], row["declared_patients"]) for row in rows] == [("north-1", "approved", 200)]


def test_a_test_may_say_that_nobody_compared(home: HubHome, tmp_path: Path) -> None:
    path, _ = request_of(home, tmp_path / "keys", 200)
    assert command(home, "approve", path, "--unseen").exit_code == 0


def test_both_sides_must_say_the_same_number(home: HubHome, tmp_path: Path) -> None:
    path, fingerprint = request_of(home, tmp_path / "keys", 200)
    refused = command(home, "approve", path, "--fingerprint", fingerprint, "--declared-patients", "2000")
    assert refused.exit_code == 5 and "declares 200" in refused.output


def test_a_silent_request_needs_the_operators_number(home: HubHome, tmp_path: Path) -> None:
    path, fingerprint = request_of(home, tmp_path / "keys", 0)
    refused = command(home, "approve", path, "--fingerprint", fingerprint)
    assert refused.exit_code == 3 and "--declared-patients" in refused.output
    refused = command(home, "approve", path, "--fingerprint", fingerprint, "--declared-patients", "1000000000")
    assert refused.exit_code == 5 and "whole number" in refused.output
    assert command(home, "approve", path, "--fingerprint", fingerprint, "--declared-patients", "150").exit_code == 0
    assert declared(home) == 150


def test_the_number_changes_only_by_agreement(home: HubHome, tmp_path: Path) -> None:
    path, fingerprint = request_of(home, tmp_path / "keys", 200)
    command(home, "approve", path, "--fingerprint", fingerprint)
    assert command(home, "agree", "north-1", "250").exit_code == 0 and declared(home) == 250
    assert command(home, "agree", "south", "250").exit_code == 3
    assert command(home, "agree", "north-1", "0").exit_code == 2
    assert command(home, "agree", "north-1", str(2**40)).exit_code == 5 and declared(home) == 250


@pytest.mark.parametrize("number", [-1, 2**40])
def test_a_request_cannot_declare_what_no_cohort_is(home: HubHome, tmp_path: Path, number: int) -> None:
    from common.errors import TrustError

    with pytest.raises(TrustError, match="whole number"):
        request_of(home, tmp_path / "keys", number)
