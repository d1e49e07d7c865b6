"""Canary patients: made up, put into the training data by a fair coin, and looked for in what training releases.

Two kinds. *Study* canaries are strange images on the study's own network: what a real outlier risks. *Worst-case*
canaries have gradients that are orthogonal and always clipped, on a linear network: the most that the study's
mechanism can give away, whatever its network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.data.loading import PatientTensors
from common.models.classifier import Classifier
from common.training.loop import HeadOnly
from common.training.optimizers import LocalOptimizer

if TYPE_CHECKING:
    from common.privacy.plan import PrivacyPlan

MAX_COLUMNS = 50_000
"""Coordinates of a gradient that a score uses at most, evenly spread: memory, not correctness."""
CHUNK = 32
LOUD = 100.0
"""Size of a worst-case canary's one column: its gradient is always clipped, and hardly touches the shared bias."""


@dataclass(frozen=True, slots=True)
class Canaries:
    """Made-up patients of one image each.

    Attributes:
        inputs: (m, C, H, W) or (m, F).
        labels: (m,), 0 or 1.
        included: bool (m,), the coins.
    """

    inputs: Tensor
    labels: Tensor
    included: Tensor

    def joined(self, data: PatientTensors) -> PatientTensors:
        """Returns ``data`` with the included canaries as further patients."""
        kept = int(self.included.sum())
        return PatientTensors(
            inputs=torch.cat([data.inputs, self.inputs[self.included]]),
            labels=torch.cat([data.labels, self.labels[self.included]]),
            patient_of=torch.cat([data.patient_of, data.num_patients + torch.arange(kept)]),
            patients=(*data.patients, *self._names(kept)),
        )

    def alone(self) -> PatientTensors:
        """Returns the included canaries as the only patients."""
        kept = int(self.included.sum())
        return PatientTensors(
            self.inputs[self.included], self.labels[self.included], torch.arange(kept), tuple(self._names(kept))
        )

    @staticmethod
    def _names(count: int) -> list[str]:
        return [f"canary-{index}" for index in range(count)]


def study_canaries(count: int, shape: Sequence[int], generator: torch.Generator) -> Canaries:
    """Returns smooth random images, or rows of -1 and 1 for tables, with random labels and fair coins.

    Values stay in [-1, 1], where the study's own inputs lie.
    """
    if len(shape) == 3:
        coarse = torch.randn((count, shape[0], 4, 4), generator=generator)
        inputs = F.interpolate(coarse, size=tuple(shape[1:]), mode="bicubic").clamp(-1, 1)
    else:
        inputs = torch.randint(0, 2, (count, *shape), generator=generator).float() * 2 - 1
    labels = torch.randint(0, 2, (count,), generator=generator).float()
    return Canaries(inputs, labels, _coins(count, generator))


def worst_case_canaries(start: Tensor, clip_norm: float, generator: torch.Generator) -> Canaries:
    """Returns canaries for a linear network: each has a column to itself, so loud that its gradient is clipped.

    Args:
        start: (m,), the weights that the network starts with; a canary has the label that its own denies.
        clip_norm: The plan's.
        generator: Tosses the coins.
    """
    inputs = torch.eye(len(start)) * LOUD * max(1.0, clip_norm)
    return Canaries(inputs, (start < 0).float(), _coins(len(start), generator))


def _coins(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) < 0.5


@dataclass(frozen=True, slots=True)
class Step:
    """What an optimizer was handed in one step.

    Attributes:
        parameters: The trained parameters before the step, as the model holds them; copy what is kept.
        gradient: float32 (D,), all gradients in the parameters' order.
        rows: Images that went through the network since the last step.
    """

    parameters: Sequence[Tensor]
    gradient: Tensor
    rows: int


@contextmanager
def watched_steps(seen: Callable[[Step], None]) -> Iterator[None]:
    """Calls ``seen`` at each optimizer step of this process, on code that does not know it is watched."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    rows = 0

    def on_forward(module: nn.Module, inputs: Any) -> None:
        nonlocal rows
        if isinstance(module, Classifier | HeadOnly) and module.training and torch.is_grad_enabled():
            rows += len(inputs[0])

    def on_step(optimizer: LocalOptimizer) -> None:
        nonlocal rows
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradient = torch.cat([p.grad.detach().flatten() for p in parameters])
        count, rows = rows, 0
        seen(Step([p.detach() for p in parameters], gradient, count))
        step(optimizer)

    step = LocalOptimizer.step
    handle = register_module_forward_pre_hook(on_forward)
    try:
        with mock.patch.object(LocalOptimizer, "step", on_step):
            yield
    finally:
        handle.remove()


class Gradients:
    """Keeps what the optimizer was handed, at most so many columns of it, evenly spread."""

    def __init__(self, columns: int = MAX_COLUMNS) -> None:
        self._most = columns
        self._kept: list[Tensor] = []

    def __call__(self, step: Step) -> None:
        """Keeps one step's."""
        self._kept.append(step.gradient[spread_columns(len(step.gradient), self._most)])

    def stacked(self) -> Tensor:
        """Returns them, (steps, columns); (0, 0) if there was none."""
        return torch.stack(self._kept) if self._kept else torch.zeros((0, 0))


def spread_columns(size: int, most: int) -> Tensor:
    """Returns at most ``most`` of ``size`` indices, evenly spread, ascending."""
    return torch.linspace(0, size - 1, min(size, most), dtype=torch.float64).long()


class CanaryScorer:
    """Adds up, over steps, how much of each canary's clipped gradient is in the noisy sum that was released.

    White-box, as DP-SGD's guarantee allows (Nasr et al. 2023): the attacker sees every step's noisy gradient and
    weights. The sum is whitened by what the other canaries' coins may have put into it, the best linear test.
    """

    def __init__(self, model: Classifier, canaries: Canaries, plan: PrivacyPlan, positive_weight: float | None) -> None:
        """Watches ``model``, a copy of the trained one with the same parts trained."""
        self.scores = torch.zeros(len(canaries.labels), dtype=torch.float64)
        self._plan, self._labels = plan, canaries.labels
        self._weight = None if positive_weight is None else torch.tensor(positive_weight)
        self._inputs, self._net = canaries.inputs, cast(nn.Module, model.eval())
        if model.trunk_frozen:
            with torch.no_grad():
                self._inputs = model.embed(canaries.inputs)
            self._net = HeadOnly(model).eval()
        self._names = [name for name, p in self._net.named_parameters() if p.requires_grad]
        size = sum(p.numel() for p in self._net.parameters() if p.requires_grad)
        self._columns = spread_columns(size, MAX_COLUMNS)

    def __call__(self, step: Step) -> None:
        """Takes the scores of one step in."""
        plan = self._plan
        rate, noise = plan.sampling_rate / 2, plan.noise.std
        clipped = self._clipped(dict(zip(self._names, step.parameters, strict=True)))
        total = step.gradient[self._columns] * plan.expected_batch_patients
        others = clipped * (rate * (1 - rate)) ** 0.5
        inner = others @ others.T + noise**2 * torch.eye(len(others))
        self.scores += clipped @ (total - others.T @ torch.linalg.solve(inner, others @ total))

    def _clipped(self, parameters: dict[str, Tensor]) -> Tensor:
        """Returns each canary's clipped gradient by autograd alone, (m, columns): not by the code under audit."""
        from torch.func import functional_call, grad, vmap

        def loss(values: dict[str, Tensor], inputs: Tensor, label: Tensor) -> Tensor:
            logit = functional_call(self._net, values, (inputs[None],))[0]
            return F.binary_cross_entropy_with_logits(logit, label, pos_weight=self._weight)

        gradients = vmap(grad(loss), in_dims=(None, 0, 0))
        rows = []
        for inputs, labels in zip(self._inputs.split(CHUNK), self._labels.split(CHUNK), strict=True):
            found = gradients(parameters, inputs, labels)
            flat = torch.cat([found[name].flatten(1) for name in self._names], 1)
            factor = (self._plan.clip_norm / flat.norm(dim=1)).clamp(max=1.0)
            rows.append(flat[:, self._columns] * factor[:, None])
        return torch.cat(rows)


class ColumnScorer:
    """Scores worst-case canaries, each of which has its own column of the linear head's gradient."""

    def __init__(self, canaries: Canaries) -> None:
        self.scores = torch.zeros(len(canaries.labels), dtype=torch.float64)
        self.rows: list[int] = []
        self._pull = 0.5 - canaries.labels

    def __call__(self, step: Step) -> None:
        """Takes the scores of one step in, and how many patients it had."""
        self.rows.append(step.rows)
        self.scores += step.gradient[: len(self._pull)] * self._pull.sign()
