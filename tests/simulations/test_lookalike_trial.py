"""The figures of docs/data-checks.md, on fewer images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from common.config import DataConfig
from common.data.formats import open_dataset
from simulations.lookalike_trial import EDITS, copies_found, false_pairs


@pytest.fixture(scope="module")
def bus_bra(real_data: Path) -> tuple[list[NDArray[np.float32]], list[str]]:
    """Every eighth image with its patient."""
    dataset = open_dataset(DataConfig(name="bus_bra", root=str(real_data / "bus-bra" / "BUSBRA")))
    return [dataset.read(record.image) for record in dataset.records[::8]], [r.patient for r in dataset.records[::8]]


def test_no_two_women_are_taken_for_one(bus_bra: tuple[list[NDArray[np.float32]], list[str]]) -> None:
    pairs, wrong = false_pairs(*bus_bra)
    assert pairs > 12_000 and wrong.either == 0


def test_copies_are_found_whatever_was_done_to_them(bus_bra: tuple[list[NDArray[np.float32]], list[str]]) -> None:
    found = copies_found(bus_bra[0][::4])
    assert set(found) == set(EDITS)
    for edit in (
        "JPEG of quality 30",
        "half the size",
        "gamma 1.5",
        "gamma 0.6",
        "contrast, clipped",
        "text and a line",
    ):
        assert found[edit].either > 0.97
    assert found["cropped by 3 % a side"].either > 0.7 > 0.4 > found["cropped by 3 % a side"].thumbnails
    assert found["framed by 5 % left and right"].either > 0.5
    assert found["mirrored"].either < 0.1  # known to be missed
