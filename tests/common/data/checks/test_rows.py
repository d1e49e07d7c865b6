"""Lines that are no data set are found, and what is left is one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.checks.rows import check_rows
from common.data.manifest import Dataset, Record
from common.data.pixels.images import ImageFiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(8):
        (tmp_path / f"{number}.png").touch()
    return tmp_path


def record(number: int, patient: str, label: int = 0, split: str = "", mask: str = "") -> Record:
    return Record(f"{number}.png", patient, label, split=split, mask=mask)


def codes(records: list[Record], folder: Path) -> dict[str, int]:
    return {finding.code: finding.count for finding in check_rows(records, folder).findings}


def test_sound_lines_are_left_as_they_are(folder: Path) -> None:
    records = [record(0, "a", 0, "train"), record(1, "a", 0, "train"), record(2, "b", 1, "test")]
    assert check_rows(records, folder).records == tuple(records) and codes(records, folder) == {}


def test_a_patient_of_both_classes_is_left_out(folder: Path) -> None:
    records = [record(0, "a", 0), record(1, "a", 1), record(2, "b", 1)]
    assert codes(records, folder) == {"patient-two-labels": 2}
    assert check_rows(records, folder).records == (records[2],)


def test_a_patient_on_both_sides_of_a_split_is_trained_on(folder: Path) -> None:
    records = [record(0, "a", 0, "test"), record(1, "a", 0, "train"), record(2, "b", 0, "test")]
    assert codes(records, folder) == {"patient-two-splits": 2}
    assert [one.split for one in check_rows(records, folder).records] == ["train", "train", "test"]


def test_files_that_are_not_there_or_elsewhere_are_left_out(folder: Path) -> None:
    records = [record(0, "a"), record(9, "b"), record(1, "c", mask="none.png"), Record("../x.png", "d", 0)]
    assert codes(records, folder) == {"file-missing": 2, "path-outside": 1}
    assert check_rows(records, folder).records == (records[0],)


def test_an_image_listed_again_is_kept_once_or_not_at_all(folder: Path) -> None:
    records = [record(0, "a"), record(0, "a"), record(1, "b"), record(1, "c")]
    assert codes(records, folder) == {"image-twice": 2}
    assert check_rows(records, folder).records == (records[0],)


LINES = st.builds(
    record, st.integers(0, 9), st.sampled_from("abc"), st.integers(0, 1), st.sampled_from(["", "train", "val", "test"])
)


@given(lines=st.lists(LINES, max_size=12))
def test_what_is_left_is_always_a_data_set(lines: list[Record], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    for number in range(8):
        (folder / f"{number}.png").touch()
    sound = check_rows(lines, folder)
    assert not sound.records or Dataset("x", sound.records, read=ImageFiles(folder)).records == sound.records
    assert bool(sound.findings) == (sound.records != tuple(lines))
