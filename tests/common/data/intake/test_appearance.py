"""The measures move with what they are named after, and the site that differs is found."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from common.data.intake.appearance import LARGE, differences, measure, summary
from simulations.data.phantom import make_phantom
from simulations.data.shift import ScannerShift

PLAIN = ScannerShift(gain=1.0, gamma=1.0, blur=0.0, speckle=0.0)


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.float32]]:
    dataset = make_phantom(12, 0, 128)
    return [dataset.read(record.image) for record in dataset.records[:20]]


def seen(images: list[NDArray[np.float32]], **changes: float) -> dict[str, float]:
    shift = ScannerShift(**{"gain": 1.0, "gamma": 1.0, "blur": 0.0, "speckle": 0.0, **changes})
    found = [measure(shift.apply(image, number)) for number, image in enumerate(images)]
    return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


def test_each_change_of_a_scanner_moves_its_measure(images: list[NDArray[np.float32]]) -> None:
    plain = seen(images)
    assert seen(images, gain=1.3)["intensity"] > 1.15 * plain["intensity"]
    assert seen(images, gamma=1.5)["intensity"] < 0.85 * plain["intensity"]
    assert seen(images, gain=0.6)["contrast"] < 0.75 * plain["contrast"]
    assert seen(images, blur=0.01)["sharpness"] < 0.8 * plain["sharpness"]
    assert seen(images, blur=0.01)["speckle"] < 0.8 * plain["speckle"]
    assert seen(images, speckle=0.4)["speckle"] > 1.1 * plain["speckle"]


def test_resolution_is_no_measure() -> None:
    smooth = gaussian_filter(np.random.default_rng(0).random((128, 128)), 4).astype(np.float32)
    large = np.repeat(np.repeat(smooth, 4, 0), 4, 1)
    one, other = measure(smooth), measure(large)
    assert all(other[name] == pytest.approx(one[name], rel=0.1) for name in one)


def test_stain_is_measured_where_there_is_colour() -> None:
    grey = np.full((20, 20, 3), 0.5, np.float32)
    assert "stain_red" not in measure(grey)
    purple = np.zeros((20, 20, 3), np.float32) + np.array([0.6, 0.2, 0.7], np.float32)
    density = -np.log([0.6, 0.2, 0.7])
    found = measure(purple)
    assert found["stain_red"] == pytest.approx(density[0] / density.sum(), abs=1e-5)
    assert found["stain_blue"] == pytest.approx(density[2] / density.sum(), abs=1e-5)


def test_few_patients_tell_nothing() -> None:
    one = {"intensity": 0.5}
    assert summary([[one]] * 4, 5) is None
    assert summary([[one]] * 5, 5) == {"patients": 5, "measures": {"intensity": {"mean": 0.5, "sd": 0.0}}}
    mixed = summary([[one]] * 5 + [[one | {"speckle": 1.0}]] * 4, 5)
    assert mixed is not None and set(mixed["measures"]) == {"intensity"}


def test_a_patient_counts_once_however_many_images() -> None:
    many, one = [{"intensity": 0.2}, {"intensity": 0.4}], [{"intensity": 0.5}]
    found = summary([many, one], 2)
    assert found is not None and found["measures"]["intensity"]["mean"] == 0.4


def test_the_site_that_differs_is_found(images: list[NDArray[np.float32]]) -> None:
    sites = {}
    for name, gain in (("a", 1.0), ("b", 1.0), ("c", 1.5)):
        shift = ScannerShift(gain=gain, gamma=1.0, blur=0.0, speckle=0.0)
        sites[name] = summary([[measure(shift.apply(image, 0))] for image in images], 5)
    found = differences({name: block for name, block in sites.items() if block is not None})
    assert found["c"]["intensity"] > LARGE and abs(found["a"]["intensity"]) < abs(found["c"]["intensity"])


def test_the_difference_is_cohens(images: list[NDArray[np.float32]]) -> None:
    blocks = {
        "a": {"patients": 10, "measures": {"contrast": {"mean": 0.3, "sd": 0.1}}},
        "b": {"patients": 30, "measures": {"contrast": {"mean": 0.2, "sd": 0.2}}},
    }
    pooled = np.sqrt((10 * 0.1**2 + 30 * 0.2**2) / 40)
    assert differences(blocks)["a"]["contrast"] == pytest.approx(0.1 / pooled)
    assert differences(blocks)["b"]["contrast"] == pytest.approx(-0.1 / pooled)
