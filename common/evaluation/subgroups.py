"""Which subgroups of its patients a site counts, and which of them are too small to leave it.

A study names manifest attributes (``scanner``), numbers with cut points (``age:40,50``). A group leaves a site only if
it has ``min_cell`` patients and, of each class, none or ``min_cell``. What may not leave is put together as ``other``;
as the totals are known, a single small group could be had by subtraction, so ``other`` takes in the smallest groups
until it may leave too, and where that leaves nothing to tell apart the attribute does not leave at all.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import ConfigError
from common.evaluation.scores import MAX_GROUPS, ScoreState, coarsened
from common.names import HASH, is_lossy, short_hash

OTHER, UNKNOWN = "other", "unknown"
MAX_NAME = 40
"""Letters of one part of a group's name (:data:`common.evaluation.scores.GROUP_NAME`)."""
MAX_VALUES = 24
"""Most values of one attribute that leave a site; the rest are ``other``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attribute:
    """A manifest column to count by, with the cut points of a number; none: each value is a group."""

    name: str
    cuts: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Attribute:
        """Returns the attribute that a study writes as ``scanner`` or ``age:40,50,60``.

        Raises:
            ConfigError: The name is not a column name, or the cuts are not rising numbers.
        """
        name, _, cuts = text.partition(":")
        try:
            numbers = tuple(float(cut) for cut in cuts.split(",")) if cuts else ()
        except ValueError:
            numbers = (np.nan,)
        if not _slug(name) or any(not low < high for low, high in pairwise((*numbers, np.inf))):
            raise ConfigError(f"Expected evaluation.subgroups like scanner or age:40,50,60 (rising), got {text!r}.")
        return cls(name, numbers)

    def group(self, value: str) -> str:
        """Returns the group of a patient's value, ``unknown`` when it is empty or not a number."""
        if not self.cuts:
            return _slug(value) or UNKNOWN
        number = _number(value)
        if number is None:
            return UNKNOWN
        band = int(np.searchsorted(self.cuts, number, side="right"))
        if band == 0:
            return f"under_{self.cuts[0]:g}"
        low = self.cuts[band - 1]
        return f"{low:g}_or_more" if band == len(self.cuts) else f"{low:g}_to_under_{self.cuts[band]:g}"


def grouped_state(
    probabilities: ArrayLike,
    labels: ArrayLike,
    attributes: Sequence[Mapping[str, str]],
    wanted: Sequence[str],
    *,
    bins: int,
    min_cell: int,
    together: int = 1,
    admits: Callable[[Iterable[NDArray[np.bool_]]], bool] = lambda groups: True,
) -> ScoreState:
    """Returns the score state of patients with the subgroups that may leave the site.

    Args:
        probabilities: Score a patient, (P,) in [0, 1].
        labels: 1 malignant, 0 benign, (P,).
        attributes: What the manifest says of each patient, P mappings; missing columns are no groups.
        wanted: ``evaluation.subgroups`` of the study.
        bins: ``evaluation.bins``.
        min_cell: Smallest number of patients of a class in a group, unless none.
        together: How many neighbouring scores are told as one (:func:`common.evaluation.scores.coarsened`).
        admits: Says of the groups (P,) of one attribute whether they may leave too, after those before; where not, the
            attribute does not leave.
    """
    scores, classes = coarsened(np.asarray(probabilities, dtype=np.float64), bins, together), np.asarray(labels)
    groups: dict[str, ScoreState] = {}
    for attribute in map(Attribute.parse, wanted):
        values = np.array([attribute.group(row.get(attribute.name, "")) for row in attributes], dtype=object)
        found = released(values, classes, min_cell)
        if not admits(found.values()):
            continue
        for value, members in found.items():
            name = f"{_slug(attribute.name)}={value}"
            groups[name] = ScoreState.of(scores[members], classes[members], bins)
    whole = ScoreState.of(scores, classes, bins)
    return ScoreState(whole.positives, whole.negatives, dict(list(groups.items())[:MAX_GROUPS]))


def are_asked_for(groups: Iterable[str], wanted: Sequence[str]) -> bool:
    """Returns whether a site may count these groups: of attributes of the study only, each with few enough values."""
    found = Counter(name.partition("=")[0] for name in groups)
    known = {_slug(attribute.name) for attribute in map(Attribute.parse, wanted)}
    return found.keys() <= known and max(found.values(), default=0) <= MAX_VALUES + 2


def released(values: NDArray[np.object_], labels: NDArray[np.generic], min_cell: int) -> dict[str, NDArray[np.bool_]]:
    """Returns the members (P,) of each group of one attribute that may leave; empty when none may.

    The groups cover all patients and do not overlap, so nothing is left to subtract.
    """
    members = {str(value): values == value for value in sorted(set(values.tolist()))}
    if set(members) <= {UNKNOWN}:
        return {}
    by_size = sorted(members, key=lambda value: (int(members[value].sum()), value))
    small = [value for value in by_size if not _fit(labels[members[value]], min_cell)]
    large = [value for value in by_size if value not in small and value != OTHER]
    small += [value for value in by_size if value == OTHER and value not in small]
    while len(large) > MAX_VALUES:
        small.append(large.pop(0))
    while small and large and not _fit(labels[_any(members, small)], min_cell):
        small.append(large.pop(0))
    if not large or (len(large) == 1 and not small and large[0] == UNKNOWN):
        return {}
    kept = {value: members[value] for value in sorted(large)}
    return kept | ({OTHER: _any(members, small)} if small else {})


def _fit(labels: NDArray[np.generic], min_cell: int) -> bool:
    malignant = int((labels == 1).sum())
    cells = (malignant, labels.size - malignant)
    return labels.size >= min_cell and all(cell == 0 or cell >= min_cell for cell in cells)


def _any(members: Mapping[str, NDArray[np.bool_]], names: Sequence[str]) -> NDArray[np.bool_]:
    union: NDArray[np.bool_] = np.logical_or.reduce([members[name] for name in names])
    return union


def _number(text: str) -> float | None:
    """Returns the number that a cell holds, with a decimal point or comma; None where it holds none."""
    point = re.sub(r"^([-+]?\d+),(\d{1,2}|\d{4,})$", r"\1.\2", text.strip())
    try:
        number = float(point)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _slug(text: str) -> str:
    """Returns the text as part of a group's name; what its letters cannot hold is a hash, so two values stay two."""
    plain = re.sub(r"[^a-z0-9.-]+", "_", text.lower()).strip("_")
    if not text.strip() or (len(plain) <= MAX_NAME and not is_lossy(text)):
        return plain
    return "_".join(filter(None, (plain[: MAX_NAME - HASH - 1].strip("_"), short_hash(text))))
