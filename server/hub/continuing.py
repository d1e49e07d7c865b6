"""Whether a study can go on from the model that a run released, and what it then says otherwise."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from common.config.study import StudyConfig
from common.errors import ModelError

FEWER = 2
"""A study that goes on has this part of the rounds: a choice, not a result."""


def continued(study: StudyConfig, run: Path, released: Collection[str]) -> tuple[Mapping[str, str], str]:
    """Returns what changes so that the study starts from the released model, and says in words how it starts.

    Nothing changes where it must begin anew; the words then say why.

    Args:
        study: Of the run.
        run: Its folder, with the model.
        released: Digests of the weights that the hub released of it.
    """
    from common.models.checkpoints import file_digest
    from server.hub.release import MODEL

    path = run.resolve() / MODEL
    if why := _problem(study, path, released):
        return {}, f"It begins anew, with as many rounds: {why}."
    rounds = max(1, study.training.rounds // FEWER)
    changes = {"model.weights": str(path), "model.checkpoint": file_digest(path), "training.rounds": str(rounds)}
    return changes, (
        f"It starts from the released model, so in {rounds} of {study.training.rounds} rounds. Each hospital adds the "
        "release's file first: oncofed-site checkpoint add model.safetensors"
    )


def _problem(study: StudyConfig, path: Path, released: Collection[str]) -> str:
    from common.models.zoo import ARCHITECTURES
    from server.hub.release import weights_of

    architecture = ARCHITECTURES.get(study.model.name)
    if architecture is None or architecture.pretrained or study.model.checkpoint:
        return f"{study.model.name} starts from published weights or a public checkpoint, not from a released model"
    if study.training.method == "statistics":
        return "a head that is made of sums starts from nothing"
    if not study.privacy.private:
        return "the run had no privacy, so its model tells of its patients without bound"
    try:
        found = weights_of(path)
    except ModelError:
        return f"{path.name} is not in the run's folder"
    return "" if found in released else f"{path.name} in the run's folder is not what was released"
