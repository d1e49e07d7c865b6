"""A score state adds like the patients it counts, travels as JSON, and refuses what is not one."""

from __future__ import annotations

import json
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import DataError
from common.evaluation.scores import DEFAULT_BINS, ScoreState, bin_edges, nearest_edge

BINS = 32
patients = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), max_size=30)


def state_of(rows: list[tuple[float, int]], bins: int = BINS) -> ScoreState:
    scores = np.array([score for score, _ in rows], dtype=np.float64)
    return ScoreState.of(scores, np.array([label for _, label in rows], dtype=np.int64), bins)


@given(patients, patients, patients)
def test_adding_is_associative_commutative_and_equals_pooling(a, b, c) -> None:
    x, y, z = map(state_of, (a, b, c))
    assert (x + y) + z == x + (y + z) == z + x + y == state_of(a + b + c)
    assert x + ScoreState.empty(BINS) == x


@given(patients)
def test_json_round_trip(rows) -> None:
    state = state_of(rows)
    again = ScoreState.from_json(json.loads(json.dumps(state.to_json())), bins=BINS)
    assert again == state and hash(again) == hash(state)


@pytest.mark.parametrize("bins", [16, 17, 255, DEFAULT_BINS, 65_536])
def test_edges_rise_are_symmetric_and_fine_in_probability_and_in_log_odds(bins: int) -> None:
    edges = bin_edges(bins)
    assert edges.shape == (bins + 1,) and edges[0] == 0 and edges[-1] == 1
    width = np.diff(edges)
    assert (width > 0).all() and width.max() <= 2 / bins + 1e-12
    np.testing.assert_allclose(edges + edges[::-1], 1, atol=1e-15)
    inner = edges[(edges > 1e-6) & (edges < 1 - 1e-6)]
    log_odds = np.log(inner) - np.log1p(-inner)
    assert np.diff(log_odds).max() <= 64 / bins * (1 + 1e-6)  # 1 - p loses digits next to 1


@pytest.mark.parametrize(("spread", "gain"), [(0.05, 0.45), (1.0, 0.45), (10.0, 2.0)])
def test_timid_and_overconfident_scores_keep_their_order(spread: float, gain: float) -> None:
    """Against a uniform grid: at worst half as many bins in use, and twice as many near 0 and 1."""
    scores = 1 / (1 + np.exp(-np.random.default_rng(0).normal(0, spread, 2000)))
    occupied = np.count_nonzero(ScoreState.of(scores, np.ones(2000, int)).positives)
    assert occupied >= gain * np.unique((scores * DEFAULT_BINS).astype(int)).size


def test_every_score_has_a_bin_and_an_edge_belongs_to_the_bin_above() -> None:
    edges = bin_edges(BINS)
    counts = ScoreState.of(edges, np.ones(BINS + 1, dtype=int), BINS).positives
    assert counts.tolist() == [1] * (BINS - 1) + [2]


@pytest.mark.parametrize(("threshold", "bins"), [(0.5, 4096), (0.3, 4096), (0.5, 17), (0.999, 16)])
def test_nearest_edge(threshold: float, bins: int) -> None:
    used = nearest_edge(threshold, bins)
    assert used in bin_edges(bins) and abs(used - threshold) <= 1 / bins
    assert used == 0.5 or (threshold, bins) != (0.5, 4096)


def test_a_state_cannot_be_changed_from_outside() -> None:
    counts = np.ones(BINS, dtype=np.int64)
    state = ScoreState(counts, counts)
    counts[0] = 99
    assert state.positives[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        state.negatives[0] = 2


@pytest.mark.parametrize(
    ("positives", "negatives"),
    [
        (np.zeros(BINS, int), np.zeros(BINS + 1, int)),
        (np.zeros(4, int), np.zeros(4, int)),
        (np.full(BINS, -1), np.zeros(BINS, int)),
        (np.zeros(BINS), np.zeros(BINS)),
        (np.zeros((BINS, 2), int), np.zeros((BINS, 2), int)),
        (np.full(BINS, 10**9), np.zeros(BINS, int)),
        (np.zeros(65_537, int), np.zeros(65_537, int)),
    ],
)
def test_refuses_counts_that_are_no_histograms(positives, negatives) -> None:
    with pytest.raises(DataError, match="Expected"):
        ScoreState(positives, negatives)


@pytest.mark.parametrize(
    ("scores", "labels"),
    [([1.1], [1]), ([-0.1], [1]), ([np.nan], [0]), ([0.5], [2]), ([0.5, 0.5], [1]), ([[0.5]], [[1]])],
)
def test_refuses_scores_and_labels_out_of_range(scores, labels) -> None:
    with pytest.raises(DataError, match="Expected"):
        ScoreState.of(scores, labels, BINS)


def test_json_grows_with_patients_not_with_bins() -> None:
    state = ScoreState.of(np.linspace(0, 1, 50), np.arange(50) % 2, 65_536)
    assert len(json.dumps(state.to_json())) < 24 * 50


groups = st.dictionaries(st.sampled_from(["a=x", "a=y", "b=z"]), patients, max_size=3)


def grouped(parts: dict[str, list[tuple[float, int]]]) -> ScoreState:
    states = {name: state_of(rows) for name, rows in parts.items()}
    whole = reduce(add, states.values(), ScoreState.empty(BINS))
    return ScoreState(whole.positives, whole.negatives, states)


@given(groups, groups, groups)
def test_subgroups_add_like_their_patients(a, b, c) -> None:
    x, y, z = map(grouped, (a, b, c))
    assert (x + y) + z == x + (y + z) == z + x + y
    assert hash(x + y) == hash(y + x)
    for name in {*a, *b}:
        assert (x + y).groups[name] == state_of(a.get(name, []) + b.get(name, []))
    assert ScoreState.from_json(json.loads(json.dumps((x + y).to_json())), BINS) == x + y


@pytest.mark.parametrize("name", ["Scanner", "scanner", "scanner=Mrs Smith", "scanner=/data", "a=" + "b" * 41, "a=b=c"])
def test_a_subgroup_has_a_plain_name(name: str) -> None:
    with pytest.raises(DataError, match="attribute=value"):
        ScoreState(*[np.zeros(BINS, int)] * 2, groups={name: ScoreState.empty(BINS)})


def test_subgroups_hold_no_more_than_the_whole() -> None:
    one = state_of([(0.5, 1)])
    ScoreState(one.positives, one.negatives, {"a=x": one, "b=x": one})
    with pytest.raises(DataError, match="among"):
        ScoreState(one.positives, one.negatives, {"a=x": one, "a=y": one})
    with pytest.raises(DataError, match="bins"):
        ScoreState(one.positives, one.negatives, {"a=x": ScoreState.empty(64)})
    many = {f"a=x{number}": ScoreState.empty(BINS) for number in range(257)}
    with pytest.raises(DataError, match="256"):
        ScoreState.from_json(ScoreState(one.positives, one.negatives, many).to_json())


def test_sites_with_many_subgroups_each_add() -> None:
    """Each site has scanners of its own, so that a federation has more groups than one site may name."""
    first, second = (
        ScoreState(
            *2 * (ScoreState.empty(BINS).positives,), {f"{name}=x{n}": ScoreState.empty(BINS) for n in range(200)}
        )
        for name in "ab"
    )
    assert len((first + second).groups) == 400


ZEROS: list[list[int]] = [[], []]
GOOD = {"schema_version": 2, "bins": BINS, "positives": [[3], [2]], "negatives": ZEROS, "groups": {}}


@pytest.mark.parametrize(
    "document",
    [
        GOOD | {"schema_version": 1},
        GOOD | {"patient": "p1"},
        {key: value for key, value in GOOD.items() if key != "negatives"},
        *(
            GOOD | {"positives": pair}
            for pair in (
                *([[3], [0.5]], [[3], [True]], [[3], [10**30]], [[3], [-1]], [[3], "2"], [[3], []], [[3]], "00", None),
                *([[-1], [2]], [[BINS], [2]], [[3, 3], [1, 1]], [[4, 3], [1, 1]], [[3.0], [2]], [[10**40], [1]]),
            )
        ),
        *(GOOD | {"bins": bins} for bins in (BINS + 1, 10**9, "32", True, None)),
        *(
            GOOD | {"groups": groups}
            for groups in (
                *(
                    [],
                    {"a=x": None},
                    {"a=x": {"positives": ZEROS}},
                    {"a=x": {"positives": [[4], [1]], "negatives": ZEROS}},
                ),
                *({"Mrs Smith": {"positives": ZEROS, "negatives": ZEROS}}, dict.fromkeys(map(str, range(300)))),
            )
        ),
        [],
        "{}",
        None,
    ],
)
def test_refuses_foreign_json(document) -> None:
    with pytest.raises(DataError, match="Expected"):
        ScoreState.from_json(document, bins=BINS)


def test_accepts_its_own_json() -> None:
    assert ScoreState.from_json(GOOD, bins=BINS).positives[3] == 2


def test_states_of_different_grids_do_not_add() -> None:
    with pytest.raises(DataError, match="32 bins, got 64"):
        reduce(add, [ScoreState.empty(32), ScoreState.empty(64)])


@pytest.mark.parametrize("bins", [15, 65_537])
def test_refuses_a_grid_out_of_bounds(bins: int) -> None:
    with pytest.raises(DataError, match=r"evaluation\.bins"):
        bin_edges(bins)
