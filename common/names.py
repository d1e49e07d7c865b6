"""Names in every alphabet as names of plain letters, so that two that differ stay two.

What plain letters cannot hold is kept as a hash at the end, the same at every site.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable

HASH = 8
"""Hex digits at the end of a name: of 10,000 names two share them once in 86 times."""
SEPARATORS = " _-./,:;()[]'\"&#|\\"
"""Signs that part words and make no other name."""


def one_form(text: str) -> str:
    """Returns the text as it is compared: accents composed (NFC), blanks single, case folded.

    >>> one_form("Klinik  Nord ") == one_form("klinik nord")
    True
    """
    return unicodedata.normalize("NFC", " ".join(unicodedata.normalize("NFC", text).split()).casefold())


def is_lossy(text: str) -> bool:
    """Returns whether letters and digits of ASCII cannot hold the text: another alphabet, accents, or ``+`` and ``<``.

    >>> is_lossy("Köln"), is_lossy("GE Logiq 7")
    (True, False)
    """
    return any(not (sign.isascii() and sign.isalnum()) and sign not in SEPARATORS for sign in one_form(text))


def short_hash(text: str) -> str:
    """Returns eight hex digits of the SHA-256 of the text in one form."""
    return hashlib.sha256(one_form(text).encode()).hexdigest()[:HASH]


def slug(text: str) -> str:
    """Returns the text as a name of lower case letters, digits and single underscores; empty where it has no letter.

    What they cannot hold is kept as a hash, so names in other alphabets stay apart.

    >>> slug("GE Logiq 7 ")
    'ge_logiq_7'
    >>> slug("北京 1") == slug("上海 1")
    False
    """
    plain = plain_slug(text)
    if not any(sign.isalnum() for sign in text):
        return plain
    return "_".join(filter(None, (plain, short_hash(text)))) if is_lossy(text) else plain


def plain_slug(text: str) -> str:
    """Returns the text's plain letters and digits only, which two names may share.

    >>> plain_slug("Köln 1")
    'koln_1'
    """
    letters = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(sign for sign in letters if not unicodedata.combining(sign))
    return re.sub(r"[^a-z0-9]+", "_", bare).strip("_")


def slugs(texts: Iterable[str]) -> dict[str, str]:
    """Returns text -> its slug, with a hash where two had one slug that are not the same in :func:`one_form`."""
    forms: dict[str, set[str]] = defaultdict(set)
    every = sorted(set(texts))
    for text in every:
        forms[slug(text)].add(one_form(text))
    return {text: _apart(text, slug(text), forms[slug(text)]) for text in every}


def spelled_differently(texts: Iterable[str]) -> list[tuple[str, ...]]:
    """Returns the groups of texts that count as one name and are not written alike."""
    found: dict[str, set[str]] = defaultdict(set)
    for text in texts:
        found[one_form(text)].add(unicodedata.normalize("NFC", text))
    return [tuple(sorted(group)) for _, group in sorted(found.items()) if len(group) > 1]


def _apart(text: str, name: str, forms: Collection[str]) -> str:
    return f"{name}_{short_hash(text)}" if name and len(forms) > 1 and not is_lossy(text) else name
