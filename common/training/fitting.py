"""How many images go through a network at once: as many as the study says, and as the device's memory suffices for.

It is found on blank images before a patient is looked at, and holds for the whole round, so it tells nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from common.privacy.engine import GradientEngine
from common.privacy.layers import Patients
from common.training.chunks import LEAST_ROWS
from common.training.device import accelerated, device_of, largest_fitting


def shape_of_batches(model: nn.Module, physical_batch: int) -> int:
    """Returns how many rows a private physical batch has at least.

    On a device whose way through a batch hangs on its size, all have the same: no patient's presence then changes
    another's last bits, or how much memory a step takes (ADR 28).
    """
    return physical_batch if accelerated(device_of(model)) else LEAST_ROWS


def fitting_batch(
    model: nn.Module, wanted: int, row_shape: tuple[int, ...], engine: GradientEngine | None, max_images: int
) -> int:
    """Returns a physical batch for which memory suffices; on the CPU, and without parameters to train, ``wanted``.

    Args:
        model: What is trained; its gradients are cleared, and its modules are left in training mode.
        wanted: Rows at once, at first; they are halved as often as it takes.
        row_shape: Of one row.
        engine: Of private steps; None: steps are plain.
        max_images: Rows of a patient in a private step, at most; they go through together.

    Raises:
        DeviceError: Memory does not suffice for :data:`LEAST_ROWS` or ``max_images`` rows of a private step, or for one
            of a plain one.
    """
    device = device_of(model)
    if not accelerated(device):
        return wanted
    least = 1 if engine is None else max(LEAST_ROWS, max_images)
    take = _plain_step if engine is None else _private_steps(engine)

    def tried(size: int) -> int:
        take(model, torch.zeros(size, *row_shape, device=device))
        return size

    _train_without_chance(model)
    found = largest_fitting(tried, max(wanted, least), least)
    model.zero_grad()
    model.train()
    return found


def _train_without_chance(model: nn.Module) -> None:
    """Training mode, in which engines work, but for dropout: it would take draws from the round's stream."""
    model.train()
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.eval()


def _plain_step(model: nn.Module, blank: Tensor) -> None:
    model(blank).sum().backward()


def _private_steps(engine: GradientEngine) -> Callable[[nn.Module, Tensor], None]:
    """Two physical batches: the second has the sums of the first beside it, as in a step."""

    def take(model: nn.Module, blank: Tensor) -> None:
        patients = Patients(torch.arange(len(blank)), len(blank)).to(blank.device)
        sums, _ = engine.clipped_sum(blank, _as_it_is, patients, 1.0)
        kept = [one.double() for one in sums]
        engine.clipped_sum(blank, _as_it_is, patients, 1.0)
        del kept

    return take


def _as_it_is(logits: Tensor) -> Tensor:
    return logits
