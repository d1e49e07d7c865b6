"""A person rehearses, stops, leaves and takes up again a study in a running deployment; nobody else starts it."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
import yaml

from server.hub.processes import aggregator_lives
from tests.scenarios.deployment.conftest import READY_SECONDS, SITES, STUDY, Run

if TYPE_CHECKING:
    from tests.scenarios.deployment.conftest import Deployment

pytestmark = pytest.mark.timeout(900)


def long_study(deployment: Deployment, name: str) -> str:
    """Returns the file of a study of its own with 40 rounds."""
    path = deployment.folder / f"{name}.yaml"
    kept = [text for text in STUDY if not text.startswith(("name=", "training.rounds="))]
    path.write_text(yaml.safe_dump([*kept, f"name={name}", "training.rounds=40"]))
    return str(path)


def charges(deployment: Deployment) -> dict[str, int]:
    return {site: deployment.charges(site) for site in SITES}


def begun(deployment: Deployment, name: str) -> Run:
    folder = deployment.run(name, long_study(deployment, name))
    run = Run(folder, deployment.processes[f"run {name}"])
    deployment.until(lambda: len(run.rounds()) >= 1, READY_SECONDS, "the first round")
    return run


def last_run(deployment: Deployment) -> dict[str, object]:
    return dict(json.loads(deployment.hub("status", "--json").stdout)["data"]["run"])


def test_a_rehearsal_asks_for_everything_and_charges_nothing(deployment: Deployment) -> None:
    before = charges(deployment)
    done = deployment.hub("check", "--json")
    found = json.loads(done.stdout)["data"]
    assert (found["status"], found["rehearsal"], found["rounds_done"]) == ("COMPLETED", True, 1)
    assert "Nothing was charged" in done.stderr and charges(deployment) == before
    for site in SITES:
        lines = (deployment.home(site) / "egress.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["purpose"] == "rehearsal of statement"


def test_a_run_is_stopped_from_anywhere_and_taken_up_again(deployment: Deployment) -> None:
    run = begun(deployment, "stopped")
    refused = deployment.hub("run", long_study(deployment, "second"), code=3)
    assert "goes on; wait for it" in " ".join(refused.stderr.split())
    assert str(run.folder) in deployment.hub("stop").stderr
    run.wait_for_end(deployment)
    assert run.process.returncode == 8 and run.read("run.json")["status"] == "INTERRUPTED"
    rounds = len(run.rounds())
    again = deployment.begin("stopped-again", "--resume", str(run.folder))
    deployment.until(lambda: len(run.rounds()) > rounds, READY_SECONDS, "a round more")
    deployment.hub("stop")
    again.wait_for_end(deployment)


def test_a_hub_that_starts_anew_goes_on_with_no_study_that_nobody_asked_for(deployment: Deployment) -> None:
    run = begun(deployment, "forgotten")
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    deployment.kill("hub")
    deployment.start("hub")
    deployment.until(lambda: deployment.online() == set(SITES), READY_SECONDS, "all sites back")
    before = charges(deployment)
    assert last_run(deployment)["status"] == "INTERRUPTED"
    place = deployment.home("hub")
    deployment.until(lambda: not aggregator_lives(place), READY_SECONDS, "an end of what starts of before, refused")
    deployment.hub("check")  # which waits its turn: what Flower has from before, it has taken up by then
    assert charges(deployment) == before and run.read("run.json")["status"] == "INTERRUPTED"


def test_a_run_whose_command_was_killed_goes_on_and_can_be_followed(deployment: Deployment) -> None:
    run = begun(deployment, "left")
    os.kill(run.process.pid, signal.SIGINT)
    run.process.wait()
    rounds = len(run.rounds())
    deployment.until(lambda: len(run.rounds()) > rounds, READY_SECONDS, "a round without the command")
    again = deployment.begin("left-again", "--resume", str(run.folder))
    deployment.until(lambda: "following" in (deployment.folder / "left-again.out").read_text(), 30, "it follows")
    deployment.hub("stop")
    again.wait_for_end(deployment)
    assert run.read("run.json")["status"] == "INTERRUPTED"
