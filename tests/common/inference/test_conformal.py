"""Sets keep their error level whatever the scores are, and say when they cannot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from common.errors import DataError
from common.inference.conformal import ConformalSets, fewest
from common.inference.features import BEYOND, NEIGHBOURS, FeatureReference, to_length_one

scores = st.lists(st.floats(-20, 20), min_size=9, max_size=60)


@given(scores, scores, st.sampled_from([0.05, 0.1, 0.3]))
def test_of_exchangeable_patients_of_a_class_no_more_than_the_level_are_left_out(
    benign: list[float], malignant: list[float], level: float
) -> None:
    # Each in turn is the new patient, the others are the calibration: the mean over them is the exact guarantee.
    for label, own in ((0, benign), (1, malignant)):
        missed = 0
        for place in range(len(own)):
            rest = own[:place] + own[place + 1 :]
            both = (rest, malignant) if label == 0 else (benign, rest)
            sets = ConformalSets.of([*both[0], *both[1]], [0] * len(both[0]) + [1] * len(both[1]), level)
            missed += sets.p_values(own[place])[("benign", "malignant")[label]] <= level
        assert missed <= level * len(own) + 1e-9


@given(scores, scores, st.floats(-25, 25), st.floats(0, 5))
def test_a_higher_score_speaks_more_for_malignant(
    benign: list[float], malignant: list[float], score: float, more: float
) -> None:
    sets = ConformalSets.of(benign + malignant, [0] * len(benign) + [1] * len(malignant))
    low, high = sets.p_values(score), sets.p_values(score + more)
    assert high["malignant"] >= low["malignant"] and high["benign"] <= low["benign"]


@pytest.mark.parametrize(("level", "least"), [(0.1, 9), (0.05, 19), (0.5, 1), (0.01, 99)])
def test_with_fewer_patients_of_a_class_than_the_level_needs_there_is_no_set(level: float, least: int) -> None:
    assert fewest(level) == least

    def sets(benign: int, malignant: int) -> ConformalSets:
        return ConformalSets.of(range(benign + malignant), [0] * benign + [1] * malignant, level)

    assert sets(least, least).can_tell
    assert sets(least - 1, 500).set_of(0.0) is None and sets(500, least - 1).set_of(0.0) is None


def test_a_set_of_one_of_both_and_of_none() -> None:
    sets = ConformalSets.of([*range(-20, 0), *range(1, 21)], [0] * 20 + [1] * 20)
    assert sets.set_of(-30.0) == ("benign",) and sets.set_of(30.0) == ("malignant",)
    assert sets.set_of(0.0) == ()
    mixed = ConformalSets.of([*range(-20, 20), *range(-20, 20)], [0] * 40 + [1] * 40)
    assert mixed.set_of(0.0) == ("benign", "malignant")


@given(st.integers(20, 60), st.integers(0, 1000))
def test_the_distance_is_that_to_the_kth_nearest(patients: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(patients, 7)).astype(np.float32)
    new = generator.normal(size=7).astype(np.float32)
    oracle = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(to_length_one(features))
    truth = oracle.kneighbors(to_length_one(new[None]))[0][0, -1]
    assert FeatureReference.of(features).distance(new) == pytest.approx(truth, abs=1e-5)


def test_of_patients_like_the_reference_few_are_beyond_the_limit_and_others_all() -> None:
    generator = np.random.default_rng(1)
    centre = np.full(20, 5.0)
    own = (centre + generator.normal(size=(400, 20))).astype(np.float32)
    reference = FeatureReference.of(own)
    new = (centre + generator.normal(size=(3000, 20))).astype(np.float32)
    share = np.mean([reference.distance(row) > reference.limit for row in new])
    # The limit itself is random: with 400 patients its share beyond is Beta(5, 396), 0.0245 at its 99.9th percentile.
    assert share < 2.5 * BEYOND
    far = (-centre + generator.normal(size=(50, 20))).astype(np.float32)
    assert all(reference.distance(row) > reference.limit for row in far)


def test_too_few_patients_make_no_reference() -> None:
    with pytest.raises(DataError, match="needs 20 patients"):
        FeatureReference.of(np.ones((19, 3), np.float32))
