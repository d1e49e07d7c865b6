"""One trial: an ordinary run in this process, in an ordinary folder, ended early where the pruner says so."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import FederationError
from common.runs.run_folder import RunFolder
from simulations.analysis.sweep.settings import CLOSED, Settings
from simulations.analysis.sweep.space import Objective, Value
from simulations.analysis.sweep.units import trial_overrides
from simulations.engine.run import run_study, status_of

if TYPE_CHECKING:
    from optuna.trial import Trial

KEPT = ("metrics.jsonl", "study.yaml", "overrides.yaml", "run.json")
"""What stays of a trial's folder."""


class Pruned(FederationError):
    """The pruner ended a trial: it stood worse than others did after as many rounds."""


@dataclass(slots=True)
class Watched:
    """Follows a trial's rounds, tells the pruner of each, and keeps the best figure.

    Attributes:
        trial: None where nothing is pruned.
        best: The best figure so far; None: no round was scored.
        best_round: Its round; of equals, the later.
        pruned: Whether the pruner ended the trial.
    """

    objective: Objective
    trial: Trial | None = None
    best: float | None = None
    best_round: int = 0
    pruned: bool = False

    def __call__(self, event: Mapping[str, Any]) -> None:
        if "round" not in event:
            return
        value = event["val"]["pooled"].get(self.objective)
        if value is None:
            return
        if self.best is None or self._no_worse(value):
            self.best, self.best_round = value, event["round"]
        self._prune(event["round"])

    def _no_worse(self, value: float) -> bool:
        assert self.best is not None
        return value >= self.best if self.objective == "auroc" else value <= self.best

    def _prune(self, round_index: int) -> None:
        if self.trial is None or self.best is None:
            return
        self.trial.report(self.best, round_index)
        self.pruned = self.trial.should_prune()
        if self.pruned:
            raise Pruned(f"The sweep's pruner ended the trial after round {round_index}")


def run_trial(settings: Settings, values: Mapping[str, Value], folder: Path, watched: Watched) -> float:
    """Returns the trial's figure: of pooled validation patients, at its best round.

    Args:
        settings: The sweep.
        values: The trial's values by dimension.
        folder: Its folder; what an attempt before has left there is removed.
        watched: Follows the rounds.

    Raises:
        Pruned: The pruner ended it.
        OncoFedError: The study cannot be run, or did not end whole.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        done = run_study(
            [*trial_overrides(settings, values), *CLOSED], "inprocess", folder, progress=watched, pages=False
        )
    finally:
        trim(folder)
    return figure_of(done, watched)


def figure_of(folder: Path, watched: Watched) -> float:
    """Returns the figure that was watched.

    Raises:
        FederationError: The run did not end whole, or no round of it was scored.
    """
    status = status_of(folder)
    if watched.pruned:
        raise Pruned(status["reason"])
    if status["status"] != "COMPLETED":
        raise FederationError(f"The run ended as {status['status']}: {status['reason']}")
    if watched.best is None:
        raise FederationError(f"No round has a validation {watched.objective}")
    return watched.best


def trim(folder: Path) -> None:
    """Removes all of a run's folder but what tells how it went."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def rounds_of(folder: Path, objective: Objective) -> list[tuple[int, float]]:
    """Returns a trial's rounds with their figures."""
    rows = RunFolder(folder).read_metrics()
    pairs = [(int(row["round"]), row["val"]["pooled"].get(objective)) for row in rows]
    return [(index, float(value)) for index, value in pairs if value is not None]
