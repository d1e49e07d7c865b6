"""RSNA's screening mammograms: cancer is a breast's, rows that contradict each other cost the patient, copies."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from common.config.study import DataConfig
from common.data.formats import open_dataset
from common.data.manifest import Dataset
from common.data.readers.rsna import NEEDED
from common.errors import DataError
from tests.common.data.layouts import table
from tests.common.data.layouts_screening import RSNA_HEADER, rsna, rsna_row

ROWS = (
    rsna_row("10006", "462822612", "L", 0, 0), rsna_row("10006", "1459541791", "L", 0, 0, view="MLO"),
    rsna_row("10011", "220375232", "R", 1, 1), rsna_row("10011", "270344397", "L", 0, 0),
    rsna_row("10025", "562340703", "L", 0, 1, BIRADS=0, machine_id=49), rsna_row("00042", "7", "R", 0, 0),
)  # fmt: skip


def open_rsna(root: Path, **keys: object) -> Dataset:
    return open_dataset(DataConfig(name="rsna", root=str(root), **{"include_normal": True, **keys}))  # type: ignore[arg-type]


def with_rows(root: Path, *more: Sequence[object]) -> Dataset:
    return open_rsna(rsna(root, [*ROWS, *more]))


def test_a_breast_has_the_label_and_a_woman_with_cancer_keeps_that_breast(tmp_path: Path) -> None:
    dataset = with_rows(tmp_path)
    assert {(r.patient, r.label, r.attributes["side"]) for r in dataset.records} == {
        ("10006", 0, "left"), ("10011", 1, "right"), ("10025", 0, "left"), ("00042", 0, "right"),
    }  # fmt: skip
    assert "Left out: 1 images without malignancy of 1 patients who have malignant ones." in dataset.notes
    assert {r.patient: r.attributes["finding"] for r in dataset.records} == {
        "10006": "no biopsy", "10011": "cancer", "10025": "biopsy without cancer", "00042": "no biopsy",
    }  # fmt: skip
    assert all(dataset.read(record.image).shape == (96, 72) for record in dataset.records)


def test_breasts_without_a_biopsy_are_left_out_and_counted_unless_asked_for(tmp_path: Path) -> None:
    dataset = open_rsna(rsna(tmp_path, ROWS), include_normal=False)
    assert dataset.labels_by_patient() == {"10011": 1, "10025": 0}
    assert any(note.startswith("Left out: 4 images of breasts without a biopsy") for note in dataset.notes)


def test_sites_are_those_of_the_table_and_machines_can_be(tmp_path: Path) -> None:
    dataset = with_rows(tmp_path)
    assert {record.patient: record.site for record in dataset.records} == {
        "10006": "site_1", "10011": "site_2", "10025": "site_2", "00042": "site_1",
    }  # fmt: skip
    assert {record.site for record in open_rsna(tmp_path, column="machine").records} == {"29", "49"}


@pytest.mark.parametrize(
    "form", ["train_images/{patient}/{image}.png", "{patient}_{image}.png", "out/{patient}_{image}.png"]
)
def test_copies_under_both_names_are_the_same_set(tmp_path: Path, form: str) -> None:
    told = with_rows(tmp_path / "dicom")
    copied = open_rsna(rsna(tmp_path / "png", ROWS, form))
    assert [(r.patient, r.label, r.site, r.attributes) for r in copied.records] == [
        (r.patient, r.label, r.site, r.attributes) for r in told.records
    ]
    assert {Path(record.image).suffix for record in copied.records} == {".png"}
    assert any(note.startswith("Copies as .png") for note in copied.notes)
    assert not any(note.startswith("Copies as") for note in told.notes)


def test_two_formats_never_mix(tmp_path: Path) -> None:
    """A DICOM and a copy are rendered in two ways, and the one that has cancer would be told by its look."""
    rsna(tmp_path, ROWS, "png/{patient}_{image}.png")
    rsna(tmp_path, ROWS[:3])
    table(tmp_path / "train.csv", [RSNA_HEADER, *ROWS])
    dataset = open_rsna(tmp_path)
    assert {Path(record.image).suffix for record in dataset.records} == {".dcm"}
    assert "Not read: 6 copies as .png; .dcm is there." in dataset.notes
    assert "3 images of the table are not here." in dataset.notes


def test_one_image_in_two_folders_is_refused(tmp_path: Path) -> None:
    rsna(tmp_path, ROWS, "256/{patient}_{image}.png")
    shutil.copytree(tmp_path / "256", tmp_path / "512")
    with pytest.raises(DataError, match=r"6 images are there twice below .*keep one copy"):
        open_rsna(tmp_path)


CONTRADICTIONS = {
    "an image of two labels": rsna_row("10025", "562340703", "L", 1, 1),
    "an image of two patients": rsna_row("10025", "7", "R", 0, 0),
    "an image of two sides": rsna_row("10025", "562340703", "R", 0, 1),
    "a breast of two labels": rsna_row("10025", "9", "L", 1, 1),
    "a cancer without a biopsy": rsna_row("10025", "9", "R", 1, 0),
    "an invasive breast without cancer": rsna_row("10025", "9", "R", 0, 1, invasive=1),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_rows_that_contradict_each_other_cost_the_patient_and_are_counted(tmp_path: Path, name: str) -> None:
    dataset = with_rows(tmp_path, CONTRADICTIONS[name])
    assert "10025" not in dataset.patients() and dataset.labels_by_patient()["10006"] == 0
    (note,) = [note for note in dataset.notes if "contradict" in note]
    assert note.startswith("Left out: 3 rows of 2 patients" if "patients" in name else "Left out: 2 rows of 1 patients")


def test_a_row_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    dataset = with_rows(tmp_path, ROWS[4])
    assert len(dataset.records) == 5 and "1 rows of train.csv repeat another one." in dataset.notes


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (rsna_row("", "9", "L", 0, 0), "line 8: patient_id ''"),
        (rsna_row("10030", "", "L", 0, 0), "line 8: image_id ''"),
        (rsna_row("10030", "9", "B", 0, 0), "line 8: laterality 'B'"),
        (rsna_row("10030", "9", "L", 2, 0), "line 8: cancer '2', expected 0 or 1"),
        (rsna_row("10030", "../9", "L", 0, 0), r"line 8: image_id '\.\./9'"),
    ],
)
def test_a_row_that_is_not_as_published_is_refused_by_its_line(tmp_path: Path, row: list[object], said: str) -> None:
    rsna(tmp_path, ROWS)
    table(tmp_path / "train.csv", [RSNA_HEADER, *ROWS, row])
    with pytest.raises(DataError, match=said):
        open_rsna(tmp_path)


@pytest.mark.parametrize("column", NEEDED)
def test_a_column_that_is_missing_is_named(tmp_path: Path, column: str) -> None:
    rsna(tmp_path, ROWS)
    path = tmp_path / "train.csv"
    path.write_text(path.read_text().replace(column, f"x{column}", 1))
    with pytest.raises(DataError, match=f"lacks {column}; expected the published train.csv"):
        open_rsna(tmp_path)


def test_a_table_without_images_and_images_without_a_table_are_refused(tmp_path: Path) -> None:
    table(tmp_path / "a" / "train.csv", [RSNA_HEADER, *ROWS])
    with pytest.raises(DataError, match=r"No image of train\.csv .* expected train_images"):
        open_rsna(tmp_path / "a")
    (rsna(tmp_path / "b", ROWS) / "train.csv").unlink()
    with pytest.raises(DataError, match=r"There is no train\.csv"):
        open_rsna(tmp_path / "b")
