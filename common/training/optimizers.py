"""SGD and Adam for local training, with torch's numbers to the bit on the CPU.

Torch's own load its compiler when the first of them is made: 1.5 s and 150 MB in each process that trains, for nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from common.config.study import TrainingConfig

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's usual constants (Kingma and Ba 2015, algorithm 1)."""


class LocalOptimizer(ABC):
    """Changes parameters by their ``grad``; one without a gradient stays as it is.

    Attributes:
        param_groups: The parameters, where torch's optimizers have them.
    """

    def __init__(self, parameters: Sequence[Tensor], training: TrainingConfig) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": list(parameters)}]
        self._lr, self._momentum, self._decay = training.lr, training.momentum, training.weight_decay
        self._state: dict[Tensor, Any] = {}

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    def step(self) -> None:
        """Takes one step."""
        with torch.no_grad():
            for parameter in self.param_groups[0]["params"]:
                if (grad := parameter.grad) is not None:
                    self._move(parameter, grad.add(parameter, alpha=self._decay) if self._decay else grad)

    @abstractmethod
    def _move(self, parameter: Tensor, grad: Tensor) -> None: ...


class Sgd(LocalOptimizer):
    """Stochastic gradient descent with momentum, as ``torch.optim.SGD``."""

    def _move(self, parameter: Tensor, grad: Tensor) -> None:
        if self._momentum:
            kept = self._state.get(parameter)
            grad = grad.detach().clone() if kept is None else kept.mul_(self._momentum).add_(grad)
            self._state[parameter] = grad
        parameter.add_(grad, alpha=-self._lr)


class Adam(LocalOptimizer):
    """Kingma and Ba (2015), algorithm 1, with the order of operations of ``torch.optim.Adam``."""

    def _move(self, parameter: Tensor, grad: Tensor) -> None:
        steps, mean, square = self._state.get(parameter) or (0, *(torch.zeros_like(parameter) for _ in range(2)))
        self._state[parameter] = (steps := steps + 1), mean, square
        mean.lerp_(grad, 1 - BETA1)
        square.mul_(BETA2).addcmul_(grad, grad, value=1 - BETA2)
        deviation = (square.sqrt() / (1 - BETA2**steps) ** 0.5).add_(EPSILON)
        parameter.addcdiv_(mean, deviation, value=-self._lr / (1 - BETA1**steps))


def local_optimizer(parameters: Sequence[Tensor], training: TrainingConfig) -> LocalOptimizer:
    """Returns the study's optimizer of these parameters."""
    return (Adam if training.optimizer == "adam" else Sgd)(parameters, training)
