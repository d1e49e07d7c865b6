"""BI-RADS assessments as reports and tables write them: digits, letters of 4, or the atlas's own words."""

from __future__ import annotations

import re

WORDS = {
    "incomplete": "0",
    "negative": "1",
    "benign": "2",
    "probably benign": "3",
    "suspicious": "4",
    "low suspicion": "4A",
    "moderate suspicion": "4B",
    "high suspicion": "4C",
    "highly suggestive of malignancy": "5",
    "known biopsy proven malignancy": "6",
}
"""ACR BI-RADS Atlas, 5th edition (2013), the assessment categories."""
_WRITTEN = re.compile(
    r"(?P<name>bi-?\s?rads®?|category|cat\.?|[\s:_=-])*(?P<digit>[0-6])\s?(?P<letter>[abc])?(?P<rest>[\s:,;()-].*)?",
    re.I,
)
_NO_LETTER = re.compile(r"[^a-z]+")


def birads_grade(text: str) -> str:
    """Returns ``0`` to ``6``, or ``4A`` to ``4C``, of one assessment.

    Raises:
        ValueError: It says none, or its digit and its words contradict each other.

    >>> birads_grade("BI-RADS 4a"), birads_grade("Birads: 2 (benign)"), birads_grade("Probably benign")
    ('4A', '2', '3')
    """
    match = _WRITTEN.fullmatch(text.strip())
    said = WORDS.get(_NO_LETTER.sub(" ", (match["rest"] or "" if match else text).lower()).strip())
    if match is None:
        if said is None:
            raise ValueError(f"BI-RADS {text!r}; expected 0 to 6, 4A to 4C or a word of the atlas")
        return said
    digit, letter = match["digit"], (match["letter"] or "").upper()
    if (letter and digit != "4") or (match["rest"] and _NO_LETTER.sub("", match["rest"].lower()) and said is None):
        raise ValueError(f"BI-RADS {text!r}; expected one assessment")
    if said is not None and said[0] != digit:
        raise ValueError(f"BI-RADS {text!r} contradicts itself")
    return digit + letter
