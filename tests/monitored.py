"""A hospital that has joined a hub, with simulated quarters of a model in use, as both command lines see them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from click.testing import Result
from typer.testing import CliRunner

from client.cli.main import app as site_app
from client.site.site_file import SiteHome
from common.inference.record import InferenceRecord, append
from common.trust.kit import check_site_name
from common.trust.pki import certificate_facts
from server.cli.main import app as hub_app
from server.hub.home import HubConfig, HubHome, create
from server.hub.journal import record
from tests.client.simulated import simulated_records

PACKAGE = "a" * 64
RUN = "ab12"


@dataclass(frozen=True)
class Pair:
    """A hub and one of its sites."""

    hub: HubHome
    site: SiteHome

    def at_hub(self, *words: str) -> Result:
        return CliRunner().invoke(hub_app, [*words, "--home", str(self.hub.path)])

    def at_site(self, *words: str) -> Result:
        return CliRunner().invoke(site_app, [*words, "--home", str(self.site.path)])

    def report(self, quarter: str, *more: str, name: str = "") -> Path:
        out = self.site.path / f"{name or quarter}.json"
        told(self.at_site("monitor", "report", "--quarter", quarter, "--out", str(out), *more))
        return out

    def seeded(self, seed: int) -> None:
        """Makes the site's noise the same in each run of a test."""
        with self.site.site_file.open("a") as file:
            file.write(f"noise_seed_for_tests_only: {seed}\n")

    def policy(self, **changes: Any) -> None:
        allowed = {"hubs": [certificate_facts(self.site.ca).fingerprint], "monitoring_ceiling": 8.0} | changes
        (self.site.path / "policy.yaml").write_text(yaml.safe_dump(allowed))


def told(result: Result) -> str:
    """Returns what a command printed, which must have ended well."""
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def make_hub(folder: Path, weights: str = "w") -> HubHome:
    """Returns a new hub that has released one package of one run."""
    hub = HubHome(folder)
    create(hub, HubConfig())
    record(hub, "release", run=RUN, weights=weights, sites="", package=PACKAGE)
    return hub


def make_pair(hub: HubHome, name: str, folder: Path) -> Pair:
    """Returns the hub and a site that has joined it and was approved, its monitoring account open."""
    check_site_name(name)
    pair = Pair(hub, SiteHome(folder))
    kit = told(pair.at_hub("invite", name)).splitlines()[-1]
    told(pair.at_site("join", kit, "--declared-patients", "100"))
    told(pair.at_hub("approve", str(folder / "request.json"), "--unseen"))
    pair.policy()
    return pair


def in_quarter(count: int, quarter: str, seed: int, department: Any, **changes: Any) -> list[InferenceRecord]:
    """Returns records of so many patients, one each, all made in the quarter."""
    first = datetime(int(quarter[:4]), 3 * int(quarter[5]) - 2, 20, 12, tzinfo=UTC)
    return simulated_records(department, count, first, PACKAGE, seed, made=first, **changes)[0]


def keep(site: SiteHome, found: list[InferenceRecord]) -> None:
    for one in found:
        append(site.path / "records.jsonl", one)


def a_run(folder: Path, *overrides: str) -> Path:
    """Returns the folder of a run whose model the hub has released."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"schema_version": 1, "run_id": RUN}))
    (folder / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    return folder
