"""The benchmark of a device takes the steps of each kind, here on the CPU, and on a device whose memory ends."""

from __future__ import annotations

import pytest

import common.training.device as device_module
from common.errors import DeviceError
from simulations.bench.benchmark_device import device_steps
from tests.far_device import FAR, FarDevice


def test_every_kind_of_step_is_timed() -> None:
    (row,) = device_steps("cpu", [28], ["small_cnn"], rows=4, repeats=1)
    assert (row["device"], row["network"], row["side"], row["rows"]) == ("cpu", "small_cnn", 28, 4)
    speeds = [row[f"{kind} images/s"] for kind in ("plain", "book_keeping", "hooks")]
    assert row["private/plain"] == pytest.approx(speeds[0] / speeds[1])
    assert row["private/hooks"] == pytest.approx(speeds[2] / speeds[1])


def test_without_time_nothing_is_begun() -> None:
    rows = device_steps("cpu", [28, 64], ["small_cnn", "lite0"], rows=4, repeats=1, seconds=0.0)
    assert [(row["network"], row["side"], row["rows"]) for row in rows] == [
        ("small_cnn", 28, "no time left"), ("small_cnn", 64, "no time left"), ("lite0", 64, "no time left"),
    ]  # fmt: skip


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(DeviceError, match="cuda:77"):
        device_steps("cuda:77", [28], ["small_cnn"], rows=4, repeats=1)


def test_a_step_takes_what_memory_suffices_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "chosen", lambda setting: FAR)
    with FarDevice(memory=5):
        (row,) = device_steps("cuda", [28], ["small_cnn"], rows=16, repeats=1)
    assert row["rows"] == 4 and row["plain MB"] is None
