"""Fine-tuning on public images, without noise, stopped where validation patients are ranked best."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable

from common.config.study import TrainingConfig
from common.data.loading import PatientTensors
from common.errors import ModelError
from common.evaluation.metrics import auroc
from common.evaluation.scores import ScoreState
from common.models.classifier import Classifier
from common.models.gradients import blocks_of
from common.privacy.randomness import Randomness
from common.training.loop import predict, train

ALL = "all"


@dataclasses.dataclass(frozen=True, slots=True)
class Tuned:
    """How a fine-tuning went: epochs done, the epoch that was kept, and its AUROC by validation patient."""

    epochs: int
    kept: int
    validation: float


def select_from(network: Classifier, block: str) -> None:
    """Marks the head and the trunk from ``block`` on as trained, in place; ``all``: everything.

    Raises:
        ModelError: There is no such block.
    """
    names = [name for name, _ in network.named_parameters()]
    begin = next((at for at, name in enumerate(names) if block == ALL or name.startswith(f"trunk.{block}.")), None)
    if begin is None:
        known = ", ".join(blocks_of(network))
        raise ModelError(f"--tune {block}: the network has no such block; choose all, or one of {known}")
    chosen = {*names[begin:], *(name for name in names if name.startswith("head."))}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in chosen)


def tune(
    network: Classifier,
    splits: dict[str, PatientTensors],
    training: TrainingConfig,
    *,
    epochs: int,
    patience: int,
    seed: int,
    say: Callable[[str], None],
) -> Tuned:
    """Trains ``network`` in place and leaves it at the epoch with the best validation AUROC, the first of equals.

    The learning rate falls along half a cosine (Loshchilov and Hutter 2017, eq. 5). Stops after ``patience`` epochs
    without a better one.
    """
    best, best_state, epoch = Tuned(0, 0, -1.0), copy.deepcopy(network.state_dict()), 0
    for epoch in range(1, epochs + 1):
        lr = training.lr * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
        once = dataclasses.replace(training, local_steps=0, local_epochs=1.0, lr=lr)
        train(network, splits["train"], once, randomness=Randomness.from_seed(seed, "pretrain", epoch), plan=None)
        area = area_by_patient(network, splits["val"])
        say(f"epoch {epoch}/{epochs}: validation AUROC {area:.3f}")
        if area > best.validation:
            best, best_state = Tuned(epoch, epoch, area), copy.deepcopy(network.state_dict())
        if epoch - best.kept >= patience:
            break
    network.load_state_dict(best_state)
    return dataclasses.replace(best, epochs=epoch)


def area_by_patient(network: Classifier, data: PatientTensors) -> float:
    """Returns the AUROC by patient; both classes are there, for the split was checked."""
    area = auroc(ScoreState.of(predict(network, data).numpy(), data.patient_labels().numpy()))
    assert area is not None
    return area
