"""What hospitals do to a federation: processes killed, keys revoked, budgets spent. One scenario each.

Too slow for every push: ``make deployment-tests`` runs them, and docs/guides/faults.md keeps the last result. Each
leaves the deployment as it found it. A status is only believed when it says what happened.
"""

from __future__ import annotations

import os
import shutil
import signal
from typing import Any

import psutil
import pytest
import yaml

from tests.scenarios.deployment.conftest import READY_SECONDS, SITES, Deployment, Run

VICTIM = "toshiba_aplio_300"
OTHERS = {"ge_logiq_5", "ge_logiq_7"}
pytestmark = pytest.mark.timeout(600)


def test_a_worker_killed_in_training_costs_its_site_one_round_only(deployment: Deployment) -> None:
    run = _in_training(deployment, "worker")
    deployment.kill(VICTIM, "worker")
    status = run.wait(deployment)
    _lost_only(status, run, deployment)
    _all_back(deployment)


def test_a_supernode_killed_in_training_is_named_and_comes_back(deployment: Deployment) -> None:
    run = _in_training(deployment, "supernode")
    deployment.kill(VICTIM, "supernode")
    status = run.wait(deployment)
    _lost_only(status, run, deployment)
    _all_back(deployment)


def test_a_site_killed_in_training_and_restarted_at_once_is_named_and_comes_back(deployment: Deployment) -> None:
    run = _in_training(deployment, "site")
    below = psutil.Process(deployment.processes[VICTIM].pid).children(recursive=True)
    deployment.kill(VICTIM)
    deployment.until(lambda: not any(map(_alive, below)), 10, "the end of everything below the site's daemon")
    deployment.start(VICTIM)
    status = run.wait(deployment)
    _lost_only(status, run, deployment)
    _all_back(deployment)


def test_a_superlink_killed_in_training_costs_nothing(deployment: Deployment) -> None:
    run = _in_training(deployment, "superlink")
    deployment.kill("hub", "superlink")
    status = run.wait(deployment)
    assert status["status"] == "COMPLETED", (status["reason"], deployment.tails())
    assert [row["joined"] for row in run.rounds()] == [list(SITES)] * 2
    _all_back(deployment)


def test_a_hub_killed_between_rounds_goes_on_from_its_checkpoint(deployment: Deployment) -> None:
    run = deployment.run("hub")
    deployment.until(lambda: len(run.rounds()) == 1, READY_SECONDS, "the first round")
    below = psutil.Process(deployment.processes["hub"].pid).children(recursive=True)
    deployment.kill("hub")
    deployment.until(lambda: not any(map(_alive, below)), 10, "the end of everything below the hub's daemon")
    deployment.start("hub")
    status = run.wait(deployment)
    assert status["status"] == "COMPLETED", (status["reason"], deployment.tails())
    assert [row["round"] for row in run.rounds()] == [1, 2]
    assert status["rounds_done"] == 2 and all(site["rounds"] == 2 for site in status["sites"])
    _all_back(deployment)


def test_an_aggregator_killed_in_training_goes_on_from_its_checkpoint(deployment: Deployment) -> None:
    run = deployment.run("aggregator")
    deployment.until(lambda: len(run.rounds()) == 1, READY_SECONDS, "the first round")
    superexec = psutil.Process(deployment.pid("hub", "superexec"))
    for process in superexec.children(recursive=True):
        process.send_signal(signal.SIGKILL)
    status = run.wait(deployment)
    assert status["status"] == "COMPLETED", (status["reason"], deployment.tails())
    assert [row["round"] for row in run.rounds()] == [1, 2]
    _all_back(deployment)


def test_a_run_whose_command_was_killed_goes_on_with_resume(deployment: Deployment) -> None:
    run = deployment.run("command")
    deployment.until(lambda: len(run.rounds()) == 1, READY_SECONDS, "the first round")
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    deployment.kill("hub")
    deployment.start("hub")
    again = deployment.run("command-again", "--resume", str(run.folder))
    again.wait_for_end(deployment)
    status = run.read("run.json")
    assert status["status"] == "COMPLETED", (status["reason"], deployment.tails())
    _all_back(deployment)


def test_a_site_over_its_budget_refuses_and_the_run_says_so(deployment: Deployment) -> None:
    deployment.policy(VICTIM, ceiling=0.5)
    before = deployment.charges(VICTIM)
    run = deployment.run("budget")
    status = run.wait(deployment)
    deployment.policy(VICTIM)
    assert status["status"] == "PARTIAL" and status["reason"] == f"lost: {VICTIM} (budget-refused)"
    assert deployment.charges(VICTIM) == before
    assert run.process.returncode == 8


def test_a_hung_request_is_ended_at_the_sites_deadline(deployment: Deployment) -> None:
    _settings(deployment, job_seconds=1.0)
    run = deployment.run("hang")
    status = run.wait(deployment)
    _settings(deployment, job_seconds=3600)
    assert status["status"] == "PARTIAL" and status["reason"] == f"lost: {VICTIM} (no-answer)", status["reason"]
    _all_back(deployment)


def test_a_revoked_site_is_out_at_once_and_only_a_new_invitation_lets_it_in(deployment: Deployment) -> None:
    run = _in_training(deployment, "revoked")
    deployment.hub("revoke", VICTIM)
    status = run.wait(deployment)
    _lost_only(status, run, deployment)
    deployment.until(lambda: deployment.online() == OTHERS, 60, "the revoked site is out")
    deployment.admit(VICTIM, code=5)
    deployment.admit(VICTIM, "--new-keys")
    _restart(deployment)
    _all_back(deployment)


def test_a_site_with_an_unknown_key_never_connects(deployment: Deployment) -> None:
    home = deployment.home(VICTIM) / "keys" / "node"
    shutil.move(home, home.with_suffix(".true"))
    deployment.site(VICTIM, "join", str(deployment.home("hub") / "kits" / f"{VICTIM}.kit.zip"))
    _restart(deployment)
    _stays_out(deployment)
    shutil.move(home.with_suffix(".true"), home)
    _restart(deployment)
    _all_back(deployment)


def test_a_site_that_meets_another_authority_does_not_talk_to_it(deployment: Deployment) -> None:
    from common.trust.pki import create_authority

    ca = deployment.home(VICTIM) / "ca.crt"
    true = ca.read_text()
    create_authority(deployment.folder / "other.key", ca, "somebody else")
    _restart(deployment)
    _stays_out(deployment)
    ca.write_text(true)
    _restart(deployment)
    _all_back(deployment)


def test_sites_wait_for_a_hub_that_is_away(deployment: Deployment) -> None:
    deployment.processes["hub"].terminate()
    deployment.processes["hub"].wait(30)
    _restart(deployment)
    log = deployment.home(VICTIM) / "logs" / "supernode.log"
    seen = len(log.read_bytes())
    deployment.until(lambda: b"retrying" in log.read_bytes()[seen:], 60, "the restarted site tries again")
    deployment.start("hub")
    _all_back(deployment)


def _in_training(deployment: Deployment, name: str) -> Run:
    """A run in which the victim has just paid for its first round, so that it trains now."""
    before = deployment.charges(VICTIM)
    run = deployment.run(name)
    deployment.until(lambda: deployment.charges(VICTIM) > before, READY_SECONDS, "the victim trains")
    return run


def _lost_only(status: dict[str, Any], run: Run, deployment: Deployment) -> None:
    assert status["status"] == "PARTIAL", (status["reason"], deployment.tails())
    assert [site["name"] for site in status["sites"] if site["status"] == "lost"] == [VICTIM]
    assert status["reason"].split("(")[1] in ("unavailable)", "training-failed)", "no-answer)")
    assert all(set(row["joined"]) >= OTHERS for row in run.rounds())
    assert status["rounds_done"] == 2
    assert (run.folder / "report.html").exists()


def _all_back(deployment: Deployment) -> None:
    deployment.until(lambda: deployment.online() == set(SITES), READY_SECONDS, "all sites online again")


def _stays_out(deployment: Deployment) -> None:
    deployment.until(lambda: _lives(deployment) >= 3, 60, "three tries")
    assert deployment.online() == OTHERS
    assert deployment.state(VICTIM)["processes"]["supernode"]["last_exit"] == 1


def _lives(deployment: Deployment) -> int:
    return int(deployment.state(VICTIM)["processes"].get("supernode", {}).get("lives", 0))


def _restart(deployment: Deployment) -> None:
    process = deployment.processes[VICTIM]
    process.terminate()
    process.wait(30)
    (deployment.home(VICTIM) / "state.json").unlink()
    deployment.start(VICTIM)


def _settings(deployment: Deployment, **changes: Any) -> None:
    path = deployment.home(VICTIM) / "site.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    _restart(deployment)
    _all_back(deployment)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
