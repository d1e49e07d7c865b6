"""Can this model take a private step? Asked before training, on random numbers, never on patients."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from common.errors import ModelError
from common.privacy.engine import gradient_engine
from common.privacy.layers import Patients
from common.privacy.plan import PrivacyPlan

BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)


def check_private_step(model: nn.Module, input_shape: tuple[int, ...], plan: PrivacyPlan) -> None:
    """Takes one private step with a copy of ``model`` on random inputs and throws it away.

    Raises:
        ModelError: Nothing is trained, examples influence each other, or the engine fails; the message says why
            and what to do instead.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ModelError("No parameter of the model is trained; choose another model.part")
    for name, module in model.named_modules():
        if isinstance(module, BATCH_NORMS):
            raise ModelError(
                f"{name} is a {type(module).__name__}: it mixes patients, so no per-patient gradient exists. "
                "Use a model of the zoo, or replace it by GroupNorm."
            )
    inputs = torch.randn(3, *input_shape, generator=torch.Generator().manual_seed(0))
    _check_independent(copy.deepcopy(model), inputs)
    try:
        _step(copy.deepcopy(model), inputs, plan)
    except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
        raise ModelError(
            f"The model cannot take a private step ({str(error).splitlines()[0][:200]}). Layers that work in place "
            "are the usual reason: use a model of the zoo, or set inplace=False everywhere."
        ) from None


def _check_independent(model: nn.Module, inputs: Tensor) -> None:
    """The logit of an example must not move when its neighbours change."""
    model.eval()
    with torch.no_grad():
        together, alone = model(inputs)[:1], model(torch.cat([inputs[:1], -inputs[1:]]))[:1]
    if not torch.allclose(together, alone, rtol=1e-3, atol=1e-4):
        raise ModelError(
            "The model lets examples of a batch influence each other, so no per-patient gradient exists; "
            "remove the layer that mixes them (BatchNorm-like)"
        )


def _step(model: nn.Module, inputs: Tensor, plan: PrivacyPlan) -> None:
    model.train()
    labels = torch.tensor([0.0, 1.0, 1.0])
    patients = Patients(torch.tensor([0, 1, 1]), 2)
    with gradient_engine(plan.engine, model) as engine:
        engine.clipped_sum(
            inputs,
            lambda logits: nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none"),
            patients,
            plan.clip_norm,
        )
