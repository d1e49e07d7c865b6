"""A hospital whose clock is wrong: by two hours, by two days, at the start or in the middle of a run.

Each request is signed with the time of day, and the hub believes what is at most 150 s away from its own clock, so a
site with a wrong clock stays out. It is never charged for what it cannot send, except for a round that it trains when
the clock jumps.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.scenarios.deployment.steps import (
    EVERYBODY,
    OTHERS,
    READY_SECONDS,
    VICTIM,
    all_back,
    completed,
    findings,
    in_training,
    lives,
    lost_only,
    paid_rounds,
    restart,
)

if TYPE_CHECKING:
    from tests.scenarios.deployment.conftest import Deployment

pytestmark = pytest.mark.timeout(900)
LONG_SECONDS = 600.0
HOUR, DAY = 3600, 86_400


class Clock:
    """The victim's clock; everything of that site goes by it."""

    def __init__(self, folder: Path) -> None:
        source = Path(__file__).with_name("wrong_clock")
        shutil.copy(source / "sitecustomize.py", folder)
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(folder / "clock.so"), str(source / "clock.c"), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"a C compiler is needed to set a site's clock: {done.stderr}"
        self.folder = folder
        self._offset = folder / "offset"
        self._offset.write_bytes(struct.pack("=q", 0))

    def set(self, seconds: int) -> None:
        """Sets it ahead of the true time."""
        with self._offset.open("r+b") as file:
            file.write(struct.pack("=q", seconds))

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.folder)}


@pytest.fixture(scope="module")
def clock(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clock]:
    """Right at first; the victim goes by the machine's clock again afterwards."""
    made = Clock(tmp_path_factory.mktemp("clock"))
    restart(deployment, **made.environment)
    all_back(deployment)
    yield made
    made.set(0)
    restart(deployment)
    all_back(deployment)


@pytest.mark.parametrize(("seconds", "certificate"), [(2 * DAY, "ok"), (-2 * HOUR, "fail")])
def test_a_site_that_starts_with_a_wrong_clock_stays_out_and_its_doctor_says_why(
    deployment: Deployment, clock: Clock, seconds: int, certificate: str
) -> None:
    clock.set(seconds)
    restart(deployment, **clock.environment)
    deployment.until(lambda: lives(deployment) >= 3, READY_SECONDS, "three tries")
    deployment.until(lambda: deployment.online() == OTHERS, READY_SECONDS, "the hub misses the site")
    said = findings(deployment, VICTIM, **clock.environment)
    assert said["certificate"]["status"] == certificate
    if certificate == "ok":
        assert said["clock"]["status"] == "fail" and said["clock"]["found"].startswith(f"{seconds // 1000:+d}")
    else:  # the hub's certificate is younger than the site's idea of now
        assert "not yet valid" in said["certificate"]["found"] and "clock" not in said
    clock.set(0)
    all_back(deployment)
    assert findings(deployment, VICTIM, **clock.environment)["clock"]["status"] == "ok"


@pytest.mark.parametrize("seconds", [100, -100])
def test_a_clock_that_is_a_little_off_disturbs_nothing(deployment: Deployment, clock: Clock, seconds: int) -> None:
    clock.set(seconds)
    run = deployment.begin(f"off-{seconds}")
    status = run.wait(deployment, LONG_SECONDS)
    clock.set(0)
    completed(status, run, deployment)


def test_a_clock_that_jumps_in_training_costs_that_round(deployment: Deployment, clock: Clock) -> None:
    run = in_training(deployment, "jump")
    clock.set(2 * DAY)
    deployment.until(lambda: VICTIM not in deployment.online(), READY_SECONDS, "the hub misses the site")
    status = run.wait(deployment, LONG_SECONDS)
    lost_only(status, run, deployment, "unavailable")
    assert paid_rounds(deployment, status["run_id"]) == [1]
    clock.set(0)
    all_back(deployment)
    run = deployment.begin("right-again")
    completed(run.wait(deployment, LONG_SECONDS), run, deployment)
    assert paid_rounds(deployment, run.read("run.json")["run_id"]) == [1, 2]
    assert sorted(site["name"] for site in run.read("run.json")["sites"]) == EVERYBODY
