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

from client.site.site_file import SiteHome
from common.trust.signing import SiteKey
from server.hub.home import HubHome
from server.hub.journal import read
from simulations.engine.run import run_study

if TYPE_CHECKING:
    from tests.scenarios.deployment.conftest import Deployment

API = ("fleet", "control", "runtime")
SITES = ("ge_logiq_5", "ge_logiq_7", "toshiba_aplio_300")
NOTHING = 0


@pytest.mark.timeout(900)
def test_three_hospitals_reach_a_report_with_the_weights_of_the_simulator(
    deployment: Deployment, tmp_path: Path
) -> None:
    from tests.scenarios.deployment.conftest import emulation

    run = deployment.begin("full")
    status = run.wait(deployment)
    assert (status["status"], status["reason"]) == ("COMPLETED", ""), deployment.tails()
    assert [site["name"] for site in status["sites"]] == list(SITES)
    assert status["engine"] == "deployment" and status["seeds"]["noise"] == "seeded"
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
    _each_role_finds_its_own_paths_only(deployment)


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


def _each_role_finds_its_own_paths_only(deployment: Deployment) -> None:
    """Whoever has what a stolen kit holds, a hospital, the operator, and another user of the hub's machine."""
    from flwr.superlink.main import create_app

    posts = [route.path for route in _routes(create_app()) if "POST" in (route.methods or ())]
    by_api = {name: [path for path in posts if path.startswith(f"/v1/{name}/")] for name in API}
    assert all(by_api.values()) and sum(map(len, by_api.values())) == len(posts)
    hub, site = HubHome(deployment.home("hub")), SiteHome(deployment.home(SITES[0]))
    stranger, hospital = _context(site.ca), _context(site.ca, site.tls, site.tls_key)
    operator = _context(site.ca, hub.operator, hub.operator_key)
    for path in posts:
        found = [_answer(deployment.port, context, path) for context in (stranger, hospital, operator)]
        beside = _answer(deployment.inner_port, stranger, path)
        if path.startswith("/v1/fleet/"):
            assert found[0] == found[2] == 401 and found[1] != NOTHING and beside == NOTHING, (path, found, beside)
        elif path.startswith("/v1/control/"):
            assert found[:2] == [NOTHING] * 2 and found[2] != NOTHING and beside == NOTHING, (path, found, beside)
        else:
            assert found == [NOTHING] * 3 and beside in (400, 401, 403, 422), (path, found, beside)
    for path in ("/docs", "/openapi.json", "/v1/fleet/../control/start-run", "/v1/fleet/..%2fcontrol/start-run"):
        assert _answer(deployment.port, hospital, path) == NOTHING, path


def _context(ca: Path, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def _routes(app: Any) -> list[Any]:
    from fastapi.routing import iter_route_contexts

    return [context.route for context in iter_route_contexts(app.routes) if hasattr(context.route, "methods")]


def _answer(port: int, context: ssl.SSLContext, path: str) -> int:
    """Returns the status, or ``NOTHING`` where nobody behind the path was asked; Flower says 404 in its own JSON."""
    connection = HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    try:
        connection.request("POST", path, body=b"", headers={"Content-Type": "application/protobuf"})
        response = connection.getresponse()
        hidden = response.status == 404 and response.headers.get_content_type() != "application/json"
        return NOTHING if hidden else response.status
    finally:
        connection.close()
