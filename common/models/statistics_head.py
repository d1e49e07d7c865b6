"""The head of the statistics training: a linear model in standardised public coordinates.

Its trained tensors are sums that add over sites: the mean over the sites of their noisy sums, divided by
:data:`UNIT`. Centre, spread, divisor and step length are public functions of them, computed here in float64, by sites
and hub alike. So an update is a public coefficient times a noisy sum, and the sites' equal-weight mean is what one
site with all patients would have sent, over the number of sites.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.errors import ModelError
from common.privacy.statistics import COUNT_SHARE, UNIT, unit_ball

FEWEST = 10.0
"""Least number of patients a site that the noisy count is taken for."""
FILL = 0.5
"""Public mean of the squared norm of the coordinates that the first round clips to norm 1."""
RIDGE = 1.0
"""What is added to the public variances in whitening, over their mean."""
SPREAD_FLOOR, PUBLIC_FLOOR, LEAST_SPREAD = 0.1, 0.04, 1e-3
"""Least variance of an axis: of the mean over the axes, and of the public one. Least sum of variances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSettings:
    """Public constants of the head.

    Attributes:
        axes: Coordinates in use.
        spread_axes: Leading ones that have a private centre and spread, at most ``axes``.
        gamma: Power of the public variances that weighs the axes.
        scale: Norm of the coordinates that counts in full.
        step: Length of a logistic step.
        noise: Standard deviation of the noise on the sites' mean spread sum; 0 without privacy.
        prior: Public share of malignant patients, where the logit starts.
    """

    axes: int
    spread_axes: int
    gamma: float
    scale: float
    step: float
    noise: float
    prior: float


class StatisticsHead(nn.Module):
    """Maps public coordinates (N, D) to the logit of malignancy (N, 1).

    Attributes:
        moments: (2 q + 1,), the sites' mean of the spread sums over :data:`UNIT`.
        weight: (d,), of the weighted residual sums, from which the next round's residuals are taken.
        average: (d,), of the residual sums as the tail of the steps averages them; scores use it.
        eigenvalues: (d,), the public variances.
    """

    eigenvalues: Tensor

    def __init__(self, eigenvalues: Tensor, settings: HeadSettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("eigenvalues", eigenvalues[: settings.axes].detach().clone().float())
        self.moments = nn.Parameter(torch.zeros(2 * settings.spread_axes + 1))
        self.weight = nn.Parameter(torch.zeros(settings.axes))
        self.average = nn.Parameter(torch.zeros(settings.axes))

    def forward(self, features: Tensor) -> Tensor:
        """Returns float32 (N, 1) of public coordinates (N, D)."""
        return self.logits(self.coordinates(features.double()), self.average).float()[:, None]

    def logits(self, coordinates: Tensor, sums: Tensor) -> Tensor:
        """Returns float64 (N,) of standardised coordinates (N, d), with ``sums`` times the step length as weights.

        The weights' norm is at most :data:`LARGEST`, which no honest study comes near, so that no logit is lost to
        rounding whatever weights a hub sends.
        """
        prior = math.log(self.settings.prior / (1 - self.settings.prior))
        weights = LARGEST * unit_ball((sums.double() * self.rate / LARGEST)[None])[0]
        return prior + (coordinates * weights).sum(1)

    def whitened(self, features: Tensor) -> Tensor:
        """Returns float64 (N, q): the leading coordinates in public units, before the clip of the first round."""
        return (self._in_public_units(features))[:, : self.settings.spread_axes]

    def coordinates(self, features: Tensor) -> Tensor:
        """Returns float64 (N, d): centred, in units of the spread, weighed, clipped to norm 1."""
        centre, spread = self.centre_and_spread()
        weighed = (self._in_public_units(features) - centre) / spread * self._weights() / self.settings.scale
        return unit_ball(weighed)

    @property
    def count(self) -> Tensor:
        """Returns the noisy mean number of patients a site, float64, at least :data:`FEWEST`."""
        return (UNIT / COUNT_SHARE * self.moments[-1].double()).clamp(min=FEWEST)

    @property
    def rate(self) -> Tensor:
        """Returns what ``weight`` is multiplied by to be logistic weights: step * 4 * effective axes / count, float64.

        A quarter bounds the slope of the sigmoid, and the effective number of axes is 1 over the sum of the fourth
        powers of the axes' weights.
        """
        effective = 1 / self._weights().pow(4).sum()
        return self.settings.step * 4 * effective * UNIT / self.count

    def centre_and_spread(self) -> tuple[Tensor, Tensor]:
        """Returns centre and standard deviation of each axis in public units, float64 (d,) each.

        Honest sums keep a centre within +-1 and a variance below 1, so others are brought there; a variance has a
        public floor. The axes beyond the leading ones have centre 0 and the public deviation times the mean ratio of
        the leading ones.
        """
        q = self.settings.spread_axes
        sums = UNIT * self.moments.double() / self.count
        centre = sums[:q].clamp(-1, 1)
        variance = (sums[q : 2 * q] - centre.square()).clamp(max=1)
        public = self._public_deviation()
        total = variance.sum().clamp(min=LEAST_SPREAD)
        floor = SPREAD_FLOOR * total / q + self.settings.noise / self.count
        spread = torch.maximum(torch.maximum(variance, floor), PUBLIC_FLOOR * public[:q].square()).sqrt()
        rest = public[q:] * (spread / public[:q]).mean()
        return torch.cat([centre, torch.zeros_like(rest)]), torch.cat([spread, rest])

    def _in_public_units(self, features: Tensor) -> Tensor:
        return features[:, : self.settings.axes].double() * self._whitening()

    def _whitening(self) -> Tensor:
        variances = self.eigenvalues.double()
        ridged = variances + RIDGE * variances.mean()
        q = self.settings.spread_axes
        return (FILL / (variances / ridged)[:q].sum() / ridged).sqrt()

    def _public_deviation(self) -> Tensor:
        return self.eigenvalues.double().sqrt() * self._whitening()

    def _weights(self) -> Tensor:
        weights = (self.eigenvalues.double() / self.eigenvalues[0].double()) ** (self.settings.gamma / 2)
        return weights / weights.square().sum().sqrt()


LARGEST = 1e4


def public_eigenvalues(trunk: nn.Module) -> Tensor:
    """Returns the public variances of a trunk's coordinates, (D,), descending.

    Raises:
        ModelError: The trunk has none, or they are not positive, finite and descending.
    """
    found = getattr(trunk, "eigenvalues", None)
    if not isinstance(found, Tensor) or found.ndim != 1 or not len(found):
        raise ModelError(
            "training.method=statistics needs a network whose frozen trunk gives public coordinates (a trunk with "
            "eigenvalues); choose such a model, or training.method=dp_sgd"
        )
    if not (torch.isfinite(found).all() and (found > 0).all() and (found.diff() <= 0).all()):
        raise ModelError("The public variances of the trunk must be positive, finite and descending")
    return found
