"""Identifiers of patients as text: which differ by leading zeros only, which are nobody's, which are broken."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

NOBODY = frozenset({
    "anon", "anonym", "anonymous", "anonymized", "anonymised", "anonymisiert", "anonimo", "anónimo", "deidentified",
    "de-identified", "unknown", "unbekannt", "none", "null", "nan", "na", "n/a", "nil", "test", "dummy", "removed",
    "redacted", "patient", "patientid", "no id", "noid", "empty", "default", "-", "?", "匿名",
})  # fmt: skip
"""What anonymisers and devices write for everybody."""
_BROKEN = re.compile(r"[-+]?\d(\.\d+)?[eE]\+\d+|#+|#(N/A|REF!|VALUE!|NAME\?)")
_NUMBER = re.compile(r"(?P<before>[^\d]*?)0*(?P<digits>\d+)(\.0+)?")


def is_nobody(patient: str) -> bool:
    """Returns whether the identifier is blank, a word for nobody, or crossed out.

    >>> is_nobody("ANON"), is_nobody("XXXX"), is_nobody("0000")
    (True, True, False)
    """
    text = unicodedata.normalize("NFKC", patient).strip().casefold()
    return not text or text in NOBODY or (set(text) <= set("x-_.*? "))


def is_broken(patient: str) -> bool:
    """Returns whether a spreadsheet turned the identifier into a number of few digits or an error.

    >>> is_broken("1.23457E+11"), is_broken("12E4")
    (True, False)
    """
    return _BROKEN.fullmatch(patient.strip()) is not None


def bare(patient: str) -> str:
    """Returns the identifier without what spreadsheets and people lose: case, blanks, leading zeros, ``.0``.

    >>> bare("000123"), bare("P-007"), bare("123.0")
    ('123', 'p-7', '123')
    """
    text = "".join(unicodedata.normalize("NFC", patient).casefold().split())
    match = _NUMBER.fullmatch(text)
    return f"{match['before']}{match['digits']}" if match else text


def alike(patients: Iterable[str]) -> list[tuple[str, ...]]:
    """Returns the groups of different identifiers that are one when bare, each sorted."""
    groups: dict[str, set[str]] = defaultdict(set)
    for patient in patients:
        groups[bare(patient)].add(unicodedata.normalize("NFC", patient))
    return [tuple(sorted(group)) for _, group in sorted(groups.items()) if len(group) > 1]
