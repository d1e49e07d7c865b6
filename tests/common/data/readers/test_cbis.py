"""CBIS-DDSM: the patient behind its PatientID, one label a film out of several rows, masks told from crops."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from common.config.study import DataConfig
from common.data.formats import open_dataset
from common.data.manifest import Dataset, read_mask
from common.data.splits import split_by_patient
from common.errors import DataError
from tests.common.data.layouts import CBIS_HEADER, cbis, cbis_jpeg, cbis_row, dicom, film, save, table


def open_cbis(root: Path, **keys: object) -> Dataset:
    return open_dataset(DataConfig(name="cbis_ddsm", root=str(root), **keys))  # type: ignore[arg-type]


def add_film(root: Path, patient: str, side: str, view: str = "CC", shape: tuple[int, int] = (96, 72)) -> Path:
    name = f"Mass-Training_{patient}_{side}_{view}"
    image = dicom(film(1, side=side.lower(), shape=shape), PatientID=name)
    return save(image, root / name / "study" / "series" / "1-1.dcm")


def test_the_real_files_are_one_woman_with_two_breasts_and_two_views(real_data: Path) -> None:
    dataset = open_cbis(real_data / "cbis-ddsm-quarter")
    assert [record.patient for record in dataset.records] == ["P_00173"] * 4
    seen = {(record.attributes["side"], record.attributes["view"]) for record in dataset.records}
    assert seen == {("left", "CC"), ("left", "MLO"), ("right", "CC"), ("right", "MLO")}
    assert {record.label for record in dataset.records} == {0}
    assert all(dataset.read(record.image).shape[0] > 1000 for record in dataset.records)
    lone = open_cbis(real_data / "cbis-ddsm")
    assert len(lone.records) == 1 and "3 of 4 films of the tables are not here." in lone.notes


def test_real_files_under_other_folder_names_are_known_by_their_tag(real_data: Path, tmp_path: Path) -> None:
    shutil.copy(real_data / "cbis-ddsm-quarter" / "mass_case_description_test_set.csv", tmp_path)
    for number, path in enumerate(sorted((real_data / "cbis-ddsm-quarter").rglob("*.dcm"))):
        shutil.copy(path, tmp_path / f"{number}.dcm")
    assert {record.patient for record in open_cbis(tmp_path).records} == {"P_00173"}
    assert len(open_cbis(tmp_path).records) == 4


def test_women_are_split_with_all_their_films(tmp_path: Path) -> None:
    dataset = open_cbis(cbis(tmp_path, 12))
    assert len(dataset.records) == 24 and len(dataset.patients()) == 12
    assert sum(dataset.labels_by_patient().values()) == 6
    done = split_by_patient(dataset, seed=2, train_share=0.7, val_share=0.15)
    assert all(len({record.split for record in group}) == 1 for group in done.patients().values())


def test_a_film_with_several_lesions_is_malignant_if_one_is(tmp_path: Path) -> None:
    add_film(tmp_path, "P_00001", "LEFT")
    add_film(tmp_path, "P_00002", "LEFT")
    rows = [
        cbis_row("P_00001", "LEFT", "CC", 1, "BENIGN"),
        cbis_row("P_00001", "LEFT", "CC", 2, "MALIGNANT"),
        cbis_row("P_00002", "LEFT", "CC", 1, "BENIGN"),
    ]
    table(tmp_path / "mass_case_description_train_set.csv", [CBIS_HEADER, *rows])
    assert open_cbis(tmp_path).labels_by_patient() == {"P_00001": 1, "P_00002": 0}


def test_benign_films_of_a_woman_with_cancer_are_left_out_and_said(tmp_path: Path) -> None:
    for side in ("LEFT", "RIGHT"):
        add_film(tmp_path, "P_00001", side)
    rows = [cbis_row("P_00001", "LEFT", "CC", 1, "MALIGNANT"), cbis_row("P_00001", "RIGHT", "CC", 1, "BENIGN")]
    table(tmp_path / "mass_case_description_train_set.csv", [CBIS_HEADER, *rows])
    dataset = open_cbis(tmp_path)
    assert [record.attributes["side"] for record in dataset.records] == ["left"]
    assert "Left out: 1 images without malignancy of 1 patients who have malignant ones." in dataset.notes


def test_masks_are_told_from_crops_by_their_size(tmp_path: Path) -> None:
    whole = add_film(tmp_path, "P_00001", "LEFT")
    extra = tmp_path / "Mass-Training_P_00001_LEFT_CC_1" / "study" / "series"
    mask = np.zeros((96, 72), dtype=np.uint8)
    mask[40:50, 10:20] = 255
    save(dicom(mask, SeriesDescription="cropped images"), extra / "1-1.dcm")
    save(dicom(film(2, shape=(30, 20)), SeriesDescription="ROI mask images"), extra / "1-2.dcm")
    table(
        tmp_path / "mass_case_description_train_set.csv", [CBIS_HEADER, cbis_row("P_00001", "LEFT", "CC", 1, "BENIGN")]
    )
    dataset = open_cbis(tmp_path)
    assert (tmp_path / dataset.records[0].image) == whole
    assert np.array_equal(read_mask(dataset, dataset.records[0]), mask > 0)


def test_one_view_or_finding_can_be_kept(tmp_path: Path) -> None:
    dataset = open_cbis(cbis(tmp_path, 6), only="view:mlo")
    assert {record.attributes["view"] for record in dataset.records} == {"MLO"} and len(dataset.records) == 6
    with pytest.raises(DataError, match=r"data\.only=view:XY keeps no image of CBIS-DDSM; there are CC, MLO"):
        open_cbis(tmp_path, only="view:XY")


def test_tables_that_are_missing_or_odd_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no mass_ or calc_case_description"):
        open_cbis(tmp_path)
    path = table(tmp_path / "calc_case_description_test_set.csv", [CBIS_HEADER, cbis_row("P_1", "LEFT", "CC", 1, "?")])
    with pytest.raises(DataError, match=r"calc_case_description_test_set\.csv has 1 lines .* pathology '\?'"):
        open_cbis(tmp_path)
    table(path, [CBIS_HEADER, cbis_row("P_1", "LEFT", "CC", 1, "BENIGN")])
    with pytest.raises(DataError, match="expected folders as Calc-Test_P_1_LEFT_CC"):
        open_cbis(tmp_path)
    table(path, [CBIS_HEADER[:5]])
    with pytest.raises(DataError, match="lacks pathology, assessment"):
        open_cbis(tmp_path)


def test_the_jpeg_copies_are_joined_by_patient_id_and_series(tmp_path: Path) -> None:
    dataset = open_cbis(cbis_jpeg(tmp_path, 6))
    assert [(record.patient, record.label) for record in dataset.records] == [(f"P_{n:05d}", n % 2) for n in range(6)]
    for record in dataset.records:
        mask = read_mask(dataset, record)
        assert dataset.read(record.image).shape == mask.shape == (96, 72) and mask[50, 20] and not mask[5, 5]
    assert dataset.records[0].attributes["side"] == "left" and "JPEG copies of 8 bits." in dataset.notes
    for part in ("csv", "jpeg"):
        assert open_cbis(tmp_path / part).records == dataset.records


def test_a_jpeg_whose_two_tables_disagree_is_left_out_and_counted(tmp_path: Path) -> None:
    info = cbis_jpeg(tmp_path, 6) / "csv" / "dicom_info.csv"
    text = info.read_text().replace(",Mass-Training_P_00001_LEFT_CC,", ",X,")
    text = text.replace(",Mass-Training_P_00002_LEFT_CC,", ",Mass-Training_P_00001_LEFT_CC,")
    second = text.replace(".2.103/1-1.jpg", ".2.104/1-1.jpg").splitlines()[10]
    info.write_text(f"{text}{second}\n")
    dataset = open_cbis(tmp_path)
    assert [record.patient for record in dataset.records] == ["P_00000", "P_00004", "P_00005"]
    assert "3 of 6 films of the tables are not here." in dataset.notes
    assert "Left out: 1 films whose label table names another series than dicom_info.csv." in dataset.notes
    assert "Left out: 1 films with several pictures under one PatientID in dicom_info.csv." in dataset.notes


def test_a_damaged_jpeg_copy_is_refused_by_its_name(tmp_path: Path) -> None:
    """Before, the size of a film was asked of it without that, and the command ended as a bug."""
    path = next((cbis_jpeg(tmp_path, 6) / "jpeg").rglob("1-1.jpg"))
    path.write_bytes(b"\xff\xd8 no JPEG")
    with pytest.raises(DataError, match=r"1-1\.jpg is missing or damaged"):
        open_cbis(tmp_path)
