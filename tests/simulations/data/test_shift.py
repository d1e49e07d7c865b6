"""Scanner shift: nothing at strength 0, the same for one site, different between sites, masks untouched."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.manifest import Dataset, Record, read_mask
from simulations.data.phantom import make_phantom
from simulations.data.shift import ScannerShift, shift_site


@pytest.fixture(scope="module")
def phantom() -> Dataset:
    return make_phantom(20, seed=0, image_size=48)


def test_no_strength_is_no_shift(phantom: Dataset) -> None:
    assert shift_site(phantom, 1, 0.0, seed=0) is phantom
    pixels = phantom.read(phantom.records[0].image)
    assert np.allclose(ScannerShift.draw(1, 0.0, 0).apply(pixels, 5), pixels, atol=1e-6)


def test_a_site_has_one_machine_and_sites_differ(phantom: Dataset) -> None:
    key = phantom.records[0].image
    first, again, other = (shift_site(phantom, index, 1.0, seed=0).read for index in (0, 0, 1))
    assert np.array_equal(first(key), again(key))
    assert not np.allclose(first(key), other(key), atol=0.02)
    assert np.array_equal(pickle.loads(pickle.dumps(first))(key), first(key))


def test_masks_and_records_pass_unchanged_and_a_note_tells(phantom: Dataset) -> None:
    shifted = shift_site(phantom, 0, 2.0, seed=0)
    assert shifted.records == phantom.records
    for record in phantom.records[:5]:
        assert np.array_equal(read_mask(shifted, record), read_mask(phantom, record))
    assert "emulated scanner" in shifted.notes[-1]


@given(st.integers(0, 50), st.floats(0, 5), st.sampled_from([(9, 7), (9, 7, 3)]))
def test_pixels_stay_in_range_whatever_the_machine(site: int, strength: float, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(site).random(shape, dtype=np.float32)
    seen = ScannerShift.draw(site, strength, 0).apply(pixels, 1)
    assert seen.shape == shape and seen.dtype == np.float32
    assert np.isfinite(seen).all() and seen.min() >= 0 and seen.max() <= 1


def test_strength_grows_the_shift(phantom: Dataset) -> None:
    keys = [record.image for record in phantom.records[:4]]
    mean_change = [
        np.mean(
            [
                np.abs(shift_site(phantom, site, strength, 0).read(key) - phantom.read(key)).mean()
                for site in range(6)
                for key in keys
            ]
        )
        for strength in (0.3, 1.0, 2.0)
    ]
    assert mean_change[0] < mean_change[1] < mean_change[2]


def test_tables_pass() -> None:
    table = Dataset("t", (Record("0", "a", 1),), read=lambda key: np.zeros(3, np.float32), kind="table", features=3)
    assert shift_site(table, 0, 1.0, seed=0) is table
