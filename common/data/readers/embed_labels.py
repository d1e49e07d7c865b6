"""EMBED's label of a breast in an exam, from the rows of its findings (README of the open data, sections VI and VIII).

``path_severity`` is the worst pathology of a finding: 0 invasive cancer, 1 non-invasive cancer, 2 high-risk lesion,
3 borderline lesion, 4 benign, 5 negative, 6 non-breast cancer. ``asses`` is its BI-RADS in letters, no diagnosis.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping

from common.data.readers.rows import Row, whole_number

Breast = tuple[str, str, str]
"""Patient, exam, side (L or R)."""
CANCER, BENIGN, NEGATIVE = "cancer", "benign pathology", "no pathology, BI-RADS 1 or 2"
LABELS = {CANCER: 1, BENIGN: 0, NEGATIVE: 0}
SUSPICION = "BI-RADS 4 to 6 without pathology"
UNSIDED = "pathology whose side is not told or contradicts its finding's"
UNKNOWN = "a path_severity other than 0 to 6"
ODD_SIDE = "a finding whose side is other than L, R and B"
OPEN = (SUSPICION, UNSIDED, UNKNOWN, ODD_SIDE)
"""May be cancer: what else a patient has is then no certain label 0."""
RISK = "a high-risk or borderline lesion (path_severity 2 or 3)"
ELSEWHERE = "a cancer that is no breast cancer (path_severity 6)"
UNFINISHED = "BI-RADS 0 or 3 without pathology"
UNTOLD = "neither pathology nor a known BI-RADS"
_SIDES = {"L": ("L",), "R": ("R",), "B": ("L", "R"), "": ("L", "R")}
_SEVERITY = {
    "0": CANCER, "1": CANCER, "2": RISK, "3": RISK, "4": BENIGN, "5": BENIGN, "6": ELSEWHERE,
}  # fmt: skip
_ASSESSMENT = {
    "N": NEGATIVE, "B": NEGATIVE, "A": UNFINISHED, "P": UNFINISHED, "S": SUSPICION, "M": SUSPICION, "K": SUSPICION,
}  # fmt: skip
_ORDER = (CANCER, UNKNOWN, ODD_SIDE, UNSIDED, RISK, ELSEWHERE, SUSPICION, UNFINISHED, UNTOLD, BENIGN, NEGATIVE)


@dataclasses.dataclass(frozen=True, slots=True)
class Breasts:
    """Breast -> :data:`CANCER`, :data:`BENIGN`, :data:`NEGATIVE`, or why it has no label; and whose labels are open."""

    told: Mapping[Breast, str]
    open: frozenset[str]


def label_breasts(rows: Iterable[Row]) -> Breasts:
    """Returns what each breast of each exam has: cancer if one finding has, else the worst doubt, else no cancer.

    A finding of one side counts for that breast, one of both or of no side for both; pathology counts for ``bside``.

    Raises:
        ValueError: An id is no whole number.
    """
    found: dict[Breast, set[str]] = defaultdict(set)
    for row in rows:
        for side, what in _sides_of(row).items():
            found[whole_number(row["empi_anon"]), whole_number(row["acc_anon"]), side].add(what)
    told = {breast: min(what, key=_ORDER.index) for breast, what in found.items()}
    return Breasts(told, frozenset(patient for (patient, _, _), what in found.items() if what & {*OPEN}))


def _sides_of(row: Row) -> dict[str, str]:
    """Returns side -> what a finding's row says of that breast."""
    side, tissue = row["side"].upper(), row.get("bside", "").upper()
    if side not in _SIDES or tissue not in _SIDES:
        return dict.fromkeys(("L", "R"), ODD_SIDE)
    severity = _severity(row["path_severity"])
    seen = _ASSESSMENT.get(row["asses"].upper(), UNTOLD)
    if not severity:
        return dict.fromkeys(_SIDES[side], seen)
    if severity == UNKNOWN:
        return dict.fromkeys(_SIDES[side], UNKNOWN)
    of = {*_SIDES[tissue or side]} & {*_SIDES[side]}
    if len(of) != 1 or tissue == "B":
        return dict.fromkeys(("L", "R"), UNSIDED)
    return {each: severity if each in of else seen for each in _SIDES[side]}


def _severity(text: str) -> str:
    try:
        return _SEVERITY.get(whole_number(text), UNKNOWN) if text else ""
    except ValueError:
        return UNKNOWN
