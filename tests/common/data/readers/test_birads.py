"""BI-RADS as it is written: digits, letters, words of the atlas, and what contradicts itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.readers.birads import WORDS, birads_grade


@given(
    name=st.sampled_from(["", "BI-RADS ", "BIRADS", "Birads: ", "BI-RADS-", "bi rads category ", "Cat. "]),
    grade=st.sampled_from(["0", "1", "2", "3", "4", "4A", "4b", "4 c", "5", "6"]),
)
def test_the_same_grade_under_every_name(name: str, grade: str) -> None:
    assert birads_grade(name + grade) == grade.upper().replace(" ", "")


@pytest.mark.parametrize("word", WORDS)
def test_words_of_the_atlas_alone_and_beside_their_digit(word: str) -> None:
    grade = WORDS[word]
    assert birads_grade(word.title()) == birads_grade(f"{grade} ({word})") == birads_grade(f"BI-RADS {grade}: {word}")
    assert birads_grade(word) == grade


@pytest.mark.parametrize(
    "text",
    ["", "7", "BI-RADS", "4D", "2A", "45", "BI-RADS 4 (benign)", "5 - probably benign", "4/5", "2 or 3", "not benign"],
)
def test_doubt_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="BI-RADS"):
        birads_grade(text)
