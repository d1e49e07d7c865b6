"""Keyed fingerprints: how a ledger knows patients again without holding a name.

A fingerprint is HMAC-SHA256 under a key that never leaves the site, so a stolen ledger cannot be searched for a
patient number, and two hospitals' ledgers cannot be matched. Folders, studies and the order of patients do not enter.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping

from common.errors import DataError
from common.trust.signing import SiteKey

ID_DIGITS = 32
"""Hex digits of a cohort's name: 128 bits, beyond any chance meeting."""


def fingerprints(key: SiteKey, patients: Collection[str]) -> tuple[str, ...]:
    """Returns the sorted fingerprints of the distinct patients, 64 hex digits each.

    Identifiers that differ only in how a file system composes their accents are one patient.

    Raises:
        DataError: There is no patient.
    """
    names = {unicodedata.normalize("NFC", patient) for patient in patients}
    if not names:
        raise DataError("Expected at least one patient in the cohort, got none; offer patients before training")
    return tuple(sorted(key.fingerprint(f"patient:{name}") for name in names))


def cohort_id(key: SiteKey, prints: Collection[str]) -> str:
    """Returns the cohort's name: HMAC over its patients' fingerprints, whatever their order."""
    return key.fingerprint("cohort:" + ",".join(sorted(prints)))[:ID_DIGITS]


def memberships(cohorts: Mapping[str, Collection[str]], cohort: str) -> set[frozenset[str]]:
    """Returns the distinct sets of cohorts in which the patients of ``cohort`` are.

    Patients with the same set have the same history, so each set needs only one composition.
    """
    members: dict[str, set[str]] = {patient: set() for patient in cohorts[cohort]}
    for name, patients in cohorts.items():
        for patient in members.keys() & set(patients):
            members[patient].add(name)
    return {frozenset(names) for names in members.values()}
