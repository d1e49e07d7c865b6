"""Two models on the same exams: where they part, and which of them was right there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.inference.record import InferenceRecord
from common.monitoring.labels import Label, Source, current
from common.monitoring.reference import one_an_exam


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """One exam that both models have answered; ``malignant`` is None while nobody knows."""

    exam: str
    active: InferenceRecord
    shadow: InferenceRecord
    malignant: bool | None

    @property
    def discordant(self) -> bool:
        """Whether they are on different sides of their thresholds."""
        return self.active.above_threshold != self.shadow.above_threshold


def pairs(
    records: Sequence[InferenceRecord], active: str, shadow: str, labels: Iterable[Label], source: Source
) -> tuple[Pair, ...]:
    """Returns the first exam of each patient that both packages have answered, in the order of the exams.

    Args:
        records: All of the site.
        active: Digest of the package in use.
        shadow: Digest of the one in shadow.
        labels: All that the site was told.
        source: Whose labels count.
    """
    mine, theirs = (
        {one.exam: one for one in one_an_exam(r for r in records if r.model == digest)} for digest in (active, shadow)
    )
    known = {label.exam: label.malignant for label in current(labels).values() if label.source == source}
    found: dict[str, Pair] = {}
    for exam, record in mine.items():
        other = theirs.get(exam)
        if other is not None and not record.abstained and not other.abstained:
            found.setdefault(record.patient, Pair(exam, record, other, known.get(exam)))
    return tuple(found.values())


def mcnemar(found: Sequence[Pair]) -> dict[str, Any]:
    """Returns how often each model alone was right where they part, and the exact two-sided p that both are as good.

    Among the labelled discordant pairs the number that favours one is binomial with 1/2 (McNemar, Psychometrika 12:153,
    1947, in its exact form). Labels of the other pairs tell nothing here, so only these need be asked for.
    """
    apart = [pair for pair in found if pair.discordant]
    told = [pair for pair in apart if pair.malignant is not None]
    better = {
        name: {"active": _right(told, malignant, shadow=False), "shadow": _right(told, malignant, shadow=True)}
        for name, malignant in (("malignant", True), ("benign", False))
    }
    return {
        "pairs": len(found), "discordant": len(apart), "labelled": len(told),
        "right_alone": better, "p": {name: _p(counts) for name, counts in better.items()},
        "to_label": [pair.exam for pair in apart if pair.malignant is None],
    }  # fmt: skip


def _right(told: Sequence[Pair], malignant: bool, *, shadow: bool) -> int:
    records = [pair.shadow if shadow else pair.active for pair in told if pair.malignant is malignant]
    return sum(record.above_threshold is malignant for record in records)


def _p(counts: Mapping[str, int]) -> float | None:
    from scipy.stats import binomtest

    total = sum(counts.values())
    return float(binomtest(counts["shadow"], total, 0.5).pvalue) if total else None
