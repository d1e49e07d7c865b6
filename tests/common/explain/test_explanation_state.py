"""Sums add like patients, survive JSON, give scipy's intervals, and leave no figure of a few patients to be had."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from common.errors import DataError
from common.evaluation.intervals import wilson
from common.explain.attention import MEASURES, Share
from common.explain.explanation_state import OUTCOMES, ExplanationState

shares = st.builds(Share, st.floats(0, 1), st.floats(0, 1))
patients = st.builds(
    lambda outcome, found, blank: ExplanationState.of(outcome, found, blank=blank),
    st.sampled_from(OUTCOMES),
    st.dictionaries(st.sampled_from(MEASURES), shares, max_size=4),
    st.booleans(),
)
cohorts = st.lists(patients, max_size=30)


def _state(values: list[float], chance: float = 0.1, outcome: str = "tp", name: str = "energy") -> ExplanationState:
    return ExplanationState.total(ExplanationState.of(outcome, {name: Share(value, chance)}) for value in values)


@given(cohorts, cohorts)
def test_sites_add_up_to_the_pooled_state(one: list[ExplanationState], two: list[ExplanationState]) -> None:
    apart = ExplanationState.total(one) + ExplanationState.total(two)
    pooled = ExplanationState.total([*one, *two])
    assert apart.whole.patients == pooled.whole.patients == len(one) + len(two)
    for name, cell in pooled.cells.items():
        assert apart.cells[name].blank == cell.blank
        for key, part in cell.measures.items():
            assert apart.cells[name].measures[key].value == pytest.approx(part.value)


@given(cohorts)
def test_json_gives_the_state_back(cohort: list[ExplanationState]) -> None:
    state = ExplanationState.total(cohort)
    assert ExplanationState.from_json(json.loads(json.dumps(state.to_json()))) == state


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_limits_are_students(values: list[float]) -> None:
    row = _state(values).summarise()["tp"]["measures"]["energy"]
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    assert row["value"] == pytest.approx(np.mean(values))
    assert row["gain"] == pytest.approx(np.mean(values) - 0.1)
    assert row["gain_high"] - row["gain_low"] == pytest.approx(2 * half, abs=1e-5)


def test_hits_that_never_miss_keep_an_interval() -> None:
    row = _state([1.0] * 10, name="pointing").summarise()["tp"]["measures"]["pointing"]
    limits = wilson(10, 10)
    assert limits is not None
    assert (row["low"], row["high"]) == (limits.low, 1.0)
    assert row["gain_low"] == pytest.approx(limits.low - 0.1)


def test_the_verdict_says_above_below_or_unclear() -> None:
    generator = np.random.default_rng(0)
    for centre, expected in ((0.5, "above"), (0.02, "below"), (0.1, "unclear")):
        values = list(centre + 0.02 * (2 * (np.arange(40) % 2) - 1) * generator.random())
        assert _state(values).summarise()["all"]["measures"]["energy"]["against_chance"] == expected
    assert _state([0.9]).summarise()["all"]["measures"]["energy"]["gain_low"] is None


@given(cohorts, st.integers(0, 8))
def test_no_figure_that_leaves_rests_on_a_few_patients(cohort: list[ExplanationState], min_cell: int) -> None:
    state = ExplanationState.total(cohort)
    released = state.released(min_cell)
    for cell in released.cells.values():
        assert cell.patients >= min_cell
        assert all(part.patients == 0 or part.patients >= min_cell for part in cell.measures.values())
    assert released.whole.patients in (0, state.whole.patients)


def test_small_outcomes_are_put_together_so_that_none_can_be_subtracted() -> None:
    sizes = {"tp": 20, "tn": 30, "fp": 2, "fn": 4}
    state = ExplanationState.total(_state([0.3] * count, outcome=name) for name, count in sizes.items())
    released = state.released(5)
    assert {name: cell.patients for name, cell in released.cells.items()} == {"tp": 20, "tn": 30, "other": 6}
    lone = ExplanationState.total(_state([0.3] * count, outcome=n) for n, count in sizes.items() if n != "fn")
    assert {name: cell.patients for name, cell in lone.released(5).cells.items()} == {"tn": 30, "other": 22}
    assert not _state([0.3] * 4).released(5).cells


def test_a_measure_of_a_few_patients_is_left_out() -> None:
    few = _state([0.2] * 3, name="overlay") + _state([0.4] * 20)
    assert set(few.released(5).whole.measures) == {"energy"}


def _document() -> dict[str, object]:
    return _state([0.2, 0.6]).to_json()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2),
        (("schema_version",), True),
        (("cells",), []),
        (("cells", "guess"), {"patients": 1, "blank": 0, "measures": {}}),
        (("cells", "tp", "patients"), -1),
        (("cells", "tp", "patients"), True),
        (("cells", "tp", "patients"), 1),
        (("cells", "tp", "blank"), 3),
        (("cells", "tp", "name"), "x"),
        (("cells", "tp", "measures", "energy"), [2, 0.8]),
        (("cells", "tp", "measures", "energy"), [2, 3.0, 0.4, 0.2, 0.2]),
        (("cells", "tp", "measures", "energy"), [2, float("nan"), 0.4, 0.2, 0.2]),
        (("cells", "tp", "measures", "energy"), [2, 1.9, 0.1, 0.2, 0.2]),
        (("cells", "tp", "measures", "energy"), [2, 0.1, 0.9, 0.2, 0.2]),
        (("cells", "tp", "measures", "energy"), [2, "0.8", 0.4, 0.2, 0.2]),
        (("cells", "tp", "measures", "faces"), [2, 0.8, 0.4, 0.2, 0.2]),
    ],
)
def test_documents_that_cannot_be_are_refused(path: tuple[str, ...], value: object) -> None:
    document = json.loads(json.dumps(_document()))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(DataError, match="Expected"):
        ExplanationState.from_json(document)
