"""kill -9 in the quieter moments: between the training and the evaluation of a round, and between two rounds."""

from __future__ import annotations

import signal
from pathlib import Path
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
    run = deployment.begin("site-between")
    deployment.until(lambda: len(run.rounds()) == 1, LONG_SECONDS, "the first round")
    kill_whole(deployment, VICTIM)
    deployment.start(VICTIM)
    status = run.wait(deployment, LONG_SECONDS)
    lost_only(status, run, deployment)
    assert run.rounds()[0]["joined"] == EVERYBODY and run.rounds()[0]["failures"] == []
    assert paid_rounds(deployment, status["run_id"]) in ([1], [1, 2])
    all_back(deployment)


def _in_evaluation(deployment: Deployment, name: str) -> Run:
    """A run whose first updates are all with the hub, so that it evaluates now."""
    log = deployment.home("hub") / "logs" / "superlink.log"
    seen = log.stat().st_size
    expected = 2 * len(EVERYBODY)  # each site's card and its first update
    run = deployment.begin(name)
    deployment.until(lambda: _replies(log, seen) >= expected, LONG_SECONDS, "all updates are with the hub")
    assert run.rounds() == [], "the fault came too late: the first round had ended"
    return run


def _replies(log: Path, seen: int) -> int:
    """How many answers the SuperLink has taken since its log was ``seen`` bytes long."""
    with log.open("rb") as file:
        file.seek(seen)
        return file.read().count(b"Push replies from node_id")
