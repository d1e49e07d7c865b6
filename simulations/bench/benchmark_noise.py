"""What our noise costs: a whole private step with it, over the same step with the noise that Opacus draws."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from simulations.bench.steps import ROWS, step_of
from simulations.bench.timing import interleaved

PATIENTS = 32
FEATURES = 1280


def noise(networks: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """Returns a row for each network at 64 px, the default study's, and a head on features that are kept.

    A step is clipped gradients, noise, divisor and SGD, in seconds of the processor.
    """
    rows = [_row(f"{name}, 64 px", *step_of(name, 64), ROWS[64], repeats) for name in networks]
    return [_row("default study", *_default(), 100, repeats), *rows, _row("head of lite0", *_head(), PATIENTS, repeats)]


def _row(name: str, model: Any, inputs: Any, labels: Any, patients: int, repeats: int) -> dict[str, Any]:
    values = sum(parameter.numel() for parameter in model.parameters())
    many = max(1, 10_000 // values)  # a short step many times, or the clock's grain shows
    ours, theirs = interleaved(
        [_repeated(_step(model, inputs, labels, patients, opacus), many) for opacus in (False, True)],
        repeats,
        time.process_time,
    )
    return {"step": name, "values": values, "Opacus' noise (ms)": 1000 * theirs / many, "ours (ms)": 1000 * ours / many,
            "ours/Opacus'": ours / theirs}  # fmt: skip


def _repeated(step: Callable[[], None], times: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(times):
            step()

    return run


def _step(model: Any, inputs: Any, labels: Any, patients: int, opacus: bool) -> Callable[[], None]:
    import torch
    import torch.nn.functional as F

    from common.privacy.engine import gradient_engine
    from common.privacy.layers import Patients
    from common.privacy.noise import GridNoise
    from common.privacy.optimizer import PatientOptimizer
    from common.privacy.randomness import Randomness

    optimizer = PatientOptimizer(
        torch.optim.SGD(model.parameters(), lr=1e-6),
        noise=GridNoise(1.0, 1.0),
        expected_batch_patients=float(patients),
        stream=Randomness.from_entropy().noise,
    )
    if opacus:
        _as_opacus_does(optimizer)
    of = Patients(torch.arange(len(labels)), len(labels))

    def step() -> None:
        with gradient_engine("book_keeping", model) as engine:
            sums, _ = engine.clipped_sum(
                inputs, lambda z: F.binary_cross_entropy_with_logits(z, labels, reduction="none"), of, 1.0
            )
        optimizer.begin()
        optimizer.accumulate(sums)
        optimizer.noisy_gradient()
        optimizer.original_optimizer.step()

    return step


def _as_opacus_does(optimizer: Any) -> None:
    """Sums in place and noise from torch's generator: what this project did before it had its own."""
    import torch
    from opacus.optimizers import DPOptimizer

    def begin() -> None:
        for parameter in optimizer.params:
            parameter.summed_grad = torch.zeros_like(parameter)

    def accumulate(sums: Any) -> None:
        for parameter, clipped in zip(optimizer.params, sums, strict=True):
            parameter.summed_grad += clipped

    optimizer.generator = torch.Generator().manual_seed(0)
    optimizer.begin, optimizer.accumulate = begin, accumulate
    optimizer.add_noise = lambda: DPOptimizer.add_noise(optimizer)


def _default() -> tuple[Any, Any, Any]:
    import torch

    from common.config.study import compose
    from common.models.zoo import build_model

    study = compose([])
    shape = (1, study.data.image_size, study.data.image_size)
    model = build_model(study.model, shape, 0)
    return model, torch.randn(100, *shape), (torch.arange(100) % 2).float()


def _head() -> tuple[Any, Any, Any]:
    import torch

    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(FEATURES, 1)

        def forward(self, features: Any) -> Any:
            return self.head(features).squeeze(-1)

    return Head(), torch.randn(PATIENTS, FEATURES), (torch.arange(PATIENTS) % 2).float()
