"""What a site remembers of its cohort: the one that each study began with, and on which side each patient was used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from common.privacy import notes
from common.privacy.exposure import Row
from common.privacy.ledger import Ledger

if TYPE_CHECKING:
    from client.site.hospital import Site


@dataclass(frozen=True, slots=True)
class _Members:
    """The site's patients as its ledger knows them.

    Attributes:
        digest: Keyed, of every patient's fingerprint, split and label, whatever their order.
        sides: Fingerprints by split.
    """

    digest: str
    sides: dict[str, frozenset[str]]

    @classmethod
    def of(cls, site: Site, ledger: Ledger) -> _Members:
        members = dict.fromkeys(site.cohort.train_patients, ("train", None)) | dict(site.cohort.members)
        rows = sorted([ledger.fingerprint(name), split, label] for name, (split, label) in members.items())
        sides = {name: frozenset(str(row[0]) for row in rows if row[1] == name) for name in ("train", "val", "test")}
        return cls(ledger.keyed(f"cohort:{json.dumps(rows)}"), sides)

    def check_sides(self, rows: Sequence[Row]) -> None:
        notes.check_sides(rows, self.sides["train"], self.sides["val"] | self.sides["test"])


def check_cohort(site: Site, ledger: Ledger, study: str) -> None:
    """Notes the cohort at the study's first charge, durably; later it must be that cohort, or one that was agreed to.

    Raises:
        DataError: It is another, or a patient has changed sides between training and validation or test.
    """
    ledger.note(partial(_begun, members=_Members.of(site, ledger), study=study))


def note_scored(site: Site, study: str, split: str, *, noised: bool = False) -> None:
    """Remembers, durably, the patients of a split before their scores leave, with noise or without.

    Raises:
        DataError: One of them was trained on, or the cohort is not the one that the study began with.
        LedgerError: The ledger cannot be written or believed; nothing may leave.
    """
    with Ledger(site.ledger_path) as ledger:
        ledger.note(partial(_scored, members=_Members.of(site, ledger), study=study, split=split, noised=noised))


def agree(site: Site, study: str) -> bool:
    """Lets a study go on with the cohort as it is now, durably; returns whether that was another than before.

    Raises:
        DataError: The study has charged nothing here yet, or a patient has changed sides.
    """
    with Ledger(site.ledger_path) as ledger:
        return ledger.note(partial(_agreed, members=_Members.of(site, ledger), study=study))


def is_another(site: Site, ledger: Ledger, study: str) -> bool:
    """Returns whether the cohort is another today than the one that was noted for the study last."""
    return not notes.is_noted_last(ledger.rows(), study, _Members.of(site, ledger).digest)


def _begun(rows: Sequence[Row], members: _Members, study: str) -> Row | None:
    members.check_sides(rows)
    return notes.cohort_seen(rows, study, members.digest)


def _scored(rows: Sequence[Row], members: _Members, study: str, split: str, noised: bool) -> Row | None:
    members.check_sides(rows)
    if notes.is_begun(rows, study):
        notes.cohort_seen(rows, study, members.digest)
    return notes.scoring(rows, members.sides[split], noised=noised)


def _agreed(rows: Sequence[Row], members: _Members, study: str) -> Row | None:
    members.check_sides(rows)
    return notes.agreement(rows, study, members.digest)
