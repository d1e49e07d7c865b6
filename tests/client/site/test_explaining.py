"""Where the common model looks, as a site tells it: once a run, of the test's model, by class, above the floors."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from client.site.explaining import explained
from client.site.hospital import Cohort, Site
from client.site.policy import SitePolicy
from common.config.study import DataConfig, EvaluationConfig, ModelConfig, PrivacyConfig, StudyConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.data.pixels.masks import Shown
from common.errors import DataError, NotReleased, QuestionRefused, TooFewPatients
from common.explain.explanation_state import CLASSES, Cell, ExplanationState, Moments
from common.explain.measured import heatmaps, shares_of
from common.models.weights import trainable_state
from common.privacy.randomness import Randomness
from common.privacy.statement import LOOKED_AT, not_covered
from common.protocol.messages import Request, SiteCard
from common.training.study_model import study_model
from server.run.cards import ALWAYS_SCORED
from server.run.looking import Looked, explanation, fits_card, read_looked

SIDE = 32
STUDY = StudyConfig(
    name="looked at",
    data=DataConfig(image_size=SIDE),
    model=ModelConfig(name="small_cnn", width=4),
    training=TrainingConfig(rounds=2, local_steps=1, batch_patients=10),
    privacy=PrivacyConfig(epsilon=8.0, accountant="rdp"),
    evaluation=EvaluationConfig(bins=256, attention=True, local_baseline=False),
)
POLICY = dataclasses.replace(SitePolicy.emulated(100.0), min_split=10, min_group=5, runs_per_study=1)


def patients(malignant: int, benign: int, seed: int = 0) -> PatientTensors:
    """Each patient with two images, the second half of each benign."""
    generator = torch.Generator().manual_seed(seed)
    count = malignant + benign
    labels = torch.tensor([1.0] * malignant + [0.0] * benign).repeat_interleave(2)
    images = torch.rand((2 * count, 1, SIDE, SIDE), generator=generator) * 2 - 1
    return PatientTensors(
        images, labels, torch.arange(count).repeat_interleave(2), tuple(f"p{n}" for n in range(count))
    )


def hospital(home: Path, data: PatientTensors, policy: SitePolicy = POLICY, **fields: Any) -> Site:
    return Site(
        name="north",
        declared_patients=60,
        cohort=Cohort(train_patients=data.patients, counts={}, load=lambda study, split: data, **fields),
        policy=policy,
        randomness=lambda purpose, round_index: Randomness.from_entropy(),
        home=home,
        ledger_path=home / "ledger.sqlite",
    )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return hospital(tmp_path / "site", patients(9, 12))


def ask(site: Site, purpose: str, seed: int = 1, study: StudyConfig = STUDY, **fields: Any) -> dict[str, Any]:
    arrays = trainable_state(study_model(dataclasses.replace(study, seed=seed), (1, SIDE, SIDE)))
    request = Request(purpose=purpose, study=study, run="ab", arrays=arrays, **fields)  # type: ignore[arg-type]
    return dict(getattr(dataclasses.replace(site), purpose)(request).document)


def opened(site: Site, study: StudyConfig = STUDY) -> Site:
    """Returns the site once its test was opened with the weights of seed 1."""
    ask(site, "evaluate", study=study, round_index=1)
    ask(site, "evaluate", study=study, split="test")
    return site


def test_it_is_told_once_of_the_model_of_the_test(site: Site) -> None:
    with pytest.raises(QuestionRefused, match="model of the test only"):
        ask(site, "attention")
    opened(site)
    told = ask(site, "attention")
    assert ask(site, "attention") == told, "whoever crashed asks again and learns nothing by it"
    for seed in (0, 2):
        with pytest.raises(QuestionRefused):
            ask(site, "attention", seed)


def test_who_did_not_ask_or_may_not_gets_nothing(tmp_path: Path) -> None:
    off = dataclasses.replace(STUDY, evaluation=dataclasses.replace(STUDY.evaluation, attention=False))
    with pytest.raises(QuestionRefused, match="does not ask"):
        ask(opened(hospital(tmp_path / "off", patients(9, 12)), off), "attention", study=off)
    closed = dataclasses.replace(POLICY, attention=SitePolicy().attention)
    with pytest.raises(NotReleased):
        ask(opened(hospital(tmp_path / "closed", patients(9, 12), closed)), "attention")


def test_a_split_below_the_floors_is_told_nothing_of(tmp_path: Path) -> None:
    closed = {
        "split": dataclasses.replace(POLICY, min_split=22),
        "group": dataclasses.replace(POLICY, min_group=10),
    }
    for name, policy in closed.items():
        asked = opened(
            hospital(tmp_path / name, patients(9, 12), dataclasses.replace(POLICY, min_split=1, min_group=1))
        )
        with pytest.raises(TooFewPatients):
            ask(dataclasses.replace(asked, policy=policy), "attention")


@settings(max_examples=8, deadline=None)
@given(malignant=st.integers(0, 9), benign=st.integers(1, 9), floor=st.integers(1, 8))
def test_no_figure_is_of_fewer_patients_than_the_floor(malignant: int, benign: int, floor: int) -> None:
    data, policy = patients(malignant, benign), dataclasses.replace(POLICY, min_group=floor)
    study = dataclasses.replace(STUDY, evaluation=dataclasses.replace(STUDY.evaluation, min_cell=0))
    site = hospital(Path("nowhere"), data, policy)
    told = explained(site, study_model(study, (1, SIDE, SIDE)), data, study)
    state = ExplanationState.from_json(told["state"])
    for cell in state.cells.values():
        assert cell.patients >= floor and all(part.patients >= floor for part in cell.measures.values())
    assert told["sanity"] is None or told["sanity"]["images"] >= floor


def test_its_sums_are_those_of_the_maps_of_each_class(site: Site) -> None:
    told = ask(opened(site), "attention")
    data = site.cohort.load(STUDY, "test")
    maps = heatmaps(study_model(dataclasses.replace(STUDY, seed=1), (1, SIDE, SIDE)), data.inputs, "gradcam")
    place = Shown((0, SIDE, 0, SIDE), None)
    border = [shares_of(maps[2 * p : 2 * p + 2], [place] * 2)["border"].value for p in range(21)]
    cells = ExplanationState.from_json(told["state"]).cells
    assert {name: cell.patients for name, cell in cells.items()} == {"malignant": 9, "benign": 12}
    assert cells["malignant"].measures["border"].value == pytest.approx(sum(border[:9]))
    assert cells["benign"].measures["border"].value == pytest.approx(sum(border[9:]))
    assert "energy" not in cells["malignant"].measures, "nobody outlined a lesion"


def test_lesions_are_measured_where_they_are_outlined(tmp_path: Path) -> None:
    lesion = np.zeros((SIDE, SIDE), dtype=bool)
    lesion[8:20, 8:20] = True
    places = [[Shown((0, SIDE, 0, SIDE), lesion)] * 2 for _ in range(21)]
    site = hospital(tmp_path / "site", patients(9, 12), places=lambda study, split: places)
    told = ExplanationState.from_json(ask(opened(site), "attention")["state"])
    measures = set(told.cells["malignant"].measures)
    assert {"energy", "iou"} <= measures and not measures & {"pointing", "centre_pointing"}


def looked(malignant: int, benign: int) -> Looked:
    cells = {name: Cell(n, 0, {"border": Moments(n, 0.25 * n, 0.0625 * n, 0.36 * n, 0.0121 * n)})
             for name, n in zip(CLASSES, (malignant, benign), strict=True)}  # fmt: skip
    return Looked(ExplanationState(cells), 16, 0.25)


def test_the_hub_reads_what_a_site_tells_and_adds_it(site: Site) -> None:
    told = read_looked(ask(opened(site), "attention"), 256)
    facts: dict[str, Any] = {"run_id": "ab"}
    document = explanation({"north": told, "south": looked(3, 4), "west": None}, confidence=0.95, facts=facts)
    assert document["kept"] == ["west"] and set(document["sites"]) == {"north", "south"}
    assert document["pooled"]["malignant"]["patients"] == 12 and document["pooled"]["all"]["patients"] == 28
    assert document["sanity"]["images"] == told.images + 16


@pytest.mark.parametrize(
    "change",
    [
        {"state": None}, {"method": "occlusion"}, {"schema_version": 2}, {"more": 1}, {"sanity": [1]},
        {"sanity": {"images": 0, "spearman": 0}}, {"sanity": {"images": 4, "spearman": 2.0}},
        {"sanity": {"images": 4, "spearman": float("nan")}},
        {"state": {"schema_version": 1, "cells": {"tp": {"patients": 3, "blank": 0, "measures": {}}}}},
    ],
)  # fmt: skip
def test_what_is_no_such_answer_is_refused(change: dict[str, Any]) -> None:
    right = {"schema_version": 1, "method": "gradcam", "state": looked(5, 5).state.to_json(), "sanity": None}
    assert read_looked(right, 256).images == 0
    with pytest.raises(DataError):
        read_looked(right | change, 256)


def card(test: dict[str, int | None]) -> SiteCard:
    return SiteCard(
        site="north", declared_patients=60, input_shape=(1, SIDE, SIDE), counts={"test": test}, frozen_digest="",
        protocol=3, mathematics_digest="", code_digest="", seeded=False, synthetic=False, dataset={},
    )  # fmt: skip


def test_a_site_tells_of_no_patients_that_its_card_does_not_count() -> None:
    counted = card({"patients": 21, "malignant": 9, "benign": 12})
    assert fits_card(counted, looked(9, 12)) and not fits_card(counted, looked(10, 11))
    hidden = card({"patients": None, "malignant": None, "benign": None})
    assert fits_card(hidden, looked(9, 12)) and not fits_card(hidden, looked(ALWAYS_SCORED * 40, 1))


def test_the_statement_lists_it_as_not_covered() -> None:
    off = dataclasses.replace(STUDY, evaluation=dataclasses.replace(STUDY.evaluation, attention=False))
    assert LOOKED_AT in not_covered(True, False, STUDY) and LOOKED_AT not in not_covered(True, False, off)


@pytest.mark.parametrize(
    "change",
    [{"data": DataConfig(image_size=0)}, {"evaluation": {"noise": 5}}],
    ids=["table", "noise"],
)
def test_a_study_that_cannot_be_told_where_it_looks_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="attention"):
        if "evaluation" in change:
            change = {"evaluation": dataclasses.replace(STUDY.evaluation, **change["evaluation"])}
        dataclasses.replace(STUDY, **change)
