"""Sentences about probabilities say no more than an interval shows, and where a model is of no use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from common.evaluation.scores import ScoreState
from common.evaluation.summary import summarise
from common.reporting.usefulness import calibration_sentences, usefulness


def summary(slope: float, shift: float = 0.0, patients: int = 2000) -> dict[str, Any]:
    """Scores whose log-odds are the true ones times ``slope`` plus ``shift``."""
    generator = np.random.default_rng(0)
    truth = generator.normal(-0.8, 1.2, patients)
    labels = generator.random(patients) < 1 / (1 + np.exp(-truth))
    return summarise(ScoreState.of(1 / (1 + np.exp(-(slope * truth + shift))), labels), threshold=0.5)


@pytest.mark.parametrize(
    ("slope", "shift", "said"),
    [(0.2, 0.0, "too timid"), (3.0, 0.0, "too extreme"), (1.0, -1.0, "too low"), (1.0, 1.0, "too high")],
)
def test_what_is_wrong_is_said(slope: float, shift: float, said: str) -> None:
    lines = calibration_sentences(summary(slope, shift))
    assert said in " ".join(lines) and "Do not read them as probabilities" in lines[-1]


def test_what_is_right_or_cannot_be_told_is_not_called_wrong() -> None:
    assert calibration_sentences(summary(1.0)) == []
    assert calibration_sentences(summary(0.8, patients=12)) == []
    assert calibration_sentences({}) == []


def test_a_model_whose_scores_are_all_low_is_of_no_use_above_them() -> None:
    text = usefulness(summary(0.1, -2.0))
    assert "is of no use" in text
    curve = summary(0.1, -2.0)["net_benefit"]
    best = [at for at, model, all_ in zip(curve["threshold"], curve["model"], curve["all"], strict=True)
            if 0.02 <= at <= 0.5 and model > max(0, all_) + 1e-9]  # fmt: skip
    assert f"Above {max(best):.2g} it is of no use." in text if best else "At no threshold" in text


def test_a_useless_model_is_called_so() -> None:
    labels = np.arange(400) % 4 == 0
    assert "At no threshold from 0.02 to 0.5" in usefulness(
        summarise(ScoreState.of(np.full(400, 0.001), labels), threshold=0.5)
    )
    assert usefulness({}) == ""


def test_a_good_model_helps_over_the_whole_range() -> None:
    text = usefulness(summary(1.0))
    assert "is better than treating all patients alike at thresholds between" in text
