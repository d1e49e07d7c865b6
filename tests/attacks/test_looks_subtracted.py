"""What a hospital hands in by hand, or kept from another day, tells no more of one woman than its policy lets leave."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from common.data.intake.appearance import MEASURES, measure
from common.data.intake.appearance_told import told_appearance
from common.errors import NotReleased
from common.explain.explanation_state import ExplanationState
from common.models.weights import trainable_state
from common.models.zoo import build_model
from common.protocol.messages import DocumentAnswer
from simulations.data.phantom import make_phantom
from tests.attacks.test_one_patient_shows import POLICY, SIDE, STUDY, _ask, _images, _site


@pytest.fixture(scope="module")
def looks() -> list[list[Mapping[str, float]]]:
    dataset = make_phantom(70, 5, 64)
    return [[measure(dataset.read(record.image)) for record in records] for records in dataset.patients().values()]


@pytest.mark.parametrize("patients", [7, 20, 59, 64, 69])
def test_two_files_do_not_tell_the_looks_of_who_came_between(
    looks: list[list[Mapping[str, float]]], patients: int
) -> None:
    """Before: to a hundredth of what patients differ by, in each measure, and exactly how many patients there are."""
    before, after = (told_appearance(looks[:number], 5) for number in (patients, patients + 1))
    assert before is not None and after is not None
    for name in set(before["measures"]) & set(MEASURES):
        steps = [file["measures"][name]["mean"] * file["patients"] for file in (before, after)]
        assert all(step == round(step) for step in steps)
        low, high = ((steps[1] + sign) / after["patients"] for sign in (-0.5, 0.5))
        first, last = ((steps[0] + sign) / before["patients"] for sign in (-0.5, 0.5))
        widest = (patients + 1) * high - patients * first, (patients + 1) * low - patients * last
        assert widest[0] - widest[1] >= 1, "every value in [0, 1] fits"
    assert before["patients"] == 1 << (patients.bit_length() - 1)


def test_one_who_stands_apart_moves_no_spread(looks: list[list[Mapping[str, float]]]) -> None:
    alone = [[dict.fromkeys(("intensity", "contrast", "sharpness", "speckle"), 1.0)]]
    before, after = told_appearance(looks[:40], 5), told_appearance([*looks[:40], *alone], 5)
    assert before is not None and after is not None
    for name, row in before["measures"].items():
        assert abs(row["sd"] - after["measures"][name]["sd"]) <= 1 / before["patients"]


def test_the_figures_still_tell_hospitals_apart(looks: list[list[Mapping[str, float]]]) -> None:
    found = told_appearance(looks[:64], 5)
    assert found is not None
    for name, row in found["measures"].items():
        values = [float(np.mean([image[name] for image in images])) for images in looks[:64]]
        assert abs(row["mean"] - np.mean(values)) <= 1 / 128 + 1e-9


def test_an_answer_kept_from_a_day_on_which_more_might_leave_stays(tmp_path: Path) -> None:
    """Before: scores and thresholds of own models left whole, after the officer had said `verdict`."""
    arrays = trainable_state(build_model(STUDY.model, (1, SIDE, SIDE), STUDY.seed))
    site = _site(tmp_path, _images(0))
    for split in ("val", "test"):
        _ask(site, "evaluate", split=split, arrays=arrays)
    whole = _ask(site, "baseline", arrays=arrays)
    assert isinstance(whole, DocumentAnswer) and "models" in whole.document
    for level in ("verdict", "rounded"):
        closed = dataclasses.replace(site, policy=dataclasses.replace(POLICY, own_models=level))
        with pytest.raises(NotReleased):
            _ask(closed, "baseline", arrays=arrays)
    again = _ask(site, "baseline", arrays=arrays)
    assert isinstance(again, DocumentAnswer)
    assert json.dumps(again.document) == json.dumps(whole.document), "the same bytes leave"


@pytest.mark.parametrize(("blank", "told"), [(1, 0), (4, 0), (5, 5), (15, 15), (16, 20), (19, 20), (20, 20), (0, 0)])
def test_no_blank_map_is_counted_alone(blank: int, told: int) -> None:
    """Before: under weights whose map is blank for one kind of image, the count told of one patient and her class."""
    states = [ExplanationState.of("malignant", {}, blank=number < blank) for number in range(20)]
    assert ExplanationState.total(states).released(5).cells["malignant"].blank == told
