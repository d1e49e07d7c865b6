"""What a hospital has is understood where it is plain, and left out, counted, where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from client.cli.main import app
from common.data.intake.proposal import propose
from common.data.manifest import read_manifest
from common.errors import DataError


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)


def test_a_table_names_images_patients_and_labels(tmp_path: Path) -> None:
    for number in range(6):
        picture(tmp_path / "images" / f"scan{number}.png")
    table = tmp_path / "list.csv"
    table.write_text(
        "Patient_ID;file name;pathology;age\n"
        + "".join(f"w{n // 2};scan{n};{('MALIGNANT', 'benign', 'unsure')[n // 2]};50\n" for n in range(6))
    )
    found = propose(tmp_path / "images", table)
    assert [(r.image, r.patient, r.label) for r in found.records] == [
        ("scan0.png", "w0", 1), ("scan1.png", "w0", 1), ("scan2.png", "w1", 0), ("scan3.png", "w1", 0)
    ]  # fmt: skip
    assert found.left_out == {"no certain label": 2}
    assert any("file name" in line for line in found.understood)


def test_folders_name_labels_and_masks_go_with_their_images(tmp_path: Path) -> None:
    for word in ("benign", "malignant", "normal"):
        for number in (1, 2):
            picture(tmp_path / word / f"{word} ({number}).png")
            picture(tmp_path / word / f"{word} ({number})_mask.png")
    picture(tmp_path / "malignant" / "malignant (1)_mask_1.png")
    found = propose(tmp_path)
    assert {r.image: r.mask for r in found.records}["malignant/malignant (1).png"] == (
        "malignant/malignant (1)_mask.png|malignant/malignant (1)_mask_1.png"
    )
    assert [r.label for r in found.records] == [0, 0, 1, 1] and found.left_out == {"no certain label": 2}
    assert any("every image counts as one" in line for line in found.understood)


def test_the_beginning_of_a_name_can_be_the_patient(tmp_path: Path) -> None:
    for who in ("P001", "P002"):
        for view in ("CC", "MLO"):
            picture(tmp_path / ("benign" if who == "P001" else "malignant") / f"{who}_{view}.png")
    assert [r.patient for r in propose(tmp_path).records] == ["P001", "P001", "P002", "P002"]


def test_a_patient_with_both_labels_is_left_out(tmp_path: Path) -> None:
    for name in ("benign/P001_a.png", "malignant/P001_b.png", "benign/P002_a.png", "benign/P002_b.png"):
        picture(tmp_path / name)
    found = propose(tmp_path)
    assert {r.patient for r in found.records} == {"P002"} and found.left_out == {"patient with both labels": 2}


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        propose(tmp_path / "none")
    with pytest.raises(DataError, match="no image"):
        propose(tmp_path)
    picture(tmp_path / "a.png")
    table = tmp_path / "list.csv"
    table.write_text("file,label\nb.png,benign\n")
    with pytest.raises(DataError, match="names 0% of them"):
        propose(tmp_path, table)


def test_the_real_busi_and_dicom_layouts_are_understood(real_data: Path) -> None:
    busi = propose(real_data / "busi" / "Dataset_BUSI_with_GT")
    assert len(busi.records) == 486 and busi.left_out == {"no certain label": 100}
    assert sum(bool(record.mask) for record in busi.records) == 486
    dicom = propose(real_data / "cbis-ddsm")
    assert dicom.records == () and any("PatientID" in line for line in dicom.understood)


def test_the_command_writes_a_manifest_that_can_be_read(tmp_path: Path) -> None:
    for word in ("benign", "malignant"):
        for number in range(3):
            picture(tmp_path / word / f"{word}{number}.png")
    done = CliRunner().invoke(app, ["data", "init", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert len(read_manifest(tmp_path / "manifest.csv").records) == 6
    again = CliRunner().invoke(app, ["data", "init", str(tmp_path)])
    assert again.exit_code == 2 and "exists" in again.output
