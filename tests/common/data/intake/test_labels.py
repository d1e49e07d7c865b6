"""A label is one beyond doubt, or none: whole words, the right column, the worst of several rows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.intake.choices import Choices
from common.data.intake.labels import label_column, worst
from common.data.intake.paths import label_of_path
from common.data.intake.words import BENIGN, DOUBTS, MALIGNANT, NEGATIONS, label_of_cell
from common.errors import DataError

SAID = st.sampled_from(sorted(MALIGNANT | BENIGN))
SEPARATOR = st.sampled_from(["-", "_", " ", "__"])


def rows(**columns: Sequence[str]) -> list[dict[str, str]]:
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


@given(SAID, st.sampled_from(sorted(NEGATIONS | DOUBTS)), SEPARATOR, st.booleans())
def test_a_negated_or_doubted_word_is_no_label(word: str, other: str, sign: str, before: bool) -> None:
    text = f"{other}{sign}{word}" if before else f"{word}{sign}{other}"
    assert label_of_cell(text) is None
    assert label_of_path(f"{text}/scan.png", Choices())[0] is None


@given(SAID)
def test_a_word_counts_in_any_letter_case(word: str) -> None:
    expected = 1 if word in MALIGNANT else 0
    assert label_of_cell(f" {word}. ") == expected
    assert label_of_cell(word.upper()) in (expected, None)


@pytest.mark.parametrize("text", ["malignant?", "nonmalignant", "malignant/benign", "benign or malignant", "BI-RADS 4"])
def test_what_only_holds_a_word_is_no_label(text: str) -> None:
    assert label_of_cell(text) is None


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("malignant/x.png", 1), ("Benign/x.png", 0), ("train/Benign cases/x.png", 0), ("benigno/x.png", 0),
        ("maligno/x.png", 1), ("恶性/x.png", 1), ("non-malignant/x.png", None), ("not_malignant_followup/x.png", None),
        ("malignant_followup/x.png", None), ("benign/malignant/x.png", None),
        ("benign_vs_malignant/benign/x.png", None),
        ("cancer/x.png", None), ("normal/x.png", None), ("1/x.png", None), ("breast cancer/benign/x.png", 0),
        ("malignant/non-malignant (3).png", None), ("a/malignant (3).png", 1), ("gutartig/nicht bösartig 1.png", None),
    ],
)  # fmt: skip
def test_folders_tell_what_they_tell_for_certain(path: str, label: int | None) -> None:
    assert label_of_path(path, Choices())[0] == label


def test_named_folders_tell_what_was_said_and_others_nothing() -> None:
    chosen = Choices(malignant=("cancer",), benign=("normal", "1"))
    told = [label_of_path(path, chosen)[0] for path in ("cancer/a.png", "normal/a.png", "1/a.png", "malignant/a.png")]
    assert told == [1, 0, 0, None]


@given(st.lists(st.sampled_from([0, 1, None]), max_size=6))
def test_of_several_rows_one_malignant_is_enough_and_one_open_keeps_benign_from_being_told(
    labels: list[int | None],
) -> None:
    found = worst(labels)
    assert (found == 1) == (1 in labels)
    assert (found == 0) == (bool(labels) and all(label == 0 for label in labels))
    assert worst(labels[::-1]) == found


@given(st.permutations(["menopausal", "er_status", "palpable", "biopsy_result", "birads"]))
def test_the_column_of_words_is_the_label_wherever_it_stands(order: list[str]) -> None:
    cells = {
        "menopausal": ["0", "1", "1"], "palpable": ["yes", "no", "no"],
        "er_status": ["positive", "negative", "positive"],
        "biopsy_result": ["benign", "malignant", "benign"], "birads": ["0", "1", "0"],
    }  # fmt: skip
    column = label_column(rows(**{name: cells[name] for name in order}), Choices())
    assert column.name == "biopsy_result"
    assert [column.label(row) for row in rows(**cells)] == [0, 1, 0]


@pytest.mark.parametrize(
    "columns",
    [
        {"age": ["40", "50"], "palpable": ["0", "1"], "biopsy_result": ["B2", "B5b"]},
        {"biopsy": ["benign", "malignant"], "surgery_result": ["malignant", "malignant"]},
        {"birads": ["0", "1"]},
        {"path_severity": ["0", "1"]},
        {"target": ["0", "1"]},
        {"benign": ["0", "1"]},
        {"interval_cancer": ["0", "1"]},
        {"previous_biopsy": ["benign", "malignant"], "biopsy": ["B2", "B5"]},
        {"sex": ["M", "F"], "density": ["a", "b"]},
        {"diagnosis": ["malignant", "benign"], "malignant": ["0", "1"]},
    ],
)
def test_in_doubt_the_columns_are_listed_with_their_values(columns: dict[str, list[str]]) -> None:
    with pytest.raises(DataError, match="--label-column") as refused:
        label_column(rows(**columns), Choices())
    assert all(name in str(refused.value) for name in columns)


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        ({"cancer": ["0", "1"], "biopsy": ["1", "1"]}, "cancer"),
        ({"label": ["1.0", "0.0"]}, "label"),
        ({"diagnosis": ["M", "B"]}, "diagnosis"),
        ({"diagnosis": ["malignant", "benign"], "malignant": ["1", "0"]}, "diagnosis"),
        ({"Befund": ["bösartig", "gutartig"]}, "Befund"),
        ({"x": ["malignant", "benign"], "density": ["1", "0"]}, "x"),
    ],
)
def test_without_doubt_a_column_is_chosen(columns: dict[str, list[str]], chosen: str) -> None:
    assert label_column(rows(**columns), Choices()).name == chosen


def test_a_person_decides_by_naming_the_column_and_its_words() -> None:
    table = rows(biopsy=["B2", "B5b", "B3"], birads=["0", "1", "2"])
    column = label_column(table, Choices(label_column="biopsy", malignant=("B5b",), benign=("B2",)))
    assert [column.label(row) for row in table] == [0, 1, None]
    with pytest.raises(DataError, match="--malignant and --benign"):
        label_column(table, Choices(label_column="birads"))
    with pytest.raises(DataError, match="Not in column biopsy: b5"):
        label_column(table, Choices(label_column="biopsy", malignant=("B5",)))
    with pytest.raises(DataError, match="no column histology"):
        label_column(table, Choices(label_column="histology"))
