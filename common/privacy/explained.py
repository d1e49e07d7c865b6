"""Whether the rows that a ledger had after its backup can all be those of studies that are known.

Whoever has seen a later head knows how many rows the ledger had. A study writes a bounded number of them, so more rows
than the known studies can have written are those of a study that nobody has named. The count is a net, no proof: a
short study hides in the slack of a longer one, so it stays the officer's duty to name every study that may have run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from common.errors import DataError
from common.privacy.exposure import Row, charges_in
from common.privacy.pricing import Promise
from common.trust.journal import Head

NOTES_OF_A_STUDY = 3
"""Rows beside its charges: its reservation, the cohort that it began with, and its release."""
NOTES = 5
"""Rows beside those of studies: a cohort, scored validation patients, scored test patients, an earlier restore, and
the unbounded row that it may have written."""
NOTES_OF_NOISED = 2
"""More rows of a study that counts scores with noise: its validation and its test patients."""


def check_explained(
    rows: Sequence[Row], heads: Iterable[Head], studies: Sequence[Promise], others: Sequence[Row] = ()
) -> None:
    """Checks that each head is a row of ``rows``, or lies so little after them that the studies explain it.

    Args:
        rows: What is left of the ledger.
        heads: Last rows that somebody has seen.
        studies: Every study that is known, with all the charges that it can reach.
        others: Signed rows of the ledger that do not go on from ``rows``; what they say is charged.

    Raises:
        DataError: A head that is not among ``rows`` lies before their end, or too far after it.
    """
    known = {(row["seq"], row["digest"]) for row in rows}
    most = len(rows) + len(others) + _rows_of(studies, [*rows, *others])
    for head in heads:
        if head.seq and (head.seq, head.digest) not in known and not len(rows) < head.seq <= most:
            raise DataError(
                f"The ledger was seen with a row {head.seq} that this backup does not have, and the studies that are "
                f"known explain {most} rows at most: a study has run that nobody has named. Name each study that may "
                "have run since the backup with --study FILE, or give the account of these patients up for good with "
                "--assume-unbounded"
            )


def _rows_of(studies: Sequence[Promise], rows: Sequence[Row]) -> int:
    """Returns how many more rows the studies can have written; without a study none are explained."""
    done = Counter(charge.study for charge in charges_in(rows))
    own = [max(0, study.charges - done[study.study]) + _evaluations(study) + NOTES_OF_A_STUDY for study in studies]
    return sum(own) + NOTES if own else 0


def _evaluations(study: Promise) -> int:
    return study.evaluations + NOTES_OF_NOISED if study.evaluations else 0
