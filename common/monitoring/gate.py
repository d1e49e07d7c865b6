"""What a model must show in shadow before it becomes active: limits that are fixed before the data come.

The classes of change are those of a predetermined change control plan: each has the tests that such a change can fail.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from common.config.settings_file import settings_text
from common.errors import ConfigError
from common.evaluation.comparison import paired_difference
from common.evaluation.intervals import wilson
from common.evaluation.recalibration import Graded, recalibration
from common.monitoring.labels import Source
from common.monitoring.shadow import Pair

Change = Literal["threshold", "retrain", "preprocessing", "architecture"]
CHANGES: tuple[Change, ...] = get_args(Change)
"""From the smallest to the largest."""
ALL = ("sensitivity", "abstention", "golden", "epsilon", "non_inferiority", "worst_site", "calibration_slope")
NEEDED: Mapping[Change, tuple[str, ...]] = {
    "threshold": ("sensitivity", "abstention", "golden"),
    "retrain": ALL,
    "preprocessing": ALL,
    "architecture": ALL,
}
Share = Annotated[float, Field(gt=0, le=1)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The limits.

    Attributes:
        change: Class of the change; the real one must not be larger.
        labels: Whose labels count.
        patients: Labelled patients of each class, malignant and benign, at least.
        sensitivity: The lower 95 % limit (Wilson) at the package's threshold, at least.
        abstention: Share of exams without an answer, at most.
        golden: Difference of a golden score on this machine, at most.
        epsilon: Of the training patients, at most; None: any, also none.
        margin: Loss of AUROC against the active model, paired by patient, that the 95 % interval rules out.
        worst_site_drop: AUROC of its worst training site below that of the active model's, at most.
        calibration_slope: Between these two.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    change: Change
    sensitivity: Share
    labels: Source = "biopsy"
    patients: Annotated[int, Field(ge=10)] = 30
    abstention: Share = 0.2
    golden: Annotated[float, Field(gt=0, le=1e-2)] = 1e-4
    epsilon: Annotated[float, Field(gt=0)] | None = None
    margin: Share = 0.05
    worst_site_drop: Share = 0.05
    calibration_slope: tuple[float, float] = (0.7, 1.4)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the packages themselves say.

    Attributes:
        change: The real class of the change from the active package; None: there is no active one.
        golden: Largest difference of a golden score on this machine.
        epsilon: Of the challenger; None: trained without privacy.
        worst: AUROC of the challenger's worst training site; None: not stated.
        worst_active: The same of the active package.
    """

    change: Change | None
    golden: float
    epsilon: float | None
    worst: float | None
    worst_active: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One test of the gate: what was found, in words with figures, and whether it holds."""

    name: str
    holds: bool
    found: str


def read_gate(path: Path) -> tuple[Gate, str]:
    """Returns the gate of a YAML file and the SHA-256 (hex) of the file.

    Raises:
        ConfigError: It is missing, has an unknown key or a bad value.
    """
    try:
        found = TypeAdapter(Gate).validate_json(settings_text(path), strict=False)
        return found, hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise ConfigError(f"There is no gate file {path}") from None
    except ValidationError as error:
        named = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"{path} is not valid ({named})") from None


def judged(
    gate: Gate, facts: Facts, found: Sequence[Pair], labelled: Sequence[Answer], abstained: tuple[int, int]
) -> tuple[Item, ...]:
    """Returns each test that the class of change needs. What was not measured does not hold.

    Args:
        gate: The limits.
        facts: Of the packages.
        found: Patients whom both models have answered; none where there is no active one.
        labelled: The challenger's answers to labelled exams, one a patient.
        abstained: Exams that the challenger did not answer, and all that it saw.
    """
    tests = {
        "sensitivity": lambda: _sensitivity(gate, labelled),
        "abstention": lambda: _abstention(gate, *abstained),
        "golden": lambda: (facts.golden <= gate.golden, f"{facts.golden:.1e}, at most {gate.golden:.1e}"),
        "epsilon": lambda: _epsilon(gate, facts),
        "non_inferiority": lambda: _non_inferiority(gate, facts, found),
        "worst_site": lambda: _worst_site(gate, facts),
        "calibration_slope": lambda: _slope(gate, labelled),
    }
    items = [Item("change", *_change(gate, facts)), Item("patients", *_patients(gate, labelled))]
    return (*items, *(Item(name, *tests[name]()) for name in NEEDED[gate.change]))


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The challenger's calibrated probability and side of an exam whose label is known."""

    probability: float
    above: bool
    malignant: bool


def change_between(old: Mapping[str, Any], new: Mapping[str, Any]) -> Change:
    """Returns the class of a change, from ``weights``, ``preprocessing`` and ``network`` of both packages."""
    if old["network"] != new["network"]:
        return "architecture"
    if old["preprocessing"] != new["preprocessing"]:
        return "preprocessing"
    return "retrain" if old["weights"] != new["weights"] else "threshold"


def _change(gate: Gate, facts: Facts) -> tuple[bool, str]:
    if facts.change is None:
        return (
            gate.change == "architecture",
            f"the first model counts as a new architecture; the gate is for {gate.change}",
        )
    holds = CHANGES.index(facts.change) <= CHANGES.index(gate.change)
    return holds, f"{facts.change}; the gate is for {gate.change}"


def _patients(gate: Gate, labelled: Sequence[Answer]) -> tuple[bool, str]:
    malignant = sum(one.malignant for one in labelled)
    benign = len(labelled) - malignant
    words = f"{malignant} malignant, {benign} benign by {gate.labels}; {gate.patients} of each are needed"
    return min(malignant, benign) >= gate.patients, words


def _sensitivity(gate: Gate, labelled: Sequence[Answer]) -> tuple[bool, str]:
    malignant = [one for one in labelled if one.malignant]
    rate = wilson(sum(one.above for one in malignant), len(malignant))
    if rate is None:
        return False, "not measured"
    words = f"{rate.value:.3f} ({rate.low:.3f} to {rate.high:.3f}); the lower limit must reach {gate.sensitivity:.3f}"
    return rate.low >= gate.sensitivity, words


def _abstention(gate: Gate, abstained: int, seen: int) -> tuple[bool, str]:
    if not seen:
        return False, "not measured"
    return abstained / seen <= gate.abstention, f"{abstained} of {seen} exams; at most {gate.abstention:g} of them"


def _epsilon(gate: Gate, facts: Facts) -> tuple[bool, str]:
    said = "no privacy" if facts.epsilon is None else f"{facts.epsilon:.3g}"
    if gate.epsilon is None:
        return True, f"{said}; the gate has no limit"
    return facts.epsilon is not None and facts.epsilon <= gate.epsilon, f"{said}; at most {gate.epsilon:g}"


def _non_inferiority(gate: Gate, facts: Facts, found: Sequence[Pair]) -> tuple[bool, str]:
    if facts.change is None:
        return True, "the first model: there is none to compare with"
    told = [pair for pair in found if pair.malignant is not None]
    both = [(pair.shadow.probability, pair.active.probability, pair.malignant) for pair in told]
    shadow, active, labels = (np.asarray(column, dtype=np.float64) for column in zip(*both, strict=True)) if both else (
        np.zeros(0), np.zeros(0), np.zeros(0))  # fmt: skip
    difference = paired_difference(shadow, active, labels, confidence=0.95, resamples=0, seed=0)
    if difference is None:
        return False, "not measured: fewer than two labelled patients of a class"
    words = f"AUROC {difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f}) in {difference.patients}"
    return difference.low > -gate.margin, f"{words} patients; a loss of {gate.margin:g} must be ruled out"


def _worst_site(gate: Gate, facts: Facts) -> tuple[bool, str]:
    if facts.change is None:
        return True, "the first model: there is none to compare with"
    if facts.worst is None or facts.worst_active is None:
        return False, "not stated in a package's label"
    words = f"{facts.worst:.3f}, the active model's {facts.worst_active:.3f}; at most {gate.worst_site_drop:g} below"
    return facts.worst >= facts.worst_active - gate.worst_site_drop, words


def _slope(gate: Gate, labelled: Sequence[Answer]) -> tuple[bool, str]:
    values = np.clip([one.probability for one in labelled], 1e-6, 1 - 1e-6)
    malignant = np.asarray([one.malignant for one in labelled], dtype=np.int64)
    line = recalibration(Graded(values, malignant, 1 - malignant, np.zeros(len(labelled)))) if labelled else None
    if line is None:
        return False, "not measured: the fit has no finite maximum"
    low, high = gate.calibration_slope
    return low <= line.slope <= high, f"{line.slope:.2f}, between {low:g} and {high:g}"
