"""What hospitals do to a federation: keys revoked, budgets spent, work that hangs. One scenario each.

Too slow for every push: ``make deployment-tests`` runs them, and docs/guides/faults.md keeps the last result. Each
leaves the deployment as it found it. A status is only believed when it says what happened.
"""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from tests.scenarios.deployment.steps import (
    OTHERS,
    READY_SECONDS,
    VICTIM,
    all_back,
    change_settings,
    completed,
    in_training,
    lost_only,
    restart,
    stays_out,
    stop,
)

if TYPE_CHECKING:
    from tests.scenarios.deployment.conftest import Deployment

pytestmark = pytest.mark.timeout(600)


def test_a_run_whose_command_was_killed_goes_on_with_resume(deployment: Deployment) -> None:
    run = deployment.begin("command")
    deployment.until(lambda: len(run.rounds()) == 1, READY_SECONDS, "the first round")
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    deployment.kill("hub")
    deployment.start("hub")
    again = deployment.begin("command-again", "--resume", str(run.folder))
    again.wait_for_end(deployment)
    completed(run.read("run.json"), run, deployment)
    all_back(deployment)


def test_a_site_over_its_budget_refuses_and_the_run_says_so(deployment: Deployment) -> None:
    deployment.policy(VICTIM, ceiling=0.5)
    before = deployment.charges(VICTIM)
    run = deployment.begin("budget")
    status = run.wait(deployment)
    deployment.policy(VICTIM)
    assert status["status"] == "PARTIAL" and status["reason"] == f"lost: {VICTIM} (budget-refused)"
    assert deployment.charges(VICTIM) == before
    assert run.process.returncode == 8


def test_a_hung_request_is_ended_at_the_sites_deadline(deployment: Deployment) -> None:
    change_settings(deployment, job_seconds=1.0)
    run = deployment.begin("hang")
    status = run.wait(deployment)
    change_settings(deployment, job_seconds=3600)
    assert status["status"] == "PARTIAL" and status["reason"] == f"lost: {VICTIM} (no-answer)", status["reason"]
    all_back(deployment)


def test_a_revoked_site_is_out_at_once_and_only_a_new_invitation_lets_it_in(deployment: Deployment) -> None:
    run = in_training(deployment, "revoked")
    deployment.hub("revoke", VICTIM)
    status = run.wait(deployment)
    lost_only(status, run, deployment)
    deployment.until(lambda: deployment.online() == OTHERS, 60, "the revoked site is out")
    deployment.admit(VICTIM, code=5)
    deployment.admit(VICTIM, "--new-keys")
    restart(deployment)
    all_back(deployment)


def test_a_site_with_an_unknown_key_never_connects(deployment: Deployment) -> None:
    home = deployment.home(VICTIM) / "keys" / "node"
    shutil.move(home, home.with_suffix(".true"))
    deployment.site(VICTIM, "join", str(deployment.home("hub") / "kits" / f"{VICTIM}.kit.zip"))
    restart(deployment)
    stays_out(deployment)
    shutil.move(home.with_suffix(".true"), home)
    restart(deployment)
    all_back(deployment)


def test_a_site_that_meets_another_authority_does_not_talk_to_it(deployment: Deployment) -> None:
    from common.trust.pki import create_authority

    ca = deployment.home(VICTIM) / "ca.crt"
    true = ca.read_text()
    create_authority(deployment.folder / "other.key", ca, "somebody else")
    restart(deployment)
    stays_out(deployment)
    ca.write_text(true)
    restart(deployment)
    all_back(deployment)


def test_sites_wait_for_a_hub_that_is_away(deployment: Deployment) -> None:
    stop(deployment, "hub")
    restart(deployment)
    log = deployment.home(VICTIM) / "logs" / "supernode.log"
    seen = len(log.read_bytes())
    deployment.until(lambda: b"retrying" in log.read_bytes()[seen:], 60, "the restarted site tries again")
    deployment.start("hub")
    all_back(deployment)
