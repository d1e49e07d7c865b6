"""In a running deployment: a paused site stays connected and refuses by code, and the pages of both roles say so."""

from __future__ import annotations

import json
import re
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.scenarios.deployment.conftest import Deployment

PAUSED = "toshiba_aplio_300"


@pytest.mark.timeout(900)
def test_a_paused_site_refuses_the_study_and_the_pages_tell_of_it(deployment: Deployment) -> None:
    deployment.site(PAUSED, "pause")
    deployment.until(lambda: deployment.state(PAUSED)["status"] == "paused", 30, "the pause")
    status = deployment.begin("paused").wait(deployment)
    deployment.site(PAUSED, "resume")
    assert status["status"] == "PARTIAL", deployment.tails()
    found = {site["name"]: (site["status"], site["code"]) for site in status["sites"]}
    assert found[PAUSED] == ("lost", "unavailable")
    assert [state for state, _ in found.values()].count("ok") == 2
    shown = json.loads(deployment.site(PAUSED, "status", "--json").stdout)["data"]
    assert shown["refusals"] == {"unavailable": 1} and shown["status"] == "running"

    site, hub = (page(deployment.monitors[name], "/metrics") for name in (PAUSED, "hub"))
    assert site['oncofed_site_refusals_total{code="unavailable"}'] == 1.0
    assert hub['oncofed_hub_run_refusals{code="unavailable"}'] == 1.0
    assert hub['oncofed_hub_run_status{status="PARTIAL"}'] == 1.0 and hub["oncofed_hub_round"] == 2.0
    deployment.until(
        lambda: page(deployment.monitors["hub"], "/metrics").get("oncofed_hub_sites_connected") == 3.0,
        120, "the page of the hub shows three sites",
    )  # fmt: skip


def page(port: int, path: str) -> dict[str, float]:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    return {key: float(value) for key, value in (re.split(r" (?=\S+$)", line) for line in lines if line[0] != "#")}
