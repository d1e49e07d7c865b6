"""A linear map of rows in which no row's bits hang on the others: not on their values, their number, or its place.

Libraries of matrices take other ways through a product at the edge of their blocks. The difference is a last bit, and
under numbers that cancel it is all that is left: one patient less would then change everybody who stands behind.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_PRODUCTS = 1 << 20
"""Products that are held at a time: they stay in a cache."""


def by_rows(rows: Tensor, weight: Tensor) -> Tensor:
    """Returns ``rows`` (..., F) times the transpose of ``weight`` (O, F), as (..., O).

    Each number is a sum over F products that lie side by side, which is taken the same way wherever they lie.
    """
    flat, weight = rows.reshape(-1, rows.shape[-1]).contiguous(), weight.contiguous()
    most = max(1, _PRODUCTS // max(1, flat.numel()))
    parts = [(flat[:, None] * some).sum(2) for some in weight.split(most)]
    found = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    return found.view(*rows.shape[:-1], len(weight))


class RowLinear(nn.Linear):
    """A linear layer that treats each row by itself, to the last bit; its parameters are those of ``nn.Linear``."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns (..., O) of ``inputs`` (..., F)."""
        found = by_rows(inputs, self.weight)
        return found if self.bias is None else found + self.bias
