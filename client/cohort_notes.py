"""What a site remembers of its cohort: the one that each study began with, and on which side each patient was used."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from common.privacy import notes
from common.privacy.ledger import Ledger

if TYPE_CHECKING:
    from client.site import Site


def check_cohort(site: Site, ledger: Ledger, study: str) -> None:
    """Notes the cohort at the study's first charge, durably; later it must be that cohort, or one that was agreed to.

    Raises:
        DataError: It is another, or a patient has changed sides between training and validation or test.
    """
    _check_sides(site, ledger)
    digest = cohort_digest(site, ledger)
    ledger.note(partial(notes.cohort_seen, study=study, digest=digest))


def note_scored(site: Site, study: str, split: str) -> None:
    """Remembers, durably, the patients of a split before their scores leave.

    Raises:
        DataError: One of them was trained on, or the cohort is not the one that the study began with.
        LedgerError: The ledger cannot be written or believed; nothing may leave.
    """
    with Ledger(site.ledger_path) as ledger:
        rows = ledger.rows()
        _check_sides(site, ledger)
        if notes.is_begun(rows, study):
            notes.cohort_seen(rows, study, cohort_digest(site, ledger))
        patients = ledger.fingerprints([name for name, (part, _) in site.cohort.members.items() if part == split])
        ledger.note(partial(notes.scoring, patients=patients))


def agree(site: Site, study: str) -> bool:
    """Lets a study go on with the cohort as it is now, durably; returns whether that was another than before.

    Raises:
        DataError: The study has charged nothing here yet, or a patient has changed sides.
    """
    with Ledger(site.ledger_path) as ledger:
        _check_sides(site, ledger)
        row = notes.agreement(ledger.rows(), study, cohort_digest(site, ledger))
        ledger.note(lambda rows: notes.agreement(rows, study, cohort_digest(site, ledger)))
    return row is not None


def cohort_digest(site: Site, ledger: Ledger) -> str:
    """Returns a keyed digest of every patient's fingerprint, split and label, whatever their order."""
    members = dict.fromkeys(site.cohort.train_patients, ("train", None)) | dict(site.cohort.members)
    rows = sorted([ledger.fingerprints([name])[0], *place] for name, place in members.items())
    return ledger.keyed(f"cohort:{json.dumps(rows)}")


def _check_sides(site: Site, ledger: Ledger) -> None:
    apart = [name for name, (part, _) in site.cohort.members.items() if part in ("val", "test")]
    train = frozenset(ledger.fingerprints(site.cohort.train_patients))
    notes.check_sides(ledger.rows(), train, frozenset(ledger.fingerprints(apart)))
