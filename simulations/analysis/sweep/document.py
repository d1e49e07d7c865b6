"""What a sweep found, as one typed document: the page, the terminal and ``--json`` are made from it."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from common.canonical import document_digest
from common.config.overrides import take_paths
from common.errors import ConfigError
from common.runs.run_folder import RunFolder
from simulations.analysis.sweep.space import Objective, Value

FILE = "sweep.json"
State = Literal["complete", "pruned", "failed"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """One trial; ``value`` is None where it failed, and that of its rounds so far where it was pruned."""

    number: int
    state: State
    value: float | None
    values: Mapping[str, Value]
    overrides: tuple[str, ...]
    rounds: tuple[tuple[int, float], ...]
    seconds: float
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """The winner with another seed: another split, another start, other noise."""

    seed: int
    value: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SweepDocument:
    """All that a sweep leaves.

    Attributes:
        digest: SHA-256 (hex) of the settings and of what each trial gave.
        importance: Share of the trials' variance that each dimension explains; empty with too few trials.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    digest: str
    data: str
    objective: Objective
    settings: Mapping[str, Any]
    code: str
    trials: tuple[TrialResult, ...]
    best: int
    importance: Mapping[str, float]
    reruns: tuple[Rerun, ...] = ()

    @property
    def winner(self) -> TrialResult:
        """The best trial."""
        return next(trial for trial in self.trials if trial.number == self.best)

    @property
    def rerun_mean(self) -> float | None:
        """Mean figure of the winner with new seeds; None: it was not run again."""
        return statistics.fmean(run.value for run in self.reruns) if self.reruns else None

    @property
    def rerun_deviation(self) -> float | None:
        """Standard deviation of the figure over the new seeds; None: fewer than two."""
        return statistics.stdev(run.value for run in self.reruns) if len(self.reruns) > 1 else None

    @property
    def optimism(self) -> float | None:
        """By how much the sweep's best figure is better than the winner's mean with new seeds."""
        mean, best = self.rerun_mean, self.winner.value
        if mean is None or best is None:
            return None
        return best - mean if self.objective == "auroc" else mean - best

    def to_json(self) -> dict[str, Any]:
        """Returns the document as JSON values, the figures that follow from it included."""
        document: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return document | {name: getattr(self, name) for name in ("rerun_mean", "rerun_deviation", "optimism")}

    def write(self, folder: Path) -> None:
        """Writes it into the sweep's folder."""
        RunFolder(folder).write_json(FILE, self.to_json())


_ADAPTER = TypeAdapter(SweepDocument)
_DERIVED = ("rerun_mean", "rerun_deviation", "optimism")


def read_document(folder: Path) -> SweepDocument:
    """Returns what a sweep has left.

    Raises:
        ConfigError: There is none, or it is damaged.
    """
    try:
        document = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return _ADAPTER.validate_python({key: value for key, value in document.items() if key not in _DERIVED})
    except FileNotFoundError:
        raise ConfigError(f"{folder} holds no finished sweep; expected a {FILE} in it") from None
    except (ValueError, AttributeError, ValidationError) as error:
        raise ConfigError(f"{folder / FILE} is damaged ({error}); sweep again with --resume {folder}") from None


def best_of(trials: Sequence[TrialResult], objective: Objective) -> TrialResult | None:
    """Returns the whole trial with the best figure, the first of equals; None: there is none."""
    whole = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    sign = 1 if objective == "auroc" else -1
    return max(whole, key=lambda trial: sign * (trial.value or 0.0), default=None)


def digest_of(settings: Mapping[str, Any], trials: Sequence[TrialResult]) -> str:
    """Returns the SHA-256 (hex) of a sweep, in canonical JSON; paths and how long it took are left out."""
    others, _ = take_paths(settings["overrides"])
    settings = {**settings, "overrides": others}
    told = [[trial.number, trial.state, trial.value, dict(trial.values)] for trial in trials]
    return document_digest([settings, told])
