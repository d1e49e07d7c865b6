"""The network between a hospital and its hub: cut and healed, or the hub away for half a minute and for three.

Each scenario says what the outage cost: which rounds the site paid for, which of them counted, and what status said.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import psutil
import pytest

from tests.scenarios.deployment.cable import Cable
from tests.scenarios.deployment.steps import (
    EVERYBODY,
    OTHERS,
    VICTIM,
    all_back,
    below,
    change_settings,
    completed,
    in_training,
    kill_whole,
    lost_only,
    paid_rounds,
    pass_time,
)

if TYPE_CHECKING:
    from tests.scenarios.deployment.conftest import Deployment

pytestmark = pytest.mark.timeout(1200)
LONG_SECONDS = 600.0


@pytest.fixture(scope="module")
def cable(deployment: Deployment) -> Iterator[Cable]:
    """The victim reaches the hub over it, and directly afterwards."""
    with Cable(deployment.port) as laid:
        change_settings(deployment, hub=f"127.0.0.1:{laid.port}")
        yield laid
        change_settings(deployment, hub=f"127.0.0.1:{deployment.port}")


@pytest.mark.parametrize("how", ["reset", "hole"])
def test_a_site_cut_off_in_training_is_named_and_comes_back(
    deployment: Deployment, cable: Cable, how: Literal["reset", "hole"]
) -> None:
    run = in_training(deployment, f"cut-{how}")
    cable.cut(how)
    deployment.until(lambda: VICTIM not in deployment.online(), 120, "the hub misses the site")
    deployment.until(lambda: len(run.rounds()) == 1, LONG_SECONDS, "the round ends without it")
    cable.heal()
    status = run.wait(deployment, LONG_SECONDS)
    lost_only(status, run, deployment, "unavailable")
    assert set(run.rounds()[0]["joined"]) == OTHERS
    assert paid_rounds(deployment, status["run_id"])[:1] == [1]
    all_back(deployment)
    _next_run_is_whole(deployment, f"after-{how}")


@pytest.mark.parametrize("seconds", [30, 180])
def test_a_superlink_away_in_training_costs_nothing(deployment: Deployment, seconds: int) -> None:
    run = in_training(deployment, f"superlink-{seconds}")
    with _superlink_away(deployment):
        pass_time(deployment, seconds)
    status = run.wait(deployment, LONG_SECONDS)
    completed(status, run, deployment)
    _paid_once(deployment, status["run_id"])
    all_back(deployment)


@pytest.mark.parametrize("seconds", [30, 180])
def test_a_frozen_hub_costs_nothing(deployment: Deployment, seconds: int) -> None:
    """Everything of the hub stands still, as a virtual machine that is moved: connections stay open, nobody answers."""
    run = in_training(deployment, f"frozen-{seconds}")
    hub = [psutil.Process(deployment.processes["hub"].pid), *below(deployment, "hub")]
    for process in hub:
        process.send_signal(signal.SIGSTOP)
    try:
        pass_time(deployment, seconds)
    finally:
        for process in hub:
            process.send_signal(signal.SIGCONT)
    status = run.wait(deployment, LONG_SECONDS)
    completed(status, run, deployment)
    _paid_once(deployment, status["run_id"])
    all_back(deployment)


@pytest.mark.parametrize("seconds", [30, 180])
def test_a_whole_hub_away_between_rounds_goes_on_from_its_checkpoint(deployment: Deployment, seconds: int) -> None:
    run = deployment.begin(f"hub-{seconds}")
    deployment.until(lambda: len(run.rounds()) == 1, LONG_SECONDS, "the first round")
    kill_whole(deployment, "hub")
    pass_time(deployment, seconds)
    deployment.start("hub")
    status = run.wait(deployment, LONG_SECONDS)
    completed(status, run, deployment)
    _paid_once(deployment, status["run_id"])
    all_back(deployment)


@contextmanager
def _superlink_away(deployment: Deployment) -> Iterator[None]:
    """Kills the SuperLink while the daemon that would start it again stands still."""
    daemon = psutil.Process(deployment.processes["hub"].pid)
    pid = deployment.pid("hub", "superlink")
    daemon.send_signal(signal.SIGSTOP)
    try:
        psutil.Process(pid).send_signal(signal.SIGKILL)
        yield
    finally:
        daemon.send_signal(signal.SIGCONT)


def _paid_once(deployment: Deployment, run_id: str) -> None:
    """A round whose sites or whose aggregator were given up meanwhile is asked for again, and answered again."""
    for name in EVERYBODY:
        assert paid_rounds(deployment, run_id, name) == [1, 2]


def _next_run_is_whole(deployment: Deployment, name: str) -> None:
    run = deployment.begin(name)
    completed(run.wait(deployment, LONG_SECONDS), run, deployment)
