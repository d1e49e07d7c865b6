"""Our SGD and Adam against torch's, to the last bit, and what they spare a process."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config.study import TrainingConfig
from common.training.optimizers import local_optimizer

RATES = st.floats(1e-5, 4.0, exclude_min=True)
SMALL = st.sampled_from([0.0, 1e-4, 0.1])


def _torchs(parameters: list[torch.nn.Parameter], training: TrainingConfig) -> torch.optim.Optimizer:
    if training.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=training.lr, weight_decay=training.weight_decay)
    momentum = training.momentum
    return torch.optim.SGD(parameters, lr=training.lr, momentum=momentum, weight_decay=training.weight_decay)


@settings(max_examples=60, deadline=None)
@given(
    optimizer=st.sampled_from(["sgd", "adam"]), lr=RATES, momentum=st.sampled_from([0.0, 0.5, 0.9]), decay=SMALL,
    seed=st.integers(0, 2**31), steps=st.integers(1, 6), scale=st.sampled_from([1e-12, 1.0, 1e6]),
)  # fmt: skip
def test_every_step_is_torchs_to_the_bit(
    optimizer: Any, lr: float, momentum: float, decay: float, seed: int, steps: int, scale: float
) -> None:
    training = TrainingConfig(optimizer=optimizer, lr=lr, momentum=momentum, weight_decay=decay)
    generator = torch.Generator().manual_seed(seed)
    start = [torch.randn(shape, generator=generator) for shape in ((3, 5), (7,), (2, 3, 3, 3))]
    ours, theirs = ([torch.nn.Parameter(one.clone()) for one in start] for _ in range(2))
    own, known = local_optimizer(ours, training), _torchs(theirs, training)
    for _ in range(steps):
        for parameter, other in zip(ours, theirs, strict=True):
            parameter.grad = torch.randn(parameter.shape, generator=generator) * scale
            other.grad = parameter.grad.clone()
        ours[1].grad = theirs[1].grad = None
        own.step()
        known.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    own.zero_grad()
    assert all(parameter.grad is None for parameter in ours)


@pytest.mark.parametrize("privacy", ["none", "local"])
def test_training_leaves_torchs_compiler_on_the_disk(privacy: str) -> None:
    code = (
        "import sys, torch\n"
        "from common.config.study import ModelConfig, PrivacyConfig, TrainingConfig\n"
        "from common.data.loading import PatientTensors\n"
        "from common.models.zoo import build_model\n"
        "from common.privacy.plan import PrivacyPlan\n"
        "from common.privacy.randomness import Randomness\n"
        "from common.training.loop import predict, train\n"
        "training = TrainingConfig(rounds=1, local_steps=2, batch_patients=4)\n"
        "images, labels = torch.randn(8, 1, 28, 28), (torch.arange(8) % 2).float()\n"
        "data = PatientTensors(images, labels, torch.arange(8), tuple('abcdefgh'))\n"
        "model = build_model(ModelConfig(), (1, 28, 28), 0)\n"
        f"plan = PrivacyPlan.for_site(PrivacyConfig(accountant='rdp'), training, 8) if {privacy == 'local'} else None\n"
        "train(model, data, training, randomness=Randomness.from_seed(0), plan=plan)\n"
        "predict(model, data)\n"
        "print([name for name in ('torch._dynamo', 'torch._inductor') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
