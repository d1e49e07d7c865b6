"""Can this model take a private step? Asked before training, on random numbers, never on patients."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from common.errors import ModelError
from common.privacy.engine import gradient_engine
from common.privacy.layers import Patients
from common.privacy.plan import PrivacyPlan

if TYPE_CHECKING:
    from common.models.classifier import Classifier

BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)
TOLERANCE = 1e-2
"""Relative; rounding and flipped kinks of ReLU stay below 4e-3 in float32, a gradient that is missed is far above."""
_HUGE_CLIP = 1e9
"""So large that nothing is clipped and the engine's sum must be the plain gradient."""


def check_private_step(model: nn.Module, input_shape: tuple[int, ...], plan: PrivacyPlan) -> None:
    """Computes one private gradient with copies of ``model`` on random inputs and throws it away.

    Raises:
        ModelError: Nothing is trained, examples influence each other, the engine fails, or its gradient is not the
            model's; the message says why and what to do instead.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ModelError("No parameter of the model is trained; choose another model.part")
    for name, module in model.named_modules():
        if isinstance(module, BATCH_NORMS):
            raise ModelError(
                f"{name} is a {type(module).__name__}: it mixes patients, so no per-patient gradient exists. "
                "Use a model of the zoo, or replace it by GroupNorm."
            )
    inputs = _random_inputs(input_shape)
    _check_independent(copy.deepcopy(model), inputs)
    try:
        engine_sum, plain = _private_sum(copy.deepcopy(model), inputs, plan), _plain_sum(copy.deepcopy(model), inputs)
    except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
        raise ModelError(
            f"The model cannot take a private step ({str(error).splitlines()[0][:200]}). Layers that work in place "
            "are the usual reason: use a model of the zoo, or set inplace=False everywhere."
        ) from None
    if not float((engine_sum - plain).norm()) <= TOLERANCE * float(plain.norm()):
        raise ModelError(
            "The private gradient is not the gradient of the model: a weight is probably used outside its layer, "
            "where per-patient gradients do not see it. Use a model of the zoo, or let layers apply their own weights."
        )


def check_coordinates(model: Classifier, input_shape: tuple[int, ...]) -> None:
    """Checks on random inputs that a model gives each example coordinates of its own, for the statistics training.

    Raises:
        ModelError: Examples influence each other, or coordinates of random inputs are not finite.
    """
    inputs, judged = _random_inputs(input_shape), copy.deepcopy(model).eval()
    with torch.no_grad():
        together, elsewhere = (judged.embed(rows)[:1] for rows in (inputs, torch.cat([inputs[:1], -inputs[1:]])))
    if not torch.isfinite(together).all():
        raise ModelError("The model gives no finite coordinates of random inputs; its public basis is damaged")
    if not torch.allclose(together, elsewhere, rtol=1e-3, atol=1e-4 * float(together.abs().max())):
        raise ModelError("The coordinates of an example depend on its neighbours; remove the layer that mixes them")


def _random_inputs(input_shape: tuple[int, ...]) -> Tensor:
    return torch.randn(3, *input_shape, generator=torch.Generator().manual_seed(0))


@contextmanager
def _same_dropout() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def _check_independent(model: nn.Module, inputs: Tensor) -> None:
    """The logit of an example must not move when its neighbours change, in training or out of it."""
    others = torch.cat([inputs[:1], -inputs[1:]])
    for training in (True, False):
        model.train(training)
        together, elsewhere = (_first_logit(model, batch) for batch in (inputs, others))
        if not torch.allclose(together, elsewhere, rtol=1e-3, atol=1e-4):
            raise ModelError(
                "The model lets examples of a batch influence each other, so no per-patient gradient exists; "
                "remove the layer that mixes them (BatchNorm-like)"
            )


def _first_logit(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad(), _same_dropout():
        logits: Tensor = model(inputs)
    return logits[:1]


def _losses(logits: Tensor) -> Tensor:
    labels = torch.tensor([0.0, 1.0, 1.0])
    return nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def _private_sum(model: nn.Module, inputs: Tensor, plan: PrivacyPlan) -> Tensor:
    model.train()
    patients = Patients(torch.tensor([0, 1, 1]), 2)
    with _same_dropout(), gradient_engine(plan.engine, model) as engine:
        sums, _ = engine.clipped_sum(inputs, _losses, patients, _HUGE_CLIP)
    return torch.cat([part.flatten() for part in sums])


def _plain_sum(model: nn.Module, inputs: Tensor) -> Tensor:
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with _same_dropout():
        grads = torch.autograd.grad(_losses(model(inputs)).sum(), trained)
    return torch.cat([grad.flatten() for grad in grads])
