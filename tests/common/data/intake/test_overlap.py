"""Equal patients and pictures are counted, nothing else can be read off, and a wrong key is noticed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from common.data.intake.overlap import ROUND, new_key, overlap_file, overlaps, picture_hash, read_key
from common.data.manifest import Dataset, Record
from common.errors import DataError, TrustError

KEY = bytes(range(32))


def image(key: str) -> NDArray[np.float32]:
    if key.startswith("bad"):
        raise DataError("damaged")
    coarse = np.random.default_rng(int(key)).random((6, 7), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize((70, 60), Image.Resampling.BICUBIC))


def cohort(*patients: int) -> Dataset:
    return Dataset("x", tuple(Record(str(p), f"ID-{p}", p % 2) for p in patients), read=image)


@given(st.sets(st.integers(0, 40), min_size=1), st.sets(st.integers(0, 40), min_size=1))
def test_what_two_sites_share_is_counted(one: set[int], other: set[int]) -> None:
    files = [overlap_file(cohort(*one), KEY, "a"), overlap_file(cohort(*other), KEY, "b")]
    assert overlaps(files) == [
        {"sites": ["a", "b"], "patients": len(one & other), "but_for_zeros": 0, "images": len(one & other)}
    ]  # fmt: skip


def test_a_file_tells_neither_who_nor_exactly_how_many() -> None:
    document = overlap_file(cohort(1, 2, 3), KEY, "a")
    text = json.dumps(document)
    assert "ID-1" not in text and len(document["patients"]) == len(document["images"]) == ROUND
    other = overlap_file(cohort(1, 2, 3), bytes(32), "a")
    assert not {*document["patients"]} & {*other["patients"]}


def test_identifiers_are_compared_without_case_and_blanks() -> None:
    written = Dataset("x", (Record("1", " id-7 ", 0),), read=image)
    assert overlaps([overlap_file(cohort(7), KEY, "a"), overlap_file(written, KEY, "b")])[0]["patients"] == 1


def test_a_picture_saved_again_is_the_same_and_others_are_not() -> None:
    pictures = [image(str(seed)) for seed in range(200)]
    assert picture_hash(pictures[0] * np.float32(0.8)) == picture_hash(pictures[0])
    assert picture_hash(np.repeat(np.repeat(pictures[0], 2, 0), 2, 1)) == picture_hash(pictures[0])
    assert len({picture_hash(picture) for picture in pictures}) == 200


def test_unreadable_pictures_are_left_out() -> None:
    broken = Dataset("x", (Record("bad", "p", 0), Record("1", "q", 1)), read=image)
    assert overlaps([overlap_file(broken, KEY, "a"), overlap_file(cohort(1), KEY, "b")])[0]["images"] == 1


def test_what_cannot_be_compared_is_refused() -> None:
    one = overlap_file(cohort(1), KEY, "a")
    with pytest.raises(TrustError, match="different keys"):
        overlaps([one, overlap_file(cohort(1), bytes(32), "b")])
    with pytest.raises(DataError, match="two or more different sites"):
        overlaps([one, one])
    with pytest.raises(DataError, match="no overlap file"):
        overlaps([one, {"site": "b"}])


def test_keys_are_fresh_and_checked() -> None:
    assert len({new_key() for _ in range(5)}) == 5 and len(read_key(new_key())) == 32
    for text in ("", "zz", "00" * 31):
        with pytest.raises(TrustError, match="32 bytes"):
            read_key(text)


def test_identifiers_without_their_zeros_are_counted_apart() -> None:
    padded = Dataset("x", tuple(Record(str(n), f"{n:06d}", n % 2) for n in range(30)), read=image)
    stripped = Dataset(
        "x", tuple(Record(str(n), str(n) if n < 20 else f"{n:06d}", n % 2) for n in range(30)), read=image
    )
    (found,) = overlaps([overlap_file(padded, KEY, "a"), overlap_file(stripped, KEY, "b")])
    assert (found["patients"], found["but_for_zeros"]) == (10, 20)


def test_two_files_of_one_site_tell_no_more_than_one() -> None:
    """Before, what two files had in common were the true hashes, and so exactly how many patients there are."""
    assert overlap_file(cohort(1, 2, 3), KEY, "a") == overlap_file(cohort(1, 2, 3), KEY, "a")
