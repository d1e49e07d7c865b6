"""A watcher sees which sites are connected, how the run goes and what refused, as the run's own files say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from common.trust.durable import write_durably
from common.trust.pki import create_authority, issue_server
from server.hub.home import HubConfig, HubHome, write_config
from server.hub.metrics import Connections, hub_page


@pytest.fixture
def home(tmp_path: Path) -> HubHome:
    """A hub with four sites, one connected, and a run of two rounds."""
    found = HubHome(tmp_path)
    for folder in (found.ca.parent, found.server.parent, found.runs / "first"):
        folder.mkdir(parents=True)
    create_authority(found.ca_key, found.ca, "consortium")
    issue_server(found.ca_key, found.ca, ["localhost"], key=found.server_key, certificate=found.server)
    write_config(found, HubConfig(monitor_port=9465))
    sites = {
        name: {"status": status, "changed": "2026-11-23", "node_id": node}
        for name, status, node in (("a", "approved", 1), ("b", "approved", 2), ("c", "invited", 0), ("d", "revoked", 4))
    }
    write_durably(found.sites_file, json.dumps({"schema_version": 1, "sites": sites}))
    state = {"status": "stopped", "processes": {"superlink": {"pid": None, "lives": 4}}}
    write_durably(found.state_file, json.dumps(state))
    return found


def run(home: HubHome, rows: list[dict[str, Any]], lost: list[dict[str, str]]) -> None:
    document = {"status": "PARTIAL", "reason": "lost: b", "rounds_done": len(rows), "rounds_planned": 5, "sites": lost}
    (home.runs / "first" / "run.json").write_text(json.dumps(document))
    (home.runs / "first" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def values(home: HubHome) -> dict[tuple[str, str], float | None]:
    seen = Connections(home)
    seen.nodes = {1: "online", 2: "offline", 4: "online"}
    page = hub_page(home, seen, datetime.now(UTC))
    return {(metric.name, key): value for metric in page.metrics for key, value in metric.values.items()}


def test_only_approved_sites_that_are_online_are_connected(home: HubHome) -> None:
    found = values(home)
    assert found["oncofed_hub_sites_connected", ""] == 1.0
    assert (found["oncofed_hub_site_connected", "a"], found["oncofed_hub_site_connected", "b"]) == (1.0, 0.0)
    assert [found["oncofed_hub_sites", kind] for kind in ("invited", "approved", "revoked")] == [1.0, 2.0, 1.0]
    assert found["oncofed_hub_process_restarts_total", "superlink"] == 3.0
    assert not any(name.startswith("oncofed_hub_run") for name, _ in found), "there was none"


def test_the_run_is_counted_from_its_own_files(home: HubHome) -> None:
    rows: list[dict[str, Any]] = [
        {"round": 1, "failures": [], "epsilon": {"a": 1.0, "b": 1.5}},
        {"round": 2, "failures": [{"site": "b", "code": "budget-refused"}], "epsilon": {"a": 1.4}},
    ]
    lost = [
        {"name": "b", "status": "lost", "code": "budget-refused"},
        {"name": "d", "status": "lost", "code": "no-answer"},
        {"name": "a", "status": "ok", "code": ""},
    ]
    run(home, rows, lost)
    found = values(home)
    assert found["oncofed_hub_round", ""] == 2.0 and found["oncofed_hub_rounds_planned", ""] == 5.0
    assert found["oncofed_hub_run_status", "PARTIAL"] == 1.0
    assert (found["oncofed_hub_site_epsilon_spent", "a"], found["oncofed_hub_site_epsilon_spent", "b"]) == (1.4, 1.5)
    assert found["oncofed_hub_run_refusals", "budget-refused"] == 1.0, "one site, though two files tell of it"
    assert found["oncofed_hub_run_refusals", "no-answer"] == 1.0


def test_a_run_in_a_folder_of_its_own_is_the_last_run_too(home: HubHome, tmp_path: Path) -> None:
    run(home, [], [])
    elsewhere = tmp_path / "elsewhere"
    (home.runs / "first").rename(elsewhere)
    assert not any(name == "oncofed_hub_round" for name, _ in values(home))
    write_durably(home.last_run, f"{elsewhere}\n")
    assert values(home)["oncofed_hub_round", ""] == 0.0


def test_a_hub_that_is_not_ready_is_not_healthy_and_shows_no_path(home: HubHome) -> None:
    run(home, [], [])
    page = hub_page(home, Connections(home))
    assert not page.healthy and str(home.path) not in json.dumps(page.facts)


def test_who_is_connected_stays_known_when_flower_does_not_answer(home: HubHome) -> None:
    seen = Connections(home)
    seen.nodes = {1: "online"}
    seen.look()
    assert seen.nodes == {1: "online"} and seen.looked is None
