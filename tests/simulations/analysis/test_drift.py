"""Simulated departments: they are what they say they are, and the monitor sees what river's detectors see."""

from __future__ import annotations

import importlib
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from common.monitoring.cusum import Reference, chart, watch
from common.monitoring.eprocess import bet
from simulations.analysis.drift.detectors import monitor, summary
from simulations.analysis.drift.exams import A_WEEK, BEFORE, CHANGES, Department, make_exams
from simulations.cli.main import app


def test_before_a_change_probabilities_are_calibrated_and_the_classes_apart_as_said() -> None:
    exams = make_exams(BEFORE, 40_000, 0.0, np.random.default_rng(1))
    assert roc_auc_score(exams.malignant, exams.probability) == pytest.approx(0.921, abs=0.01)
    for low in np.arange(0, 1, 0.1):
        chosen = (exams.probability >= low) & (exams.probability < low + 0.1)
        gap = exams.malignant[chosen].mean() - exams.probability[chosen].mean()
        assert abs(gap) < 4 * 0.5 / math.sqrt(chosen.sum())


@given(st.sampled_from(sorted(CHANGES)), st.integers(1, 60), st.integers(0, 99))
def test_exams_have_one_value_each_and_add_up(name: str, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (make_exams(CHANGES[name], count, start, rng) for start in (0.0, 100.0))
    both = first + second
    assert len(both.day) == 2 * count == len(both.looks["contrast"]) and (np.diff(both.day) > 0).all()
    assert (both.above == (both.probability >= CHANGES[name].threshold)).all()
    assert (both.labelled >= both.day).all()


def departments(change: Department, runs: int) -> list[dict[str, float]]:
    found = []
    for run in range(runs):
        rng = np.random.default_rng(run)
        frozen = make_exams(BEFORE, 200, 0.0, rng)
        exams = make_exams(BEFORE, 8 * A_WEEK, 0.0, rng) + make_exams(change, 16 * A_WEEK, 56.0, rng)
        found.append({name: detector(exams) for name, detector in monitor(frozen).items()})
    return found


@pytest.mark.parametrize(
    ("change", "stream"),
    [("scanner", "input"), ("contrast", "input"), ("prevalence", "score"), ("threshold", "score"),
     ("label delay", "labels")],
)  # fmt: skip
def test_each_change_is_seen_by_the_stream_that_it_touches(change: str, stream: str) -> None:
    alarms = [next(day for name, day in run.items() if name.startswith(stream))
              for run in departments(CHANGES[change], 10)]  # fmt: skip
    assert sum(56 <= day < math.inf for day in alarms) >= 8


def river(name: str, **settings: Any) -> Any:
    return getattr(importlib.import_module("river.drift"), name)(**settings)


def first(detector: Any, values: list[float]) -> float:
    for number, value in enumerate(values, start=1):
        detector.update(value)
        if detector.drift_detected:
            return number
    return math.inf


@pytest.mark.parametrize("oracle", [("ADWIN", {}), ("KSWIN", {"seed": 1}), ("PageHinkley", {})])
def test_a_large_shift_of_scores_that_river_sees_is_seen_no_later(oracle: tuple[str, dict[str, Any]]) -> None:
    ours, theirs = [], []
    for run in range(8):
        rng = np.random.default_rng(run)
        reference = Reference.of(rng.normal(size=300).tolist())
        up, down = (chart(reference, 50_000, rises=rises) for rises in (True, False))
        values = [*rng.normal(size=300).tolist(), *(rng.normal(size=300) + 1.5).tolist()]
        found = watch(values, reference, up, down)
        assert found is not None and found.at > 300
        ours.append(found.at)
        theirs.append(first(river(oracle[0], **oracle[1]), values[250:]) + 250)
    assert np.median(ours) <= np.median(theirs)


def test_too_many_errors_that_river_sees_are_seen_by_the_bet() -> None:
    for run in range(8):
        rng = np.random.default_rng(run)
        errors = np.concatenate([rng.random(300) < 0.1, rng.random(300) < 0.5]).astype(int).tolist()
        assert first(river("ADWIN"), errors) < math.inf
        alarm = bet(errors, 0.15, 0.05).alarm
        assert alarm is not None and 300 < alarm < 380


def test_a_summary_counts_what_came_too_early_apart() -> None:
    found = summary([3.0, 12.0, 14.0, math.inf], 10.0)
    assert (found.false, found.delay) == (0.25, 3.0) and found.seen == pytest.approx(2 / 3)
    assert summary([1.0], 10.0).delay is None


def test_the_command_prints_a_row_for_each_change_and_detector() -> None:
    result = CliRunner().invoke(app, ["drift", "--runs", "1", "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["data"]["rows"]
    assert {row["change"] for row in rows} == {*CHANGES} and len(rows) == 7 * len(CHANGES)
