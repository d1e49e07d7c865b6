"""What one patient adds to the sums of the statistics training, and how far that can move them.

Two kinds of sums over patients leave a site, each with Gaussian noise of its own: the spread sum of the first round,
and a residual sum in every later one. Everybody takes part in each, so neighbouring sums differ by what one patient
adds, and the L2 norm of that, at most, is the sensitivity. It holds for whatever a hub sends: what a hub chooses only
enters before a clip. All arithmetic is float64; how far its rounding and that of the features can move a sum is in
:data:`common.privacy.noise.ARITHMETIC`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

UNIT = 1024.0
"""What sums are divided by to travel: a power of two, so that it rounds nothing."""
COUNT_SHARE = 0.5
"""What a patient adds to the last value of a spread sum, by which the others are divided later."""
SPREAD_SENSITIVITY = math.sqrt(1 + 1 + COUNT_SHARE**2)
"""L2 norm of what one patient adds to a spread sum, at most: 1.5 (:func:`spread_parts`)."""


def sensitivities(rounds: int, residual: float) -> tuple[float, ...]:
    """Returns the sensitivity of each round's sum: 1.5 of the first, ``residual`` of every later one."""
    return (SPREAD_SENSITIVITY, *[residual] * (rounds - 1))


def unit_ball(rows: Tensor) -> Tensor:
    """Returns ``rows`` (N, D) as float64, each with an L2 norm of at most 1; longer ones are scaled down.

    A row that is not finite becomes zero: to refuse it would tell that there is such a patient. Rows whose squares
    overflow are scaled by their largest value first, so that they keep their direction.
    """
    found = rows.double()
    finite = torch.isfinite(found).all(1, keepdim=True)
    found = torch.where(finite, found, torch.zeros_like(found))
    largest = found.abs().amax(1, keepdim=True).clamp(min=1.0)
    shrunk = found / largest
    norms = shrunk.square().sum(1, keepdim=True).sqrt()
    return torch.where(norms * largest > 1, shrunk / norms.clamp(min=torch.finfo(torch.float64).tiny), found)


def patient_means(rows: Tensor, patients: list[Tensor], max_images: int) -> Tensor:
    """Returns each patient's mean over their first ``max_images`` rows, float64 (P, D).

    A patient's mean reads nothing but the patient's own rows.
    """
    wide = rows.double()
    return torch.stack([wide[own[:max_images]].mean(0) for own in patients])


def spread_parts(whitened: Tensor) -> Tensor:
    """Returns what each patient adds to a spread sum, float64 (P, 2 D + 1): (u, u * u, 1/2), u clipped to norm 1.

    Sensitivity: |u| <= 1 gives |u * u| <= |u|^2 <= 1 in L2 norm (squares of values of at most 1 are no larger than the
    values), so the norm of the whole is at most sqrt(1 + 1 + 1/4) = 1.5. A patient more or less moves the sum by it.
    """
    inside = unit_ball(whitened)
    count = torch.full((len(inside), 1), COUNT_SHARE, dtype=torch.float64)
    return torch.cat([inside, inside.square(), count], dim=1)


def residual_parts(coordinates: Tensor, labels: Tensor, logits: Tensor, bound: float) -> Tensor:
    """Returns what each patient adds to a residual sum, float64 (P, D): clip(y - sigmoid(logit), bound) times x.

    Sensitivity: ``bound``. x is clipped to norm 1 here whatever came, and the residual to +-``bound``; a residual that
    is not finite counts as zero. The product's norm is at most their product.

    Args:
        coordinates: (P, D).
        labels: (P,), 1 malignant.
        logits: (P,), of the weights that the round starts from.
        bound: Largest absolute residual, in (0, 1].
    """
    residuals = torch.nan_to_num(labels.double() - logits.double().sigmoid(), nan=0.0)
    return residuals.clamp(-bound, bound)[:, None] * unit_ball(coordinates)
