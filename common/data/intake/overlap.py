"""Do two hospitals hold the same women or the same pictures? Only how many, and the hub learns nothing else.

The hospitals share a secret key that the hub never has. Each turns its patients' identifiers and its pictures into
keyed hashes; equal ones are counted. Without the key a hash tells nothing; with it, a hospital can try identifiers that
it guesses, so this protects against the hub and not against a member of the consortium. Hashes of nobody fill each list
up to a round number; who sees lists of two days under one key sees how many came and went. A woman whose identifier
differs between hospitals is not found; that identifiers differ by leading zeros only is, for spreadsheets drop them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.data.intake.identifiers import bare
from common.data.manifest import Dataset
from common.errors import DataError, TrustError

SCHEMA_VERSION = 2
"""1 had no identifiers without leading zeros."""
KEY_BYTES = 32
ROUND = 64
"""Lists are filled up to a multiple of this."""
SIDE = 6
MOST = 1_000_000
KINDS = ("patients", "bare", "images")


def new_key() -> str:
    """Returns a fresh key, hex; one hospital makes it and hands it to the others, never to the hub."""
    return secrets.token_hex(KEY_BYTES)


def read_key(text: str) -> bytes:
    """Returns the key.

    Raises:
        TrustError: It is not 32 bytes in hex.
    """
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise TrustError(f"The overlap key is not {KEY_BYTES} bytes in hex; make one with: oncofed-site overlap key")
    return key


def overlap_file(dataset: Dataset, key: bytes, site: str) -> dict[str, Any]:
    """Returns what a site hands in: keyed hashes of its patients and pictures, sorted and filled up."""
    patients = [f"patient|{patient.strip().casefold()}" for patient in dataset.patients()]
    pictures = _pictures(dataset) if dataset.kind == "image" else []
    said = {"schema_version": SCHEMA_VERSION, "site": site, "key_check": _hash(key, "key check")}
    bare_ones = [f"bare|{bare(patient)}" for patient in dataset.patients()]
    texts = {"patients": patients, "bare": bare_ones, "images": pictures}
    return said | {kind: _filled(key, f"{site}|{kind}", found) for kind, found in texts.items()}


def overlaps(files: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns for each pair of sites how many ``patients`` and ``images`` both hold.

    ``but_for_zeros`` are the patients of both whose identifiers are the same only without leading zeros.

    Raises:
        DataError: A file is no such file, or two are of one site.
        TrustError: They were made with different keys.
    """
    for document in files:
        _check(document)
    names = [document["site"] for document in files]
    if len(files) < 2 or len(set(names)) < len(names):
        raise DataError("Expected the overlap files of two or more different sites")
    if len({document["key_check"] for document in files}) > 1:
        raise TrustError("The overlap files were made with different keys; the hospitals must share one")
    return [{"sites": [one["site"], other["site"]], **_common(one, other)} for one, other in combinations(files, 2)]


def _common(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, int]:
    patients, bare_ones, images = (len({*one[kind]} & {*other[kind]}) for kind in KINDS)
    return {"patients": patients, "but_for_zeros": max(0, bare_ones - patients), "images": images}


def picture_hash(image: NDArray[np.float32]) -> str:
    """Returns 36 bits of which of neighbouring places is brighter: the same for a picture that was saved again."""
    grey = image if image.ndim == 2 else np.ascontiguousarray(image.mean(2))
    small = np.asarray(Image.fromarray(grey).resize((SIDE + 1, SIDE), Image.Resampling.BOX))
    return "".join("01"[int(bit)] for bit in (small[:, 1:] > small[:, :-1]).ravel())


def _pictures(dataset: Dataset) -> list[str]:
    found = set()
    for record in dataset.records:
        try:
            found.add(f"image|{picture_hash(dataset.read(record.image))}")
        except DataError:
            continue  # the checks of the data name it
    return sorted(found)


def _hash(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:32]


def _filled(key: bytes, whose: str, texts: Iterable[str]) -> list[str]:
    """Fills up with the same hashes whenever it is asked: what two lists have in common would be the true ones."""
    found, number = {_hash(key, text) for text in texts}, 0
    while len(found) % ROUND:
        found.add(_hash(key, f"filled|{whose}|{number}"))
        number += 1
    return sorted(found)


def _check(document: Mapping[str, Any]) -> None:
    lists = [document.get(kind) for kind in KINDS]
    sound = all(
        isinstance(found, list) and len(found) <= MOST and all(isinstance(h, str) for h in found) for found in lists
    )
    if document.get("schema_version") != SCHEMA_VERSION or not isinstance(document.get("site"), str) or not sound:
        raise DataError("This is no overlap file; ask the site for: oncofed-site overlap export")


def _is_list(found: object) -> bool:
    return isinstance(found, list) and len(found) <= MOST and all(isinstance(each, str) for each in found)
