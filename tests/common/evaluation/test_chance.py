"""What chance gives stands beside what was found: as often unusual as promised where nothing differs."""

from __future__ import annotations

import numpy as np
import pytest

from common.evaluation.chance import ece_by_chance, gaps_by_chance
from common.evaluation.fairness import fairness
from common.evaluation.scores import ScoreState
from common.evaluation.summary import Measure, summarise


def group(generator: np.random.Generator, count: int, shift: float = 1.2) -> ScoreState:
    labels = (np.arange(count) % 3 == 0).astype(int)
    return ScoreState.of(1 / (1 + np.exp(-generator.normal(labels * shift - 0.5))), labels, 256)


def gaps(groups: dict[str, ScoreState]) -> dict[str, float | None]:
    whole = sum(groups.values(), ScoreState.empty(256))
    state = ScoreState(whole.positives, whole.negatives, {f"a={name}": one for name, one in groups.items()})
    found = fairness(state, threshold=0.5, measure=Measure(seed=1), min_group=1)["a"]["gaps"]
    return {metric: gap["by_chance"]["p"] for metric, gap in found.items()}


def test_where_all_are_treated_alike_a_gap_is_unusual_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    p_values = [gaps({name: group(generator, size) for name, size in (("x", 45), ("y", 60))}) for _ in range(120)]
    for metric in ("auroc", "sensitivity", "specificity"):
        unusual = np.mean([row[metric] <= 0.05 for row in p_values if row[metric] is not None])
        assert unusual <= 0.10, metric


def test_a_group_that_a_model_fails_is_more_than_chance() -> None:
    generator = np.random.default_rng(6)
    found = gaps({"x": group(generator, 200, 3.0), "y": group(generator, 200, 0.0)})
    assert found["auroc"] is not None and found["auroc"] < 0.01


def test_its_gap_grows_with_fewer_patients_and_more_groups() -> None:
    generator = np.random.default_rng(7)

    def median(sizes: list[int]) -> float:
        groups = {str(index): group(generator, size) for index, size in enumerate(sizes)}
        found = gaps_by_chance(groups, threshold=0.5, seed=0, observed={"auroc": 0.0})["auroc"]["median"]
        assert found is not None
        return found

    assert median([30, 30]) > median([300, 300])
    assert median([60] * 6) > median([60] * 2)


def test_what_is_not_defined_stays_undefined() -> None:
    benign = ScoreState.of([0.2, 0.3], [0, 0], 256)
    found = gaps_by_chance({"x": benign, "y": benign}, threshold=0.5, seed=0, observed={"auroc": None})
    assert found["auroc"] == {"median": None, "high": None, "p": None}


@pytest.mark.parametrize("count", [40, 4000])
def test_probabilities_that_are_right_have_the_ece_that_chance_gives(count: int) -> None:
    generator = np.random.default_rng(8)
    found, expected = [], []
    for _ in range(40):
        scores = generator.beta(2, 3, count)
        state = ScoreState.of(scores, generator.random(count) < scores)
        found.append(summarise(state, threshold=0.5)["ece"]["value"])
        expected.append(ece_by_chance(state, 0))
    assert np.mean(found) == pytest.approx(np.mean(expected), rel=0.15)


def test_what_chance_gives_falls_with_the_root_of_the_patients() -> None:
    scores = np.random.default_rng(9).beta(2, 3, 100)
    few, many = (ece_by_chance(ScoreState.of(np.repeat(scores, times), np.zeros(100 * times)), 0) for times in (1, 100))
    assert few is not None and many is not None
    assert few / many == pytest.approx(10, rel=0.3)


def test_nobody_has_no_ece() -> None:
    assert ece_by_chance(ScoreState.empty(64), 0) is None
