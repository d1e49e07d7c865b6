"""A run that was interrupted goes on as if it had not been."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from common.errors import SiteCode
from common.evaluation.scores import ScoreState
from server.run.progress import Progress

BINS = 64
SITES = st.sampled_from(["north", "south", "east"])
PROBABILITIES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=5)


def _state(patients: list[tuple[float, int]]) -> ScoreState:
    return ScoreState.of([p for p, _ in patients], [label for _, label in patients], BINS)


ROUND = st.tuples(
    st.none() | st.floats(0, 1),
    st.dictionaries(SITES, PROBABILITIES.map(_state)),
    st.sets(SITES),
    st.dictionaries(SITES, st.sampled_from(SiteCode)),
)


def _play(progress: Progress, rounds: list, first: int) -> None:
    for index, (merit, states, joined, failures) in enumerate(rounds, first):
        progress.keep_if_best(index, merit, states)
        progress.count(index, joined, failures)
        progress.out |= set(failures)


@given(rounds=st.lists(ROUND, max_size=6), cut=st.integers(0, 6))
def test_a_run_cut_after_any_round_ends_as_the_whole_run(rounds: list, cut: int) -> None:
    whole, begun, gone_on = Progress(), Progress(), Progress()
    _play(whole, rounds, 1)
    _play(begun, rounds[:cut], 1)
    gone_on.recall(begun.rounds_done, json.loads(json.dumps(begun.notes())), BINS)
    _play(gone_on, rounds[cut:], begun.rounds_done + 1)
    assert gone_on == whole


@given(rounds=st.lists(ROUND, min_size=1, max_size=6))
def test_the_chosen_round_is_the_last_of_the_best(rounds: list) -> None:
    progress = Progress()
    _play(progress, rounds, 1)
    merits = {index: merit for index, (merit, *_) in enumerate(rounds, 1) if merit is not None}
    assert progress.best_round == max((i for i, m in merits.items() if m == max(merits.values())), default=0)
    assert progress.best_merit == max(merits.values(), default=-math.inf)


def test_whom_the_resumed_run_lost_at_enrolment_stays_lost() -> None:
    before, after = Progress(), Progress(lost={"east": SiteCode.POLICY_REFUSED})
    before.count(1, ["east", "north"], {"south": SiteCode.UNAVAILABLE})
    after.recall(1, before.notes(), BINS)
    assert after.lost == {"east": SiteCode.POLICY_REFUSED, "south": SiteCode.UNAVAILABLE}
    assert after.reason() == "lost: east (policy-refused), south (unavailable)"


def test_who_trained_before_the_interruption_and_is_gone_is_lost() -> None:
    before, after = Progress(), Progress()
    before.count(1, ["east", "north", "south"], {"south": SiteCode.BAD_UPDATE})
    after.recall(1, before.notes(), BINS)
    after.miss({"north": 1})
    assert after.lost == {"east": SiteCode.UNAVAILABLE, "south": SiteCode.BAD_UPDATE}
