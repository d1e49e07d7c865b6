"""Public sets as people download them: each tree is made here in its published layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.config.study import DataConfig
from common.data.formats import open_dataset
from common.data.manifest import Dataset, read_mask
from common.errors import DataError
from tests.common.data.layouts import dicom, film, picture, save, table

CMMD_HEADER = ("ID1", "LeftRight", "Age", "number", "abnormality", "classification", "subtype")
CASE_HEADER = ("CaseID", "Image_filename", "Mask_tumor_filename", "Mask_other_filename", "BIRADS", "Classification")


def open_set(name: str, root: Path, **keys: object) -> Dataset:
    return open_dataset(DataConfig(name=name, root=str(root), **keys))  # type: ignore[arg-type]


def cmmd(root: Path, rows: Sequence[tuple[object, ...]], breasts: list[tuple[str, str]]) -> Path:
    """Writes the table and two views of each breast, under names that repeat in every folder."""
    table(root / "CMMD_clinicaldata_revision.csv", [CMMD_HEADER, *rows])
    for number, (patient, side) in enumerate(breasts):
        for at, view in enumerate(("CC", "MLO"), 1):
            tags = dicom(film(number), PatientID=patient, ImageLaterality=side, ViewPosition=view)
            save(tags, root / "CMMD" / f"series{number}" / f"1-{at}.dcm")
    return root


def test_cmmd_joins_a_row_a_breast_by_patient_and_side(tmp_path: Path) -> None:
    rows = [
        ("D1-0001", "R", 40, 2, "mass", "Benign", ""),
        ("D1-0002", "L", 50, 2, "mass", "Benign", ""),
        ("D1-0002", "L", 50, 2, "calcification", "Malignant", ""),
        ("D1-0003", "L", 60, 2, "mass", "Malignant", ""),
        ("D1-0003", "R", 60, 2, "mass", "Benign", ""),
        ("D1-0009", "R", 60, 2, "mass", "Benign", ""),
    ]
    breasts = [("D1-0001", "R"), ("D1-0001", "L"), ("D1-0002", "L"), ("D1-0003", "L"), ("D1-0003", "R")]
    dataset = open_set("cmmd", cmmd(tmp_path, rows, [*breasts, ("D1-0001", "")]))
    seen = [(r.patient, r.label, r.attributes["side"], r.attributes["view"]) for r in dataset.records]
    assert sorted(seen) == [
        (patient, label, side, view)
        for patient, label, side in (("D1-0001", 0, "right"), ("D1-0002", 1, "left"), ("D1-0003", 1, "left"))
        for view in ("CC", "MLO")
    ]
    assert "Left out: 4 images without a row of their patient and side." in dataset.notes
    assert "1 of 5 breasts of the table have no image here." in dataset.notes
    assert "Left out: 2 images without malignancy of 1 patients who have malignant ones." in dataset.notes
    assert dataset.read(dataset.records[0].image).shape == (96, 72)


def test_cmmd_of_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 tables CMMD_clinicaldata"):
        open_set("cmmd", tmp_path)
    row = ("D1-0001", "R", 40, 2, "mass", "non-malignant", "")
    with pytest.raises(DataError, match="line 2: LeftRight 'R', classification 'non-malignant'"):
        open_set("cmmd", cmmd(tmp_path, [row], [("D1-0001", "R")]))
    with pytest.raises(DataError, match="No DICOM below"):
        open_set("cmmd", cmmd(tmp_path, [(*row[:5], "Benign", "")], [("D1-0001", "L")]))


def uclm(root: Path, images: list[tuple[str, str, tuple[int, int, int]]]) -> Path:
    """Writes images with the label of INFO.csv and a mask with a square of the colour."""
    rows: list[tuple[object, ...]] = [("Image", "Label", "Doppler", "Marks", "Combined")]
    for number, (name, label, colour) in enumerate(images):
        picture(root / "BUS-UCLM" / "images" / name, number, (40, 50, 3))
        mask = np.zeros((40, 50, 3), dtype=np.uint8)
        mask[10:20, 10:20] = colour
        (root / "BUS-UCLM" / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / "BUS-UCLM" / "masks" / name)
        rows.append((name, label, "No", "No", "No"))
    table(root / "BUS-UCLM" / "INFO.csv", rows, delimiter=";")
    return root


RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)


def test_bus_uclm_takes_the_patient_from_the_name_and_leaves_out_what_its_mask_contradicts(tmp_path: Path) -> None:
    root = uclm(tmp_path, [
        ("ALWI_000.png", "Benign", GREEN), ("ALWI_001.png", "Benign", GREEN), ("ALWI_002.png", "Normal", BLACK),
        ("BEXX_000.png", "Malignant", RED), ("BEXX_001.png", "Benign", GREEN), ("CAWI_000.png", "Malignant", GREEN),
        ("CAWI_001.png", "Benign", RED), ("DOXX_000.png", "Normal", BLACK),
    ])  # fmt: skip
    dataset = open_set("bus_uclm", root)
    assert [(r.image, r.patient, r.label) for r in dataset.records] == [
        ("images/ALWI_000.png", "ALWI", 0), ("images/ALWI_001.png", "ALWI", 0), ("images/BEXX_000.png", "BEXX", 1),
    ]  # fmt: skip
    assert all(read_mask(dataset, record).sum() == 100 for record in dataset.records)
    assert "Left out: 2 images whose mask has other colours than INFO.csv says." in dataset.notes
    assert "Left out: 1 images without malignancy of 1 patients who have malignant ones." in dataset.notes
    everyone = open_set("bus_uclm", root / "BUS-UCLM", include_normal=True)
    assert {r.image: r.mask for r in everyone.records}["images/DOXX_000.png"] == ""
    assert len(everyone.records) == 5


def test_bus_uclm_of_another_layout_is_refused(tmp_path: Path) -> None:
    root = uclm(tmp_path, [("ALWI_000.png", "Unknown", GREEN)])
    with pytest.raises(DataError, match=r"line 2: Image 'ALWI_000\.png', Label 'Unknown'"):
        open_set("bus_uclm", root)
    (uclm(tmp_path, [("ALWI_000.png", "Benign", GREEN)]) / "BUS-UCLM" / "images" / "ALWI_000.png").unlink()
    with pytest.raises(DataError, match="1 images of"):
        open_set("bus_uclm", root)


def lesions(root: Path, words: list[str]) -> Path:
    """Writes a case a word: RGBA images, and masks that are white everywhere and opaque at the tumour."""
    folder = root / "BrEaST-Lesions_USG-images_and_masks"
    rows: list[tuple[object, ...]] = [CASE_HEADER]
    for number, word in enumerate(words, 1):
        name, mask = f"case{number:03d}.png", f"case{number:03d}_tumor.png"
        picture(folder / name, number, (30, 40, 4))
        pixels = np.full((30, 40, 4), 255, dtype=np.uint8)
        pixels[..., 3] = 0
        pixels[5:15, 5:25, 3] = 255
        if word != "normal":
            Image.fromarray(pixels).save(folder / mask)
        rows.append((number, name, mask if word != "normal" else "", "", "4a", word))
    table(root / "BrEaST-Lesions-USG-clinical-data-Dec-15-2023.csv", rows)
    return root


def test_breast_lesions_usg_reads_its_masks_from_what_is_opaque(tmp_path: Path) -> None:
    root = lesions(tmp_path, ["benign", "malignant", "normal"])
    dataset = open_set("breast_lesions_usg", root)
    assert [(r.patient, r.label, r.attributes["birads"]) for r in dataset.records] == [
        ("001", 0, "4a"),
        ("002", 1, "4a"),
    ]
    assert dataset.read(dataset.records[0].image).shape == (30, 40, 3)
    mask = read_mask(dataset, dataset.records[0])
    assert mask.shape == (30, 40) and mask.sum() == 200 and mask[5:15, 5:25].all()
    everyone = open_set("breast_lesions_usg", root, include_normal=True)
    assert [r.mask != "" for r in everyone.records] == [True, True, False] and everyone.records[2].label == 0


def test_breast_lesions_usg_of_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="save the first sheet"):
        open_set("breast_lesions_usg", tmp_path)
    with pytest.raises(DataError, match="Classification 'probably benign'"):
        open_set("breast_lesions_usg", lesions(tmp_path, ["probably benign"]))
    dataset = open_set("breast_lesions_usg", lesions(tmp_path, ["benign"]))
    mask = tmp_path / "BrEaST-Lesions_USG-images_and_masks" / "case001_tumor.png"
    Image.new("L", (40, 30), 255).save(mask)
    with pytest.raises(DataError, match="no alpha channel"):
        read_mask(dataset, dataset.records[0])
