"""Fingerprints know a patient again and tell nothing else."""

from __future__ import annotations

import unicodedata

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from common.errors import DataError
from common.privacy.fingerprints import cohort_id, fingerprints, memberships
from common.trust.signing import SiteKey

KEY, OTHER = SiteKey(Ed25519PrivateKey.from_private_bytes(bytes(32))), SiteKey(Ed25519PrivateKey.generate())
Patients = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6, unique=True)


@given(Patients)
def test_order_repetition_and_composition_do_not_matter(patients: list[str]) -> None:
    shuffled = [unicodedata.normalize("NFD", name) for name in sorted(patients * 2)]
    assert fingerprints(KEY, patients) == fingerprints(KEY, shuffled)


@given(Patients)
def test_distinct_patients_stay_distinct_and_unreadable(patients: list[str]) -> None:
    distinct = {unicodedata.normalize("NFC", name) for name in patients}
    prints = fingerprints(KEY, patients)
    assert len(prints) == len(distinct)
    assert not set(prints) & set(fingerprints(OTHER, patients))
    assert cohort_id(KEY, prints) != cohort_id(OTHER, prints)
    assert cohort_id(KEY, prints) == cohort_id(KEY, reversed(prints))


@given(Patients, Patients)
def test_two_cohorts_have_one_name_only_when_they_are_one(left: list[str], right: list[str]) -> None:
    one, two = fingerprints(KEY, left), fingerprints(KEY, right)
    assert (cohort_id(KEY, one) == cohort_id(KEY, two)) == (one == two)


def test_nobody_is_no_cohort() -> None:
    with pytest.raises(DataError, match="at least one patient"):
        fingerprints(KEY, [])


@given(st.dictionaries(st.sampled_from("xyz"), st.sets(st.integers(0, 5), min_size=1), min_size=1))
def test_memberships_are_those_of_each_patient(cohorts: dict[str, set[int]]) -> None:
    named = {name: {str(member) for member in members} for name, members in cohorts.items()}
    for cohort, members in named.items():
        naive = {frozenset(name for name in named if patient in named[name]) for patient in members}
        assert memberships(named, cohort) == naive
