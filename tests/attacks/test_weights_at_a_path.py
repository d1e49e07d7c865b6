"""Attack: a hub names a file of the hospital's own as the weights that a study starts from.

What is frozen of them is in every feature, and a model that the hospital made from these patients without noise would
carry them past all noise. So a hospital takes weights from a path only where the study says what they hold.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
import torch

from client.site.hospital import Cohort, Site
from client.site.policy import SitePolicy
from common.config.study import DataConfig, ModelConfig, PrivacyConfig, StudyConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.errors import ModelError, TrustError
from common.models.weights import save_model
from common.models.zoo import build_model
from common.privacy.randomness import Randomness
from common.protocol.messages import Request

STUDY = StudyConfig(
    data=DataConfig(image_size=0),
    model=ModelConfig(name="mlp", part="head"),
    training=TrainingConfig(rounds=1, local_steps=1, batch_patients=20),
    privacy=PrivacyConfig(epsilon=2.0, accountant="rdp"),
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    patients = tuple(f"p{index}" for index in range(40))
    data = PatientTensors(torch.rand(40, 6), (torch.arange(40) % 2).float(), torch.arange(40), patients)
    return Site(
        name="north",
        declared_patients=40,
        cohort=Cohort(train_patients=patients, counts={}, load=lambda study, split: data),
        policy=SitePolicy.emulated(100.0),
        randomness=lambda purpose, round_index: Randomness.from_entropy(),
        home=tmp_path,
        ledger_path=tmp_path / "ledger.sqlite",
        hub_key="ab" * 32,
    )


@pytest.fixture
def own_model(tmp_path: Path) -> Path:
    path = tmp_path / "of-these-patients.safetensors"
    save_model(build_model(ModelConfig(name="mlp"), (6,), 7), path, {})
    return path


def _enrol(site: Site, weights: str | None, digest: str = "") -> None:
    model = dataclasses.replace(STUDY.model, weights=weights, checkpoint=digest)
    site.enrol(Request(purpose="enrol", study=dataclasses.replace(STUDY, model=model), run="ab"))


def test_a_file_of_the_hospital_is_not_taken_because_a_hub_knows_where_it_is(site: Site, own_model: Path) -> None:
    """Before: it was, and the card told its hash."""
    for place in (own_model, own_model.parent, "/nowhere", "../x.pt"):
        with pytest.raises(TrustError, match=r"model\.checkpoint"):
            _enrol(site, str(place))


def test_what_the_study_names_is_taken_and_nothing_else_in_its_place(site: Site, own_model: Path) -> None:
    with pytest.raises(ModelError, match="the study names"):
        _enrol(site, str(own_model), "0" * 64)
    _enrol(site, str(own_model), hashlib.sha256(own_model.read_bytes()).hexdigest())
    _enrol(site, None)


def test_an_emulated_hospital_reads_what_its_researcher_names(site: Site, own_model: Path) -> None:
    _enrol(dataclasses.replace(site, hub_key=""), str(own_model))
