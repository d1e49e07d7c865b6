"""A round that is asked for again is answered again, at no new charge; anything else is trained and paid."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from client.site.hospital import Cohort, Site
from client.site.kept import KEPT
from client.site.policy import SitePolicy
from common.config.study import DataConfig, ModelConfig, PrivacyConfig, StudyConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.errors import BudgetExceeded, LedgerError
from common.models.parts import select_part
from common.models.weights import trainable_state
from common.models.zoo import build_model
from common.privacy.ledger import Ledger
from common.privacy.randomness import Randomness
from common.protocol.messages import Request, TrainAnswer

STUDY = StudyConfig(
    name="asked",
    data=DataConfig(image_size=0),
    model=ModelConfig(name="mlp", width=8),
    training=TrainingConfig(rounds=4, local_steps=1, batch_patients=10),
    privacy=PrivacyConfig(epsilon=8.0, accountant="rdp"),
)
PATIENTS = tuple(f"p{index}" for index in range(40))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with noise from the operating system: two trainings never agree."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (40,), generator=generator).float()
    data = PatientTensors(torch.rand((40, 6), generator=generator), labels, torch.arange(40), PATIENTS)
    (tmp_path / "site").mkdir()
    return Site(
        name="site_1",
        declared_patients=40,
        cohort=Cohort(train_patients=PATIENTS, counts={}, load=lambda study, split: data),
        policy=SitePolicy.emulated(100.0),
        randomness=lambda purpose, round_index: Randomness.from_entropy(),
        home=tmp_path / "site",
        ledger_path=tmp_path / "site" / "ledger.sqlite",
    )


@pytest.fixture
def request_() -> Request:
    model = build_model(STUDY.model, (6,), STUDY.seed)
    select_part(model, STUDY.model.part)
    return Request(purpose="train", study=STUDY, run="ab", round_index=1, arrays=trainable_state(model))


def charges(site: Site) -> int:
    with Ledger(site.ledger_path) as ledger:
        return len(ledger.charges())


def same(one: TrainAnswer, other: TrainAnswer) -> bool:
    facts = [(a.site, a.round_index, a.weight, a.epsilon_spent, list(a.arrays)) for a in (one, other)]
    return facts[0] == facts[1] and all(np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)


def test_the_same_request_has_the_same_answer_and_is_paid_once(site: Site, request_: Request) -> None:
    first = site.train(request_)
    assert same(first, site.train(request_)) and charges(site) == 1


def test_a_ceiling_that_is_reached_does_not_refuse_what_was_paid(site: Site, request_: Request) -> None:
    once = dataclasses.replace(STUDY, training=dataclasses.replace(STUDY.training, rounds=1))
    exact = dataclasses.replace(site, policy=SitePolicy.emulated(once.privacy.epsilon))
    asked = dataclasses.replace(request_, study=once)
    first = exact.train(asked)
    assert same(first, exact.train(asked))
    (exact.home / KEPT).unlink()
    with pytest.raises(BudgetExceeded):
        exact.train(asked)


@pytest.mark.parametrize("change", ["run", "round", "study", "weights", "declared"])
def test_anything_else_is_trained_and_paid(site: Site, request_: Request, change: str) -> None:
    first = site.train(request_)
    other, asked = site, request_
    match change:
        case "run":
            asked = dataclasses.replace(asked, run="cd")
        case "round":
            asked = dataclasses.replace(asked, round_index=2)
        case "study":
            asked = dataclasses.replace(asked, study=dataclasses.replace(STUDY, name="another"))
        case "weights":
            name, values = next(iter(request_.arrays.items()))
            asked = dataclasses.replace(asked, arrays={**request_.arrays, name: values + 1e-6})
        case "declared":
            other = dataclasses.replace(site, declared_patients=50)
    assert not same(first, other.train(asked)) and charges(site) == 2


def test_a_file_that_is_cut_or_flipped_anywhere_is_never_believed(site: Site, request_: Request) -> None:
    study = request_.study
    long = dataclasses.replace(study, training=dataclasses.replace(study.training, rounds=40))
    request_ = dataclasses.replace(request_, study=long)
    first = site.train(request_)
    path = site.home / KEPT
    whole = path.read_bytes()
    damaged = [whole[: len(whole) // 2], b"", *(_flipped(whole, at) for at in range(0, len(whole), len(whole) // 16))]
    before = shutil.copytree(site.home, site.home.with_name("before"))
    for content in damaged:
        shutil.rmtree(site.home)
        shutil.copytree(before, site.home)
        path.write_bytes(content)
        assert not same(first, site.train(request_)) and charges(site) == 2


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_without_its_charge_in_the_ledger_it_is_paid_again(site: Site, request_: Request) -> None:
    first = site.train(request_)
    elsewhere = dataclasses.replace(site, ledger_path=site.home / "new.sqlite")
    assert not same(first, elsewhere.train(request_)) and charges(elsewhere) == 1


def test_a_ledger_that_is_not_believed_gives_nothing_away(site: Site, request_: Request) -> None:
    site.train(request_)
    site.ledger_path.write_bytes(b"torn")
    with pytest.raises(LedgerError):
        site.train(request_)


def test_a_disk_without_room_for_it_costs_a_second_payment_only(site: Site, request_: Request) -> None:
    (site.home / f".{KEPT}.partial").mkdir()
    first = site.train(request_)
    assert not same(first, site.train(request_)) and charges(site) == 2


def test_a_study_without_privacy_is_answered_again_too(site: Site, request_: Request) -> None:
    plain = dataclasses.replace(STUDY, privacy=PrivacyConfig(mode="none"))
    asked = dataclasses.replace(request_, study=plain)
    assert same(site.train(asked), site.train(asked))
