"""Whoever has a stolen kit and no more, and a hub whose certificate has run out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from client.site.site_file import SiteHome
from common.trust.client_certificate import create_client_certificate
from common.trust.pki import issue_server
from server.hub.home import HubHome
from tests.scenarios.deployment.steps import (
    EVERYBODY,
    READY_SECONDS,
    VICTIM,
    all_back,
    findings,
    restart,
    stays_out,
    stop,
)

if TYPE_CHECKING:
    from tests.scenarios.deployment.conftest import Deployment

pytestmark = pytest.mark.timeout(900)
THIEF = "thief"


def test_a_kit_stolen_after_its_use_lets_nobody_in(deployment: Deployment) -> None:
    """The request repeats an invitation that the true site has used; the thief's SuperNode has a key nobody knows."""
    known = json.loads(deployment.hub("sites", "--json").stdout)["data"]["sites"]
    deployment.site(THIEF, "join", str(deployment.home("hub") / "kits" / f"{VICTIM}.kit.zip"))
    request = str(deployment.home(THIEF) / "request.json")
    refused = deployment.hub("approve", request, "--unseen", "--declared-patients", "10", code=5)
    assert "invitation that was used or replaced" in " ".join(refused.stderr.split())
    deployment.start(THIEF)
    try:
        deployment.until(lambda: _tries(deployment) >= 3, 180, "three tries of the thief")
        assert deployment.online() == set(EVERYBODY)
    finally:
        stop(deployment, THIEF)
    assert json.loads(deployment.hub("sites", "--json").stdout)["data"]["sites"] == known


def test_a_kit_stolen_before_its_use_fails_at_the_fingerprint(deployment: Deployment) -> None:
    """The thief answers first; the hub's operator hears another fingerprint from the true site."""
    kit = deployment.hub("invite", "fourth").stdout.strip()
    true = deployment.site("fourth", "join", kit).stdout.strip()
    deployment.site("impostor", "join", kit)
    request = str(deployment.home("impostor") / "request.json")
    refused = deployment.hub("approve", request, "--fingerprint", true, code=5)
    assert "do not let it in" in " ".join(refused.stderr.split())
    found = {
        site["name"]: site["status"] for site in json.loads(deployment.hub("sites", "--json").stdout)["data"]["sites"]
    }
    assert found == dict.fromkeys(EVERYBODY, "approved") | {"fourth": "invited"}
    deployment.hub("revoke", "fourth")


def test_a_site_is_nothing_without_the_certificate_it_was_approved_with(deployment: Deployment) -> None:
    """Its node key, which the SuperLink knows, does not help it past the proxy."""
    site = SiteHome(deployment.home(VICTIM))
    true = {path: path.read_bytes() for path in (site.tls, site.tls_key)}
    for path in true:
        path.unlink()
    create_client_certificate(site.tls_key, site.tls, VICTIM)
    restart(deployment)
    stays_out(deployment)
    said = findings(deployment)["way in"]
    assert said["status"] == "fail" and "does not know" in said["found"]
    for path, content in true.items():
        path.write_bytes(content)
    restart(deployment)
    all_back(deployment)
    assert findings(deployment)["way in"]["status"] == "ok"


def test_an_expired_hub_is_shunned_until_its_certificate_is_renewed(deployment: Deployment) -> None:
    hub = HubHome(deployment.home("hub"))
    names = [*hub.config().names, "localhost", "127.0.0.1"]
    stop(deployment, "hub")
    issue_server(hub.ca_key, hub.ca, names, key=hub.server_key, certificate=hub.server, days=0)
    deployment.start("hub")
    logs = {name: deployment.home(name) / "logs" / "supernode.log" for name in EVERYBODY}
    seen = {name: path.stat().st_size for name, path in logs.items()}
    deployment.until(
        lambda: all(b"certificate has expired" in path.read_bytes()[seen[name] :] for name, path in logs.items()),
        READY_SECONDS, "every site refuses to talk",
    )  # fmt: skip
    said = findings(deployment)["certificate"]
    assert said["status"] == "fail" and "certificate has expired" in said["found"], said
    status = json.loads(deployment.hub("status", "--json").stdout)["data"]
    assert status["certificate_days_left"] <= 0 and status["hub"]["status"] == "starting", status
    assert {site["connection"] for site in status["sites"] if site["name"] in EVERYBODY} == {"unknown"}

    refused = deployment.hub("rotate", code=3)
    assert "stop it, run oncofed-hub rotate" in " ".join(refused.stderr.split())
    stop(deployment, "hub")
    deployment.hub("rotate")
    deployment.start("hub")
    all_back(deployment)
    assert findings(deployment)["certificate"]["status"] == "ok"


def _tries(deployment: Deployment) -> int:
    return int(deployment.state(THIEF)["processes"].get("supernode", {}).get("lives", 0))
