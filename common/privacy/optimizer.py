"""Opacus' DPOptimizer, fed with sums of clipped per-patient gradients and noised on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor

from common.privacy.noise import GridNoise, NoiseSource
from common.privacy.stream import SecretStream


class Inner(Protocol):
    """What steps with the noisy gradient.

    Attributes:
        param_groups: As torch's optimizers have them.
    """

    param_groups: list[dict[str, Any]]


class PatientOptimizer(DPOptimizer):  # type: ignore[misc]
    """Adds noise to a sum of clipped per-patient gradients, divides by the public batch size, steps.

    A step is: :meth:`begin`, any number of :meth:`accumulate` (none for an empty batch), :meth:`noisy_gradient`, then
    ``original_optimizer.step()``. The order of a step and its scaling are Opacus' own. The noise is not: Opacus draws
    it from torch's generator, whose state a reader of the noise can solve for.
    """

    def __init__(
        self,
        inner: Inner,
        *,
        noise: GridNoise,
        expected_batch_patients: float,
        stream: SecretStream,
    ) -> None:
        super().__init__(
            inner,
            noise_multiplier=noise.noise_multiplier,
            max_grad_norm=noise.clip_norm,
            expected_batch_size=expected_batch_patients,
            loss_reduction="mean",
        )
        self._noise, self._source = noise, NoiseSource(noise, stream)
        self._parts, self._noised = 0, True

    def begin(self) -> None:
        """Starts a step with a zero sum, so that an empty batch is noised like any other."""
        for parameter in self.params:
            parameter.summed_grad = parameter.new_zeros(()).expand_as(parameter)
        self._parts, self._noised = 0, False

    def accumulate(self, clipped_sums: Sequence[Tensor]) -> None:
        """Adds the clipped sums of some of the step's patients, one tensor for each trained parameter.

        Sums of several physical batches are added in float64.
        """
        for parameter, clipped in zip(self.params, clipped_sums, strict=True):
            parameter.summed_grad = parameter.summed_grad.double().add_(clipped) if self._parts else clipped
        self._parts += 1

    def noisy_gradient(self) -> None:
        """Puts (sum + noise) / expected batch into each ``grad``.

        Raises:
            RuntimeError: The sum was already used; noise may be drawn once a step only.
        """
        if not self.pre_step():
            raise RuntimeError("Opacus skipped a step that was accounted")

    def add_noise(self) -> None:
        """Puts sum plus noise, both on the plan's grid, into each ``grad``; Opacus calls it once a step.

        Sum and noise meet on the CPU, wherever the network runs.
        """
        if self._noised:
            raise RuntimeError("This sum was noised before: two draws of noise on one sum would tell it")
        self._noised = True
        total = torch.cat([parameter.summed_grad.reshape(-1) for parameter in self.params]).cpu()
        noisy = torch.from_numpy(self._noise.noisy(total.numpy(), self._source))
        for parameter, grad in zip(self.params, noisy.split([p.numel() for p in self.params]), strict=True):
            parameter.grad = grad.view_as(parameter).to(parameter.device)

    def forget(self) -> None:
        """Takes the sums before noise off the parameters, where they would travel with a pickled model."""
        for parameter in self.params:
            vars(parameter).pop("summed_grad", None)

    @property
    def grad_samples(self) -> list[Tensor]:
        """Returns the sums, which stand in for Opacus' per-sample gradients."""
        return [parameter.summed_grad for parameter in self.params]

    @property
    def accumulated_iterations(self) -> int:
        """Returns 1: however many physical batches a step has, it is divided once."""
        return 1

    def clip_and_accumulate(self) -> None:
        """Does nothing: the gradient engine has clipped already."""
