"""kill -9 of every process in every moment of a run; what is killed starts again by itself, a daemon by systemd.

At a site it may cost that site its part of the round. At the hub it costs nothing: what was trained by then, or is
being trained, is sent when it is asked for again, and paid once.
"""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.scenarios.deployment.steps import (
    EVERYBODY,
    OTHERS,
    VICTIM,
    all_back,
    below,
    completed,
    in_training,
    kill_whole,
    lost_at_most,
    lost_only,
    paid_rounds,
)

if TYPE_CHECKING:
    from tests.scenarios.deployment.conftest import Deployment, Run

pytestmark = pytest.mark.timeout(900)
LONG_SECONDS = 600.0


def between_rounds(deployment: Deployment, name: str) -> Run:
    """A run whose first round has just ended, with its checkpoint."""
    run = deployment.begin(name)
    deployment.until(lambda: len(run.rounds()) == 1, LONG_SECONDS, "the first round")
    deployment.until(lambda: run.read("run.json")["rounds_done"] == 1, 30, "its checkpoint")
    return run


def in_evaluation(deployment: Deployment, name: str) -> Run:
    """A run whose first evaluation has begun, and cannot end: the victim's worker stands still until it is thawed."""
    log = deployment.home("hub") / "logs" / "superlink.log"
    seen = log.stat().st_size
    expected = 2 * len(EVERYBODY)  # each site's card and its first update
    run = deployment.begin(name)
    deployment.until(lambda: _replies(log, seen) >= expected, LONG_SECONDS, "all updates are on their way")
    worker = psutil.Process(deployment.pid(VICTIM, "worker"))
    for process in (worker, *worker.children(recursive=True)):
        process.suspend()
    run_id = run.read("run.json")["run_id"]
    deployment.until(lambda: all(_has_scored(deployment, site, run_id) for site in OTHERS), 120, "the others' scores")
    assert run.rounds() == [] and not _has_scored(deployment, VICTIM, run_id)
    return run


def _replies(log: Path, seen: int) -> int:
    """How many answers the SuperLink has begun to take since its log was ``seen`` bytes long."""
    with log.open("rb") as file:
        file.seek(seen)
        return file.read().count(b"Push replies from node_id")


def _has_scored(deployment: Deployment, site: str, run_id: str) -> bool:
    lines = (deployment.home(site) / "egress.jsonl").read_text().splitlines()
    sent = [(row["run"], row["purpose"], row["round"]) for row in map(json.loads, lines)]
    return (run_id, "evaluate", 1) in sent


def _thaw(deployment: Deployment) -> None:
    for process in below(deployment, VICTIM):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


def _kill_aggregator(deployment: Deployment) -> None:
    for process in psutil.Process(deployment.pid("hub", "superexec")).children(recursive=True):
        process.send_signal(signal.SIGKILL)


def _kill_daemon(deployment: Deployment, name: str) -> None:
    kill_whole(deployment, name)
    deployment.start(name)


Kill = Callable[["Deployment"], None]
MOMENTS: dict[str, Callable[[Deployment, str], Run]] = {
    "training": in_training,
    "between-rounds": between_rounds,
    "evaluation": in_evaluation,
}
AT_A_SITE: dict[str, Kill] = {
    "worker": lambda deployment: deployment.kill(VICTIM, "worker"),
    "supernode": lambda deployment: deployment.kill(VICTIM, "supernode"),
    "site": lambda deployment: _kill_daemon(deployment, VICTIM),
}
AT_THE_HUB: dict[str, Kill] = {
    "proxy": lambda deployment: deployment.kill("hub", "proxy"),
    "superlink": lambda deployment: deployment.kill("hub", "superlink"),
    "aggregator": _kill_aggregator,
    "hub": lambda deployment: _kill_daemon(deployment, "hub"),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("process", AT_A_SITE)
def test_killed_at_a_site(deployment: Deployment, process: str, moment: str) -> None:
    run = MOMENTS[moment](deployment, f"{process}-{moment}")
    AT_A_SITE[process](deployment)
    _thaw(deployment)
    status = run.wait(deployment, LONG_SECONDS)
    if moment == "training":
        lost_only(status, run, deployment)
    else:
        lost_at_most(status, run, deployment)
        assert run.rounds()[0]["joined"] == EVERYBODY
    joined = [row["round"] for row in run.rounds() if VICTIM in row["joined"]]
    paid = paid_rounds(deployment, status["run_id"])
    assert set(joined) <= set(paid) and paid in ([1], [1, 2])
    assert all(paid_rounds(deployment, status["run_id"], name) == [1, 2] for name in OTHERS)
    all_back(deployment)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("process", AT_THE_HUB)
def test_killed_at_the_hub(deployment: Deployment, process: str, moment: str) -> None:
    run = MOMENTS[moment](deployment, f"{process}-{moment}")
    AT_THE_HUB[process](deployment)
    _thaw(deployment)
    status = run.wait(deployment, LONG_SECONDS)
    completed(status, run, deployment)
    for name in EVERYBODY:
        assert paid_rounds(deployment, status["run_id"], name) == [1, 2]
    all_back(deployment)
