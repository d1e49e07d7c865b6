"""A hospital whose disk is full. As root: its home is put on a small file system of its own."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.scenarios.deployment.steps import (
    VICTIM,
    all_back,
    completed,
    findings,
    in_training,
    lost_only,
    paid_rounds,
    stop,
)

if TYPE_CHECKING:
    from tests.scenarios.deployment.conftest import Deployment

pytestmark = pytest.mark.timeout(900)
DISK = "96m"


@pytest.fixture(scope="module")
def small_disk(deployment: Deployment) -> Iterator[Path]:
    """The victim's home, on a file system of 96 MiB."""
    home = deployment.home(VICTIM)
    stop(deployment)
    aside = home.with_name("aside")
    home.rename(aside)
    home.mkdir()
    _mount("mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(home))
    shutil.copytree(aside, home, dirs_exist_ok=True)
    deployment.start(VICTIM)
    all_back(deployment)
    yield home
    stop(deployment)
    shutil.rmtree(aside)
    shutil.copytree(home, aside)
    _mount("umount", "--lazy", str(home))
    home.rmdir()
    aside.rename(home)
    deployment.start(VICTIM)
    all_back(deployment)


def test_a_full_disk_costs_its_site_and_no_budget(deployment: Deployment, small_disk: Path) -> None:
    spent = deployment.charges(VICTIM)
    _fill(small_disk)
    assert findings(deployment)["disk"]["status"] == "fail"
    run = deployment.begin("full-disk")
    status = run.wait(deployment)
    lost_only(status, run, deployment, "unavailable", "unknown", "training-failed", "no-answer")
    assert deployment.charges(VICTIM) == spent
    _empty(small_disk)
    all_back(deployment)


def test_a_disk_that_fills_in_training_costs_that_round(deployment: Deployment, small_disk: Path) -> None:
    run = in_training(deployment, "filling-disk")
    _fill(small_disk)
    status = run.wait(deployment)
    lost_only(status, run, deployment, "unavailable", "unknown", "training-failed", "no-answer")
    assert paid_rounds(deployment, status["run_id"]) == [1]
    _empty(small_disk)
    all_back(deployment)


def test_with_room_again_the_same_site_takes_part_and_its_books_are_whole(
    deployment: Deployment, small_disk: Path
) -> None:
    run = deployment.begin("room-again")
    completed(run.wait(deployment), run, deployment)
    assert findings(deployment)["ledger"]["status"] == "ok"
    journal = deployment.site(VICTIM, "egress", "--json")
    assert journal.returncode == 0


def _mount(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"this scenario needs root and mount: {done.stderr}"


def _fill(folder: Path) -> None:
    with (folder / "ballast").open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"0" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC
        os.fsync(file.fileno())


def _empty(folder: Path) -> None:
    (folder / "ballast").unlink()
