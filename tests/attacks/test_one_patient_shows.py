"""A hub chooses weights or moments at which one patient alone changes what it is told, past all groups."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from client.site.hospital import Cohort, Site
from client.site.policy import SitePolicy
from common.config.study import DataConfig, EvaluationConfig, ModelConfig, PrivacyConfig, StudyConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.errors import TooFewPatients
from common.evaluation.scores import ScoreState
from common.models.weights import trainable_state
from common.models.zoo import build_model
from common.privacy.randomness import Randomness
from common.protocol.messages import Arrays, Request
from common.training.loop import predict

PATIENTS, SIDE = 40, 32
STUDY = StudyConfig(
    name="alone",
    data=DataConfig(image_size=SIDE),
    model=ModelConfig(name="small_cnn"),
    training=TrainingConfig(rounds=2),
    privacy=PrivacyConfig(mode="none"),
    evaluation=EvaluationConfig(subgroups=(), local_epochs=1, personal_epochs=1, resamples=20),
)
POLICY = dataclasses.replace(SitePolicy.emulated(10.0), min_split=10, min_group=5, own_models="full")


def _images(outliers: int) -> torch.Tensor:
    """Noise; of the first ones only one pixel is bright, which stands far out of its image."""
    inputs = torch.rand((PATIENTS, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(0)) * 1.8 - 1
    inputs[:outliers] *= 0.01
    inputs[:outliers, 0, 10, 10] = 1.0
    return inputs


def _site(home: Path, inputs: torch.Tensor, patients: int = PATIENTS) -> Site:
    names = tuple(f"p{index}" for index in range(patients))
    labels = (torch.arange(patients) % 2).float()
    data = PatientTensors(inputs[:patients], labels, torch.arange(patients), names)
    return Site(
        name="site_1",
        declared_patients=100,
        cohort=Cohort(train_patients=names, counts={}, load=lambda study, split: data),
        policy=POLICY,
        randomness=lambda purpose, round_index: Randomness.from_entropy(),
        home=home,
        ledger_path=home / "ledger.sqlite",
    )


def _overflowing() -> Arrays:
    """Weights under which a pixel five deviations above its image becomes infinite in the first layer."""
    model = build_model(STUDY.model, (1, SIDE, SIDE), STUDY.seed)
    state = dict(trainable_state(model))
    for name in ("trunk.0.conv.weight", "trunk.0.norm.weight", "trunk.1.conv.weight"):
        state[name] = np.zeros_like(state[name])
    state["trunk.0.conv.weight"][0, 0, 1, 1] = 1.0
    state["trunk.0.norm.weight"][0] = 3.4e38 / 5
    state["trunk.1.conv.weight"][:, 0, 1, 1] = 1e-30
    return state


def _ask(site: Site, purpose: str, run: str = "aa", **fields: object) -> object:
    given = {"study": STUDY, "run": run, "round_index": 1, "arrays": _overflowing()} | fields
    return getattr(site, purpose)(Request(purpose=purpose, **given))  # type: ignore[arg-type]


def test_weights_that_overflow_for_one_patient_are_answered_all_the_same(tmp_path: Path) -> None:
    """Before: the code ``data-unfit`` where there was such a patient, counts where there was none."""
    model = build_model(STUDY.model, (1, SIDE, SIDE), STUDY.seed)
    with torch.no_grad():
        for name, values in _overflowing().items():
            model.get_parameter(name).copy_(torch.from_numpy(values))
    data = _site(tmp_path, _images(1)).cohort.load(STUDY, "val")
    assert predict(model, data).isnan().nonzero().flatten().tolist() == [0], "the attack's weights do what they should"
    for outliers in (0, 1):
        answer = _ask(_site(tmp_path / str(outliers), _images(outliers)), "evaluate", split="val")
        state = ScoreState.from_json(answer.document)  # type: ignore[attr-defined]
        assert state.patients == PATIENTS and state.is_grouped


def test_with_noise_they_are_answered_too(tmp_path: Path) -> None:
    """Before: the code told of the patient exactly, after the account was charged for noise."""
    noised = dataclasses.replace(STUDY.evaluation, noise=10, local_baseline=False)
    study = dataclasses.replace(STUDY, evaluation=noised)
    answer = _ask(_site(tmp_path, _images(1)), "evaluate", study=study, split="val")
    assert ScoreState.from_json(answer.document).bins == noised.bins  # type: ignore[attr-defined]


def test_own_models_are_told_of_the_patients_that_scores_are_told_of(tmp_path: Path) -> None:
    """Before: refused scores of a split with one patient fewer, and then all counts of it with the own models'."""
    arrays = trainable_state(build_model(STUDY.model, (1, SIDE, SIDE), STUDY.seed))
    whole = _site(tmp_path, _images(0))
    _ask(whole, "evaluate", "aa", split="val", arrays=arrays)
    later = dataclasses.replace(
        _site(tmp_path, _images(0), PATIENTS - 1), policy=dataclasses.replace(POLICY, runs_per_study=2)
    )
    for split in ("val", "test"):
        with pytest.raises(TooFewPatients):
            _ask(later, "evaluate", "bb", split=split, arrays=arrays)
    with pytest.raises(TooFewPatients):
        _ask(later, "baseline", "bb", arrays=arrays)
