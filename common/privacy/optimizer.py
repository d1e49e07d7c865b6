"""Opacus' DPOptimizer, fed with sums of clipped per-patient gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor


class PatientOptimizer(DPOptimizer):  # type: ignore[misc]
    """Adds noise to a sum of clipped per-patient gradients, divides by the public batch size, steps.

    A step is: :meth:`begin`, any number of :meth:`accumulate` (none for an empty batch), :meth:`noisy_gradient`, then
    ``original_optimizer.step()``. Noise and scaling are Opacus' own.
    """

    def __init__(
        self,
        inner: torch.optim.Optimizer,
        *,
        noise_multiplier: float,
        clip_norm: float,
        expected_batch_patients: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__(
            inner,
            noise_multiplier=noise_multiplier,
            max_grad_norm=clip_norm,
            expected_batch_size=expected_batch_patients,
            loss_reduction="mean",
            generator=generator,
        )

    def begin(self) -> None:
        """Starts a step with a zero sum, so that an empty batch is noised like any other."""
        for parameter in self.params:
            parameter.summed_grad = torch.zeros_like(parameter)

    def accumulate(self, clipped_sums: Sequence[Tensor]) -> None:
        """Adds the clipped sums of some of the step's patients, one tensor for each trained parameter."""
        for parameter, clipped in zip(self.params, clipped_sums, strict=True):
            parameter.summed_grad += clipped

    def noisy_gradient(self) -> None:
        """Puts (sum + noise) / expected batch into each ``grad``.

        Raises:
            RuntimeError: The sum was already used; noise may be drawn once a step only.
        """
        if not self.pre_step():
            raise RuntimeError("Opacus skipped a step that was accounted")

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
