"""kill -9 in the quieter moments: between the training and the evaluation of a round, and between two rounds."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.scenarios.deployment.steps import (
    EVERYBODY,
    VICTIM,
    all_back,
    completed,
    kill_whole,
    lost_only,
    paid_rounds,
)

if TYPE_CHECKING:
    from tests.scenarios.deployment.conftest import Deployment, Run

pytestmark = pytest.mark.timeout(900)
LONG_SECONDS = 600.0


def test_a_worker_killed_in_evaluation_costs_its_scores_only(deployment: Deployment) -> None:
    run = _in_evaluation(deployment, "worker-evaluates")
    deployment.kill(VICTIM, "worker")
    status = run.wait(deployment, LONG_SECONDS)
    lost_only(status, run, deployment)
    first = run.rounds()[0]
    assert first["joined"] == EVERYBODY and [row["site"] for row in first["failures"]] == [VICTIM]
    assert paid_rounds(deployment, status["run_id"]) in ([1], [1, 2])
    all_back(deployment)


def test_an_aggregator_killed_in_evaluation_trains_that_round_again(deployment: Deployment) -> None:
    run = _in_evaluation(deployment, "aggregator-evaluates")
    superexec = psutil.Process(deployment.pid("hub", "superexec"))
    for process in superexec.children(recursive=True):
        process.send_signal(signal.SIGKILL)
    status = run.wait(deployment, LONG_SECONDS)
    completed(status, run, deployment)
    for name in EVERYBODY:  # what was trained before the checkpoint is lost, and its privacy is spent
        assert paid_rounds(deployment, status["run_id"], name) == [1, 1, 2]
    all_back(deployment)


def test_a_site_killed_between_rounds_and_restarted_at_once_misses_one_round_at_most(deployment: Deployment) -> None:
    run = deployment.run("site-between")
    deployment.until(lambda: len(run.rounds()) == 1, LONG_SECONDS, "the first round")
    kill_whole(deployment, VICTIM)
    deployment.start(VICTIM)
    status = run.wait(deployment, LONG_SECONDS)
    lost_only(status, run, deployment)
    assert run.rounds()[0]["joined"] == EVERYBODY and run.rounds()[0]["failures"] == []
    assert paid_rounds(deployment, status["run_id"]) in ([1], [1, 2])
    all_back(deployment)


def _in_evaluation(deployment: Deployment, name: str) -> Run:
    """A run whose first updates have left all sites, so that it evaluates now."""
    before = {site: _left(deployment, site) for site in EVERYBODY}
    run = deployment.run(name)
    deployment.until(
        lambda: all(_left(deployment, site) > before[site] for site in EVERYBODY), LONG_SECONDS, "all updates have left"
    )
    assert run.rounds() == [], "the fault came too late: the first round had ended"
    return run


def _left(deployment: Deployment, site: str) -> int:
    """How many updates have left the site."""
    path = deployment.home(site) / "egress.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return sum(json.loads(line)["purpose"] == "train" for line in lines if line.endswith("}"))
