"""A whole study over TLS, three hospitals with BUS-BRA by scanner: to a report, with the simulator's own weights."""

from __future__ import annotations

import json
import ssl
import zipfile
from http.client import HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from common.trust.signing import SiteKey
from server.hub.home import HubHome
from server.hub.journal import read
from simulations.run import run_study

if TYPE_CHECKING:
    from tests.scenarios.deployment.conftest import Deployment

SITES = ("ge_logiq_5", "ge_logiq_7", "toshiba_aplio_300")


@pytest.mark.timeout(900)
def test_three_hospitals_reach_a_report_with_the_weights_of_the_simulator(
    deployment: Deployment, tmp_path: Path
) -> None:
    from tests.scenarios.deployment.conftest import emulation

    run = deployment.run("full")
    status = run.wait(deployment)
    assert (status["status"], status["reason"]) == ("COMPLETED", ""), deployment.tails()
    assert [site["name"] for site in status["sites"]] == list(SITES)
    assert status["engine"] == "flower" and status["seeds"]["noise"] == "seeded"
    assert "Research use only - not a medical device" in (run.folder / "report.html").read_text()
    assert {path.stem for path in (run.folder / "privacy").glob("*.html")} >= set(SITES)

    simulated = run_study(emulation(deployment.data), "inprocess", out=tmp_path / "simulated")
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (run.folder, simulated))
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours[name], values, err_msg=name)

    _what_left_each_hospital_is_in_its_journal(deployment)
    _no_private_key_travels_in_a_kit_or_a_request(deployment)
    _the_hubs_journal_says_who_did_what(deployment)
    _a_stranger_with_the_certificate_finds_no_control(deployment)


def _what_left_each_hospital_is_in_its_journal(deployment: Deployment) -> None:
    for site in SITES:
        lines = (deployment.home(site) / "egress.jsonl").read_text().splitlines()
        purposes = [json.loads(line)["purpose"] for line in lines]
        assert purposes[:3] == ["enrol", "train", "evaluate"] and "statement" in purposes
        patients = {
            line.split(",")[1] for line in (deployment.home(site) / "manifest.csv").read_text().splitlines()[1:]
        }
        journal = (deployment.home(site) / "egress.jsonl").read_text()
        assert not any(f'"{patient}"' in journal for patient in patients)


def _no_private_key_travels_in_a_kit_or_a_request(deployment: Deployment) -> None:
    for kit in (deployment.home("hub") / "kits").glob("*.zip"):
        with zipfile.ZipFile(kit) as archive:
            assert not any(b"PRIVATE" in archive.read(name) for name in archive.namelist())
    for site in SITES:
        assert "PRIVATE" not in (deployment.home(site) / "request.json").read_text()
        assert (deployment.home(site) / "keys" / "node").stat().st_mode & 0o077 == 0


def _the_hubs_journal_says_who_did_what(deployment: Deployment) -> None:
    entries = [json.loads(entry.text) for entry in read(HubHome(deployment.home("hub")))]
    events = [entry["event"] for entry in entries]
    assert events[:3] == ["init", "invite", "approve"]
    assert {entry.get("site") for entry in entries if entry["event"] == "approve"} == set(SITES)
    assert all(entry["user"] and entry["time"] for entry in entries)
    assert len(SiteKey.open(deployment.home("hub") / "hub.ed25519").public_hex) == 64


def _a_stranger_with_the_certificate_finds_no_control(deployment: Deployment) -> None:
    """From another address than the hub's own, with all that a stolen kit holds."""
    from flwr.superlink.main import create_app

    posts = [route.path for route in _routes(create_app()) if "POST" in (route.methods or ())]
    shut = [path for path in posts if not path.startswith("/v1/fleet/")]
    assert {path.split("/")[2] for path in shut} == {"control", "runtime"}
    context = ssl.create_default_context(cafile=str(deployment.home(SITES[0]) / "ca.crt"))
    for path, method in [*((path, "POST") for path in shut), ("/docs", "GET"), ("/openapi.json", "GET")]:
        assert _answer(deployment.port, context, method, path) == 404, path
    assert _answer(deployment.port, context, "POST", "/v1/fleet/pull-messages") in (400, 401, 403)


def _routes(app: Any) -> list[Any]:
    from fastapi.routing import iter_route_contexts

    return [context.route for context in iter_route_contexts(app.routes) if hasattr(context.route, "methods")]


def _answer(port: int, context: ssl.SSLContext, method: str, path: str) -> int:
    connection = HTTPSConnection("127.0.0.1", port, timeout=20, context=context, source_address=("127.0.0.2", 0))
    try:
        connection.request(method, path, body=b"", headers={"Content-Type": "application/protobuf"})
        return connection.getresponse().status
    finally:
        connection.close()
