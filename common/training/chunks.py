"""Rows through a network in chunks, so that no row's last bits hang on how many others there are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from common.training.device import accelerated, largest_fitting

LEAST_ROWS = 16
"""Fewest rows that go through the network at once in a private step. Libraries give a row other last bits among fewer,
and weights of a hub's choice can make another gradient of them: one patient more would change that of another."""
_VECTOR = 64
"""A multiple of what any processor takes at once."""


def by_chunks(
    network: Callable[[Tensor], Tensor], rows: Tensor, batch: int, device: torch.device,
    filled: Callable[[Tensor], Tensor],
) -> Tensor:  # fmt: skip
    """Returns what a network on ``device`` makes of ``rows`` (N, ...), on the CPU.

    Rows go through it ``batch`` at a time, or as many as memory suffices for. ``filled`` completes a chunk for the CPU;
    on another device all chunks have one size.

    Raises:
        DeviceError: Memory does not suffice for one row.
    """

    def everything(size: int) -> Tensor:
        complete = partial(_repeated, size=size) if accelerated(device) else filled
        return torch.cat([network(complete(part).to(device))[: len(part)].cpu() for part in rows.split(size)])

    return largest_fitting(everything, batch, 1)


def filled(rows: Tensor) -> Tensor:
    """Returns ``rows`` (N, ...), the first repeated until there are :data:`LEAST_ROWS`."""
    return _repeated(rows, LEAST_ROWS)


def in_blocks(rows: Tensor) -> Tensor:
    """Returns ``rows`` (N, ...), the first repeated up to a multiple of :data:`LEAST_ROWS`."""
    return _repeated(rows, len(rows) + -len(rows) % LEAST_ROWS)


def _repeated(rows: Tensor, size: int) -> Tensor:
    return torch.cat([rows, rows[:1].expand(max(0, size - len(rows)), *rows.shape[1:])])


def sigmoid(logits: Tensor) -> Tensor:
    """Returns the sigmoid of ``logits`` (N,), each with bits of its own."""
    return whole_vectors(logits).sigmoid()[: len(logits)]


def whole_vectors(values: Tensor) -> Tensor:
    """Returns ``values`` (N,) and zeros up to whole vectors of the processor.

    The library takes what fills none one by one, with other last bits.
    """
    return F.pad(values, (0, -len(values) % _VECTOR))
