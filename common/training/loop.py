"""One site's local training: one loop, private with a plan, plain without one, and the scores of a model.

A step takes patients, not images: an image's loss is divided by the number of that patient's images in the step, so a
patient's gradient is the mean over images. With a plan, batches, clipping, noise and divisor are the plan's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from common.config.study import TrainingConfig
from common.data.loading import PatientTensors
from common.data.pixels.transforms import augment
from common.models.classifier import Classifier
from common.privacy.engine import GradientEngine, gradient_engine
from common.privacy.layers import Patients
from common.privacy.plan import PrivacyPlan
from common.privacy.randomness import Randomness
from common.privacy.shares import NoiseShare
from common.training.allocator import keep_large_blocks
from common.training.chunks import LEAST_ROWS, by_chunks, filled, in_blocks, sigmoid, whole_vectors
from common.training.device import device_of
from common.training.dropout import own_dropout
from common.training.fitting import fitting_batch, shape_of_batches
from common.training.optimizers import LocalOptimizer, local_optimizer


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a call of :func:`train` did; public numbers only: a private loss would leak."""

    steps: int


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some patients' rows, sorted by patient; ``share`` (N,) is 1 / (images of the row's patient)."""

    rows: Tensor
    patients: Patients
    share: Tensor

    def loss(self, labels: Tensor, training: TrainingConfig, device: torch.device) -> _RowLoss:
        """Returns the loss of these rows' logits on ``device``; ``labels`` are those of all rows."""
        return _RowLoss(labels[self.rows].to(device), self.share.to(device), training.positive_weight)


def train(
    model: Classifier,
    data: PatientTensors,
    training: TrainingConfig,
    *,
    randomness: Randomness,
    plan: PrivacyPlan | None,
    proximal_mu: float = 0.0,
) -> TrainReport:
    """Trains the trainable part of ``model`` in place for one round.

    Args:
        model: The global model; left in evaluation mode.
        data: The site's training patients.
        training: Optimizer, batch, passes.
        randomness: Draws patients, augmentation and noise.
        plan: The privacy plan, or None for training without privacy.
        proximal_mu: FedProx' pull towards the weights at the start (Li et al. 2020, eq. 2); it touches no data, so it
            is added after the noise and costs no privacy.

    Returns:
        The number of optimizer steps; with a plan exactly ``plan.steps_per_round``, empty batches included.
    """
    trained, rows = _trained_part(model, data, training)
    return _train(trained, rows, training, randomness, plan, proximal_mu)


def noisy_sum(
    model: Classifier, data: PatientTensors, training: TrainingConfig, *, randomness: Randomness, plan: PrivacyPlan,
    share: NoiseShare,
) -> NDArray[np.int64]:  # fmt: skip
    """Returns a site's part of a secure sum, int64 (D,): the clipped sum of one step and the site's share of its noise.

    Args:
        model: The global model; its weights stay, and it is left in evaluation mode.
        data: The site's training patients.
        training: Batch and loss; one step a round.
        randomness: Draws patients, augmentation and noise.
        plan: The privacy plan, of one step a round.
        share: What the site adds.
    """
    trained, rows = _trained_part(model, data, training)
    with ExitStack() as stack:
        stack.enter_context(own_dropout(trained, randomness.regularisation))
        stack.callback(trained.eval)
        engine = stack.enter_context(gradient_engine(plan.engine, trained))
        trained.train()
        fitting = _fitting(trained, rows, training, plan, engine)
        (batch,) = _batches(rows, fitting, randomness, plan, shape_of_batches(trained, fitting.physical_batch))
        total = np.zeros(sum(p.numel() for p in trained.parameters() if p.requires_grad))
        for sums in _clipped_sums(engine, trained, rows, batch, fitting, randomness, plan.clip_norm):
            total += torch.cat([one.reshape(-1) for one in sums]).double().cpu().numpy()
    return share.noisy(total, randomness.noise)


def _trained_part(
    model: Classifier, data: PatientTensors, training: TrainingConfig
) -> tuple[nn.Module, PatientTensors]:
    """A frozen trunk is a fixed function of each image: its features are computed once, the head trained on them."""
    keep_large_blocks()
    model.eval()
    if not model.trunk_frozen or training.augment:
        return model, data
    return HeadOnly(model), PatientTensors(embedded(model, data.inputs), data.labels, data.patient_of, data.patients)


class HeadOnly(nn.Module):
    """The head of a classifier, reading features."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.dropout, self.head = model.dropout, model.head

    def forward(self, features: Tensor) -> Tensor:
        """Returns logits (N,) of features (N, D)."""
        logits: Tensor = self.head(self.dropout(features))
        return logits.squeeze(-1)


_FEATURES = WeakTensorKeyDictionary()
"""Inputs to (what they were computed from, features); an entry goes with its inputs, so no patient outlives them."""


def embedded(model: Classifier, inputs: Tensor) -> Tensor:
    """Returns features (N, D) of a frozen trunk; kept as long as the inputs are, so later rounds cost nothing."""
    from common.models.weights import frozen_digest

    made_from = (frozen_digest(model), inputs._version, model.device)
    kept: tuple[object, Tensor] | None = _FEATURES.get(inputs)
    if kept is not None and kept[0] == made_from:
        return kept[1]
    model.eval()
    with torch.no_grad():
        features = by_chunks(model.embed, inputs, 64, model.device, filled)
    _FEATURES[inputs] = (made_from, features)
    return features


def _train(
    model: nn.Module, data: PatientTensors, training: TrainingConfig, randomness: Randomness,
    plan: PrivacyPlan | None, proximal_mu: float,
) -> TrainReport:  # fmt: skip
    trained = [p for p in model.parameters() if p.requires_grad]
    anchor = [p.detach().clone() for p in trained]
    optimizer = local_optimizer(trained, training)
    steps = 0
    with ExitStack() as stack:
        stack.enter_context(own_dropout(model, randomness.regularisation))
        private = None if plan is None else _PrivateStep(model, optimizer, plan, randomness, stack)
        step = _plain_step if private is None else private
        model.train()
        fitting = _fitting(model, data, training, plan, None if private is None else private.engine)
        for batch in _batches(data, fitting, randomness, plan, shape_of_batches(model, fitting.physical_batch)):
            optimizer.zero_grad()
            step(model, data, batch, fitting, randomness)
            _pull(trained, anchor, proximal_mu)
            optimizer.step()
            steps += 1
    model.eval()
    for parameter in trained:
        parameter.grad = None
    return TrainReport(steps)


def _pull(trained: list[nn.Parameter], anchor: list[Tensor], mu: float) -> None:
    if mu:
        for parameter, start in zip(trained, anchor, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - start, alpha=mu)


class _PrivateStep:
    """Fills ``grad`` with the plan's noisy mean of clipped per-patient gradients."""

    def __init__(
        self, model: nn.Module, optimizer: LocalOptimizer, plan: PrivacyPlan, randomness: Randomness,
        stack: ExitStack,
    ) -> None:  # fmt: skip
        self.engine = stack.enter_context(gradient_engine(plan.engine, model))
        self._optimizer = plan.optimizer(optimizer, randomness.noise)
        stack.callback(self._optimizer.forget)
        self._plan = plan

    def __call__(
        self, model: nn.Module, data: PatientTensors, batch: list[_Batch], training: TrainingConfig,
        randomness: Randomness,
    ) -> None:  # fmt: skip
        self._optimizer.begin()
        for sums in _clipped_sums(self.engine, model, data, batch, training, randomness, self._plan.clip_norm):
            self._optimizer.accumulate(sums)
        self._optimizer.noisy_gradient()


def _clipped_sums(
    engine: GradientEngine, model: nn.Module, data: PatientTensors, batch: list[_Batch], training: TrainingConfig,
    randomness: Randomness, clip_norm: float,
) -> Iterator[Sequence[Tensor]]:  # fmt: skip
    """Yields the clipped sums of each physical batch of a step, one tensor for each trained parameter."""
    device = device_of(model)
    for part in batch:
        inputs = _inputs(data, part, training, randomness, device)
        loss = part.loss(data.labels, training, device)
        sums, _ = engine.clipped_sum(inputs, loss, part.patients.to(device), clip_norm)
        yield sums


def _plain_step(
    model: nn.Module, data: PatientTensors, batch: list[_Batch], training: TrainingConfig, randomness: Randomness
) -> None:
    patients, device = sum(part.patients.count for part in batch), device_of(model)
    for part in batch:
        inputs = _inputs(data, part, training, randomness, device)
        loss = part.loss(data.labels, training, device)
        (loss(model(inputs)).sum() / patients).backward()


@dataclass(frozen=True, slots=True)
class _RowLoss:
    labels: Tensor
    share: Tensor
    positive_weight: float | None

    def __call__(self, logits: Tensor) -> Tensor:
        """Returns binary cross-entropy (N,), malignant weighted, divided by the patient's images."""
        weight = None if self.positive_weight is None else logits.new_full((), self.positive_weight)
        wide, labels = whole_vectors(logits), whole_vectors(self.labels)
        loss = F.binary_cross_entropy_with_logits(wide, labels, reduction="none", pos_weight=weight)
        return loss[: len(logits)] * self.share


def _inputs(
    data: PatientTensors, part: _Batch, training: TrainingConfig, randomness: Randomness, device: torch.device
) -> Tensor:
    inputs = data.inputs[part.rows].to(device)
    return augment(inputs, randomness.regularisation.uniforms) if training.augment and inputs.dim() == 4 else inputs


def _fitting(
    model: nn.Module, data: PatientTensors, training: TrainingConfig, plan: PrivacyPlan | None,
    engine: GradientEngine | None,
) -> TrainingConfig:  # fmt: skip
    """Returns the training with a physical batch for which memory suffices."""
    shape, images = tuple(data.inputs.shape[1:]), 1 if plan is None else plan.max_images
    size = fitting_batch(model, training.physical_batch, shape, engine, images)
    return dataclasses.replace(training, physical_batch=size)


def _batches(
    data: PatientTensors, training: TrainingConfig, randomness: Randomness, plan: PrivacyPlan | None,
    least: int = LEAST_ROWS,
) -> Iterator[list[_Batch]]:  # fmt: skip
    """Yields each step's physical batches, private ones of ``least`` rows; a patient is never split over two."""
    rows_of = data.rows_of(torch.arange(data.num_patients))
    if plan is None:
        samples, most, least = _shuffled(data.num_patients, training, randomness), None, 0
    else:
        samples, most = plan.sample(data.num_patients, randomness.sampling), plan.max_images
    limit = max(training.physical_batch, least)
    for sample in samples:
        yield _physical([_some(rows_of[p], most, randomness) for p in sample.tolist()], limit, least)


def _shuffled(num_patients: int, training: TrainingConfig, randomness: Randomness) -> Iterator[Tensor]:
    steps_of_epoch = -(-num_patients // training.batch_patients)
    steps = training.local_steps or max(1, round(training.local_epochs * steps_of_epoch))
    while steps > 0:
        order = torch.from_numpy(randomness.sampling.permutation(num_patients))
        for sample in order.split(training.batch_patients)[:steps]:
            yield sample
            steps -= 1


def _some(rows: Tensor, most: int | None, randomness: Randomness) -> Tensor:
    """At most ``most`` rows of a patient, drawn anew each time the patient is."""
    if most is None or len(rows) <= most:
        return rows
    return rows[torch.from_numpy(randomness.images.permutation(len(rows))[:most])]


def _physical(patients: list[Tensor], limit: int, least: int) -> list[_Batch]:
    parts: list[list[Tensor]] = []
    size = limit + 1
    for rows in patients:
        if size + len(rows) > limit:
            parts.append([])
            size = 0
        parts[-1].append(rows)
        size += len(rows)
    return [_batch(part, least) for part in parts]


def _batch(patients: list[Tensor], least: int) -> _Batch:
    """Fills up with patients whose loss counts nothing, so that there are ``least`` rows."""
    missing = max(0, least - sum(len(rows) for rows in patients))
    sizes = torch.tensor([len(rows) for rows in patients] + [1] * missing)
    of_row = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    share = 1.0 / sizes[of_row]
    share[len(share) - missing :] = 0.0
    return _Batch(torch.cat([*patients, patients[0][:1].repeat(missing)]), Patients(of_row, len(sizes)), share)


def predict(model: Classifier, data: PatientTensors, batch: int = 64) -> Tensor:
    """Returns each patient's probability of malignancy, the mean over images, float32 (P,) in [0, 1].

    Rows go in whole blocks, so that no image's last bits hang on how many others there are.
    """
    model.eval()
    with torch.no_grad():
        rows = data.inputs
        score: nn.Module = model
        if model.trunk_frozen:
            rows, score = embedded(model, data.inputs), HeadOnly(model).eval()
        logits = by_chunks(score, rows, batch, model.device, in_blocks)
        probabilities = sigmoid(logits)
        total = torch.zeros(data.num_patients, dtype=probabilities.dtype).index_add_(0, data.patient_of, probabilities)
        return (total / torch.bincount(data.patient_of, minlength=data.num_patients)).float()
