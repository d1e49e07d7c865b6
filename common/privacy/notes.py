"""What a ledger keeps beside charges: accepted studies, the cohort that a study began with, patients that were scored.

Each function returns the row to add, or None where nothing is new, so that :meth:`Ledger.note` can ask it under its
lock. A patient is known by keyed fingerprints, and none of these rows leaves the site in words.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence, Set
from itertools import pairwise

from common.errors import BudgetExceeded, DataError
from common.privacy.exposure import Row, charges_in, cohorts_in, histories_of, worst_epsilon, worst_of
from common.privacy.pricing import Price, Promise, check_bounded, most_charges, promises_in, with_promises


def reservation(rows: Sequence[Row], cohort: str, price: Price, rounds: int, run: str) -> Row | None:
    """Returns the row that holds the budget of ``rounds`` rounds; None where it is held, or the run has begun to pay.

    Raises:
        BudgetExceeded: The study would pass a ceiling, or has been charged too often; says in which round.
    """
    charges = charges_in(rows)
    if any((charge.study, charge.run) == (price.study, run) for charge in charges):
        return None
    done = max(map(len, histories_of(rows, cohort, price.study)))
    if done + rounds > most_charges(rounds):
        raise BudgetExceeded(
            f"{done} rounds of this study of {rounds} were charged on these patients already; its rounds and a few for "
            "crashes are all that was agreed. To run it again, agree on it again under another name."
        )
    wanted = Promise(cohort, price.study, price.event, done + rounds, price.delta, price.accountant, price.evaluations)
    if wanted in promises_in(rows):
        return None
    _check_affordable(rows, cohort, price, rounds)
    return wanted.body()


def _check_affordable(rows: Sequence[Row], cohort: str, price: Price, rounds: int) -> None:
    check_bounded(rows, cohort, price)

    def after(more: int) -> float:
        held = with_promises(rows, cohort, price.study, [price.event] * more)
        return worst_of(held, price.delta, price.accountant)

    if not after(rounds) <= price.ceiling:
        met = bisect_left(range(1, rounds + 1), True, key=lambda more: not after(more) <= price.ceiling)
        raise BudgetExceeded(
            f"With what the cohort has spent and what is held for studies that were accepted before, the study would "
            f"end at epsilon {after(rounds):.3f} and pass the site's ceiling of {price.ceiling:g} in round {met + 1} "
            f"of {rounds}; nothing was charged. Shorten the study or lower its epsilon, release the budget of a study "
            "that will not run (oncofed-site study release DIGEST), or let the privacy officer raise the ceiling."
        )
    own = histories_of(rows, cohort, price.study)
    limit = price.study_ceiling
    if limit is not None and not worst_epsilon(own, [price.event] * rounds, price.delta, price.accountant) <= limit:
        raise BudgetExceeded(f"With what this study has spent it would pass the site's ceiling for one of {limit:g}")


def release(rows: Sequence[Row], study: str) -> Row | None:
    """Returns the row that gives back what is held for a study; None where nothing is."""
    held = any(promise.study == study for promise in promises_in(rows))
    return {"kind": "release", "study": study} if held else None


def release_everything(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows that give back what is held for any study."""
    return [{"kind": "release", "study": study} for study in dict.fromkeys(one.study for one in promises_in(rows))]


def cohort_seen(rows: Sequence[Row], study: str, digest: str) -> Row | None:
    """Returns the row that notes the cohort which a study begins with; None where it is the one that was noted last.

    Raises:
        DataError: It is another.
    """
    noted = _noted(rows, study)
    if noted and noted[-1] != digest:
        raise DataError(
            "The site's patients, their labels or their splits are not those that the study began with. If that is "
            f"meant, the privacy officer agrees to go on with: oncofed-site study agree {study}"
        )
    return None if noted else _manifest(study, digest)


def agreement(rows: Sequence[Row], study: str, digest: str) -> Row | None:
    """Returns the row with which a study goes on with this cohort; None where it is the one that was noted last.

    Raises:
        DataError: The study has not begun here.
    """
    if not is_begun(rows, study):
        raise DataError(f"No study {study} was charged here, so there is no cohort to agree to; see: ledger show")
    return None if _noted(rows, study)[-1] == digest else _manifest(study, digest)


def is_begun(rows: Sequence[Row], study: str) -> bool:
    """Returns whether the cohort of a study was noted."""
    return bool(_noted(rows, study))


def is_noted_last(rows: Sequence[Row], study: str, digest: str) -> bool:
    """Returns whether this cohort is the one that was noted for the study last."""
    return _noted(rows, study)[-1:] == [digest]


def cohort_changes(rows: Sequence[Row], study: str) -> int:
    """Returns how often the cohort of a study was changed after its first charge, and agreed to."""
    noted = _noted(rows, study)
    return sum(before != after for before, after in pairwise(noted))


def scored_patients(rows: Sequence[Row]) -> frozenset[str]:
    """Returns the fingerprints of all patients whose scores left in a histogram."""
    return frozenset(patient for row in rows if row["kind"] == "scored" for patient in row["patients"])


def exactly_scored(rows: Sequence[Row]) -> frozenset[str]:
    """Returns the fingerprints of all patients whose scores left in a histogram without noise."""
    exact = (row for row in rows if row["kind"] == "scored" and not row.get("noised"))
    return frozenset(patient for row in exact for patient in row["patients"])


def released_patients(rows: Sequence[Row]) -> frozenset[str]:
    """Returns those of :func:`exactly_scored` whose scores are known to have left: a restore supposes it of others."""
    return exactly_scored([row for row in rows if "run" not in row])


def trained_patients(rows: Sequence[Row]) -> frozenset[str]:
    """Returns the fingerprints of all patients of a cohort that a study was trained on."""
    spent = {row["cohort"] for row in rows if row["kind"] in ("charge", "unbounded")}
    return frozenset(patient for name, patients in cohorts_in(rows).items() if name in spent for patient in patients)


def scoring(rows: Sequence[Row], patients: Collection[str], *, noised: bool) -> Row | None:
    """Returns the row that remembers patients whose scores are about to leave; None where all are remembered.

    Who was scored with noise is noted once more when her scores leave without.
    """
    new = sorted(set(patients) - (scored_patients(rows) if noised else released_patients(rows)))
    return {"kind": "scored", "patients": new} | ({"noised": True} if noised else {}) if new else None


def check_sides(rows: Sequence[Row], train: Set[str], apart: Set[str]) -> None:
    """Refuses a cohort in which a patient has changed sides between training and validation or test.

    Scores leave without noise, so no epsilon tells what is known of a patient who was scored and then trained on; and
    a model that was trained on a patient is not tested by her.

    Raises:
        DataError: Says how many, and what to do.
    """
    moved, back = len(train & scored_patients(rows)), len(apart & trained_patients(rows))
    if moved or back:
        raise DataError(
            f"{moved} training patients were validated or tested on before, and {back} patients of validation and test "
            "were trained on before. Their split has changed: put split_seed and the shares in site.yaml back, or "
            "give every patient her old place in the manifest's split column, or leave these patients out."
        )


def _noted(rows: Sequence[Row], study: str) -> list[str]:
    return [row["members"] for row in rows if row["kind"] == "manifest" and row["study"] == study]


def _manifest(study: str, digest: str) -> Row:
    return {"kind": "manifest", "study": study, "members": digest}
