"""A hub tries to take a hospital's noise off its update by solving for the generator behind it.

It sends weights under which the trunk's gradient is exactly zero, so those values of the update are bare noise. Box and
Muller's transform is undone by pairs, which gives uniform draws, and their leading bits are a sequence. Under a linear
generator that sequence has a short linear recurrence: Berlekamp and Massey find it (Massey 1969), and with it all noise
that follows. torch's Mersenne Twister has one of 19,937 terms, a cryptographic stream none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from opacus.optimizers import DPOptimizer

from client.site.hospital import Cohort, Site
from client.site.policy import SitePolicy
from common.config.study import DataConfig, ModelConfig, PrivacyConfig, StudyConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.models.weights import trainable_state
from common.models.zoo import build_model
from common.privacy.gaussian import PAIRS
from common.privacy.optimizer import PatientOptimizer
from common.privacy.plan import PrivacyPlan
from common.privacy.randomness import Randomness
from common.protocol.messages import Request

TWISTER = 19_937
"""Bits of state of a Mersenne Twister; every one of its output bits has a recurrence of so many terms."""
FORETOLD = 500
LAYER = "trunk.3.conv.weight"
"""The layer of which torch's draws follow one another: its size is a multiple of 16."""
TRUNK = tuple(f"trunk.{i}.{name}" for i in range(4) for name in ("conv.weight", "norm.weight", "norm.bias"))
PATIENTS = 12
STUDY = StudyConfig(
    name="attacked",
    data=DataConfig(image_size=16),
    model=ModelConfig(name="small_cnn", width=24),
    training=TrainingConfig(rounds=1, local_steps=1, batch_patients=1000, lr=1.0),
    privacy=PrivacyConfig(epsilon=0.5, accountant="rdp"),
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A hospital with the operating system's entropy; one step a round, everybody in it."""
    patients = tuple(f"p{index}" for index in range(PATIENTS))
    inputs = torch.rand((PATIENTS, 1, 16, 16), generator=torch.Generator().manual_seed(0)) * 2 - 1
    data = PatientTensors(inputs, (torch.arange(PATIENTS) % 2).float(), torch.arange(PATIENTS), patients)
    return Site(
        name="site_1",
        declared_patients=PATIENTS,
        cohort=Cohort(train_patients=patients, counts={}, load=lambda study, split: data),
        policy=SitePolicy.emulated(10.0),
        randomness=lambda purpose, round_index: Randomness.from_entropy(),
        home=tmp_path,
        ledger_path=tmp_path / "ledger.sqlite",
    )


def bare_noise(site: Site, *layers: str) -> NDArray[np.float64]:
    """Asks as a hub may, and returns what the answer shows of these layers' noise, in standard deviations."""
    arrays = trainable_state(build_model(STUDY.model, (1, 16, 16), STUDY.seed))
    for name, values in arrays.items():
        if name.startswith(("trunk", "head")):
            arrays[name] = np.zeros_like(values)
    arrays["trunk.3.norm.bias"][:] = 1.0
    answer = site.train(Request(purpose="train", study=STUDY, run="ab", round_index=1, arrays=arrays))
    plan = PrivacyPlan.for_site(STUDY.privacy, STUDY.training, PATIENTS)
    seen = np.concatenate([answer.arrays[name].astype(np.float64).ravel() for name in layers])
    noise = -seen * plan.expected_batch_patients / (plan.noise_multiplier * plan.clip_norm)
    assert 0.98 < noise.std() < 1.02, "there is a gradient in it"
    return noise


def leading_bits(noise: NDArray[np.float64], apart: int) -> list[int]:
    """Undoes Box and Muller where the two of a pair lie ``apart``; the first bit of each uniform, in order of use."""
    pairs = noise[: len(noise) // (2 * apart) * 2 * apart].reshape(-1, 2, apart)
    radius = 1 - np.exp(-(pairs[:, 0] ** 2 + pairs[:, 1] ** 2) / 2)
    turn = np.arctan2(pairs[:, 1], pairs[:, 0]) / (2 * np.pi) % 1.0
    return [int(bit) for bit in (np.stack([radius, turn], axis=1) >= 0.5).ravel()]


def recurrence(bits: list[int]) -> tuple[int, int]:
    """Returns the shortest linear recurrence of the bits (Massey 1969): coefficients as an integer, and its length.

    Bit k of the coefficients is set where the bit k places back counts; bit 0 is.
    """
    current, before, length, shift, seen = 1, 1, 0, 1, 0
    for place, bit in enumerate(bits):
        seen = seen << 1 | bit
        if (current & seen).bit_count() % 2 == 0:
            shift += 1
        elif 2 * length <= place:
            current, before = current ^ before << shift, current
            length, shift = place + 1 - length, 1
        else:
            current, shift = current ^ before << shift, shift + 1
    return current, length


def foretold(bits: list[int]) -> tuple[float, int]:
    """Returns the share of the last bits that the recurrence of those before foretells, and its length."""
    coefficients, length = recurrence(bits[:-FORETOLD])
    seen = int("".join(map(str, bits[:-FORETOLD])), 2)
    right = 0
    for bit in bits[-FORETOLD:]:
        guess = (coefficients & seen << 1).bit_count() % 2
        right += guess == bit
        seen = seen << 1 | bit
    return right / FORETOLD, length


def opacus_noise(self: PatientOptimizer) -> None:
    """As it was: Opacus draws from a generator of torch."""
    self.generator = torch.Generator().manual_seed(7)
    DPOptimizer.add_noise(self)


def test_the_attack_takes_off_the_noise_of_torch_s_generator(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: on the same hospital, with the noise that Opacus draws, every bit to come is known."""
    monkeypatch.setattr(PatientOptimizer, "add_noise", opacus_noise)
    bits = leading_bits(bare_noise(site, LAYER), apart=8)[: 2 * TWISTER + FORETOLD]
    assert foretold(bits) == (1.0, TWISTER)


@pytest.mark.parametrize(
    ("layers", "apart"), [((LAYER,), 8), (TRUNK, PAIRS)], ids=["paired as by torch", "paired as here"]
)
def test_the_noise_of_a_hospital_foretells_nothing(site: Site, layers: tuple[str, ...], apart: int) -> None:
    bits = leading_bits(bare_noise(site, *layers), apart)[: 2 * TWISTER + FORETOLD]
    share, length = foretold(bits)
    # 500 fair coins: seven standard errors. A sequence without structure has a recurrence of half its length.
    assert 0.34 < share < 0.66
    assert abs(length - TWISTER) < 60
