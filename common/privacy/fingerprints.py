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
    if not patients:
        raise DataError("Expected at least one patient in the cohort, got none; offer patients before training")
    return tuple(sorted({fingerprint(key, patient) for patient in patients}))


def fingerprint(key: SiteKey, patient: str) -> str:
    """Returns the fingerprint of a patient, 64 hex digits."""
    return key.fingerprint(f"patient:{unicodedata.normalize('NFC', patient)}")


def cohort_id(key: SiteKey, prints: Collection[str]) -> str:
    """Returns the cohort's name: HMAC over its patients' fingerprints, whatever their order."""
    return key.fingerprint("cohort:" + ",".join(sorted(prints)))[:ID_DIGITS]


def memberships(cohorts: Mapping[str, Collection[str]], cohort: str) -> set[frozenset[str]]:
    """Returns the distinct sets of cohorts in which the patients of ``cohort`` are.

    Patients with the same set have the same history, so each set needs only one composition.
    """
    groups = [(frozenset([cohort]), set(cohorts[cohort]))]
    for name in cohorts.keys() - {cohort}:
        others = set(cohorts[name])
        inside = [(names | {name}, patients & others) for names, patients in groups]
        outside = [(names, patients - others) for names, patients in groups]
        groups = [(names, patients) for names, patients in inside + outside if patients]
    return {names for names, _ in groups}
