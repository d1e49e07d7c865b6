"""What a hub writes after every round, and how a crashed run goes on from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import ConfigError, TrustError

Arrays = Mapping[str, NDArray[np.float32]]
KEEP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state of a run after ``round_index`` rounds.

    Attributes:
        arrays: Global weights; ``average``: their running average; ``best``: what was scored in the best round;
            ``strategy``: the strategy's memory, flat.
        notes: JSON: best round and its AUROC, the sites' rounds and losses.
    """

    round_index: int
    study_digest: str
    run: str
    arrays: Arrays
    average: Arrays
    best: Arrays
    strategy: Arrays
    notes: Mapping[str, Any] = field(default_factory=dict)


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes the checkpoint whole or not at all, and drops all but the last two."""
    from safetensors.numpy import save_file

    target = folder / f"round-{checkpoint.round_index:05d}"
    partial = folder / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in ("arrays", "average", "best", "strategy"):
        save_file(dict(getattr(checkpoint, name)), partial / f"{name}.safetensors")
    state = {name: getattr(checkpoint, name) for name in ("round_index", "study_digest", "run", "notes")}
    (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    for old in sorted(folder.glob("round-*"))[:-KEEP]:
        shutil.rmtree(old)


def latest(folder: Path, study_digest: str) -> Checkpoint | None:
    """Returns the newest checkpoint, or None when the run never finished a round.

    Raises:
        TrustError: It belongs to another study.
        ConfigError: It is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    found = sorted(folder.glob("round-*"))
    if not found:
        return None
    try:
        state = json.loads((found[-1] / "state.json").read_text(encoding="utf-8"))
        tensors = {
            name: load_file(found[-1] / f"{name}.safetensors") for name in ("arrays", "average", "best", "strategy")
        }
        checkpoint = Checkpoint(**{**state, **tensors})
    except (OSError, ValueError, TypeError, SafetensorError):
        raise ConfigError(f"The checkpoint {found[-1]} is damaged; delete it to resume from the one before") from None
    if checkpoint.study_digest != study_digest:
        raise TrustError(f"The checkpoint {found[-1]} belongs to another study; resume with the study it was made by")
    return checkpoint
