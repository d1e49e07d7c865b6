"""What the labels that have come say of the answers: counts, rates with limits, and bets against too many errors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.evaluation.intervals import wilson, z_of
from common.inference.record import InferenceRecord
from common.monitoring.alarm import Alarm, Claim
from common.monitoring.eprocess import bet, smallest_rate
from common.monitoring.labels import SOURCES, Label, Source, current
from common.monitoring.rules import Rules


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """An answer that has a label: calibrated probability, whether it is above the threshold, and what was found."""

    probability: float
    above: bool
    malignant: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """One source's labels beside the answers.

    Attributes:
        cases: In the order in which their labels came to hold.
        unanswered: Labelled exams for which the model gave no answer; in no rate below.
    """

    source: Source
    cases: tuple[Case, ...]
    unanswered: int

    def to_json(self) -> dict[str, Any]:
        """Returns counts, ``sensitivity`` and ``specificity`` with 95 % limits, and calibration in the large.

        The latter: observed less expected share of malignant exams, with limits from ``sum p (1 - p)`` as the variance
        of their number (Spiegelhalter, Stat Med 5:421, 1986). None where there is no case.
        """
        counts = {
            "malignant": sum(case.malignant for case in self.cases),
            "above": sum(case.above for case in self.cases),
            "true_positives": sum(case.malignant and case.above for case in self.cases),
            "true_negatives": sum(not case.malignant and not case.above for case in self.cases),
        }
        benign = len(self.cases) - counts["malignant"]
        return {
            "source": self.source, "labels": len(self.cases) + self.unanswered, "unanswered": self.unanswered,
            "answered": len(self.cases), **counts,
            "sensitivity": _rate(counts["true_positives"], counts["malignant"]),
            "specificity": _rate(counts["true_negatives"], benign),
            "agreement": _rate(counts["true_positives"] + counts["true_negatives"], len(self.cases)),
            "observed_less_expected": _in_the_large(self.cases),
        }  # fmt: skip


def outcomes(records: Iterable[InferenceRecord], labels: Iterable[Label]) -> tuple[Outcome, ...]:
    """Returns one outcome a source.

    Args:
        records: Of one model, one an exam.
        labels: All that the site was ever told, in their order.
    """
    by_exam = {record.exam: record for record in records}
    held = [(label, by_exam[label.exam]) for label in current(labels).values() if label.exam in by_exam]
    return tuple(
        Outcome(
            source,
            tuple(_case(label, record) for label, record in held if label.source == source and not record.abstained),
            sum(label.source == source and record.abstained for label, record in held),
        )
        for source in SOURCES
    )


def verified(records: Sequence[InferenceRecord], labels: Iterable[Label]) -> dict[str, dict[str, float | int | None]]:
    """Returns how many answers have a biopsy or an interval cancer's label, above and below the threshold apart.

    Biopsies go to those whom somebody recalled, so what is known is known of chosen exams.
    """
    proven = {label.exam for label in current(labels).values() if label.source != "reader"}
    found: dict[str, dict[str, float | int | None]] = {}
    for side, above in (("above", True), ("below", False)):
        exams = [
            record.exam in proven for record in records if not record.abstained and record.above_threshold == above
        ]
        found[side] = {
            "answers": len(exams),
            "verified": sum(exams),
            "share": sum(exams) / len(exams) if exams else None,
        }
    return found


def judged(found: Sequence[Outcome], rules: Rules) -> tuple[tuple[Claim, ...], tuple[Alarm, ...]]:
    """Returns what the bets promise and which of them have alarmed.

    Together they alarm at any time with a probability of at most ``rules.alpha`` while no rate is above what is
    tolerated: each has an equal part of it (Bonferroni).
    """
    bets = [(outcome, *one) for outcome in found for one in _bets(outcome, rules)]
    claims, alarms = [], []
    for outcome, measure, errors, tolerated in bets:
        claim, alarm = _judge(outcome.source, measure, errors, tolerated, rules.alpha / len(bets), rules.alpha)
        claims.append(claim)
        alarms += [alarm] if alarm else []
    return tuple(claims), tuple(alarms)


def not_judged(rules: Rules) -> tuple[str, ...]:
    """Returns in words which rates are told only, as nobody said what is tolerated."""
    named: Mapping[str, float | None] = {
        "miss_rate": rules.miss_rate, "false_positive_rate": rules.false_positive_rate,
        "disagreement": rules.disagreement,
    }  # fmt: skip
    untold = [name for name, value in named.items() if value is None]
    return tuple(f"{name} is not tested: monitor.yaml does not say what is tolerated" for name in untold)


def _bets(outcome: Outcome, rules: Rules) -> list[tuple[str, list[int], float]]:
    if outcome.source == "reader":
        differs = [int(case.above != case.malignant) for case in outcome.cases]
        return [("disagreement", differs, rules.disagreement)] if rules.disagreement else []
    misses = [int(not case.above) for case in outcome.cases if case.malignant]
    called = [int(case.above) for case in outcome.cases if not case.malignant]
    return [
        *([("miss rate", misses, rules.miss_rate)] if rules.miss_rate else []),
        *([("false positive rate", called, rules.false_positive_rate)] if rules.false_positive_rate else []),
    ]


def _judge(
    source: Source, measure: str, errors: list[int], tolerated: float, alpha: float, together: float
) -> tuple[Claim, Alarm | None]:
    found, smallest = bet(errors, tolerated, alpha), smallest_rate(len(errors), tolerated, alpha)
    claim = Claim(
        stream="outcome", measure=f"{measure} ({source})", rule="betting e-process",
        false_alarms=f"at most {alpha:.3g} over all time, at each look ({together:.3g} for all outcome tests together)",
        smallest=f"a rate of {smallest:.2f} instead of {tolerated:.2f} with power 0.8, in {len(errors)} labels"
        if smallest else f"nothing yet: {len(errors)} labels are too few for any rate",
    )  # fmt: skip
    if found.alarm is None:
        return claim, None
    words = f"{sum(errors)} of {len(errors)} where {tolerated:.2f} is tolerated; evidence {found.evidence:.3g} to 1"
    return claim, Alarm(claim=claim, found=words, at=f"label {found.alarm}")


def _case(label: Label, record: InferenceRecord) -> Case:
    assert record.probability is not None and record.above_threshold is not None  # as it did not abstain
    return Case(record.probability, record.above_threshold, label.malignant)


def _rate(successes: int, total: int) -> dict[str, float] | None:
    found = wilson(successes, total)
    return None if found is None else {"value": found.value, "low": found.low, "high": found.high}


def _in_the_large(cases: Sequence[Case]) -> dict[str, float] | None:
    if not cases:
        return None
    n = len(cases)
    value = sum(case.malignant - case.probability for case in cases) / n
    spread = z_of(0.95) * math.sqrt(sum(case.probability * (1 - case.probability) for case in cases)) / n
    return {"value": value, "low": value - spread, "high": value + spread}
