"""VinDr-Mammo and INbreast as PNG: the same set by the same tables, and no mask on a picture of another size."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.config.study import DataConfig
from common.data.formats import open_dataset
from common.data.manifest import Dataset, read_mask
from common.errors import DataError
from tests.common.data.layouts import inbreast, table, vindr


def open_set(name: str, root: Path) -> Dataset:
    return open_dataset(DataConfig(name=name, root=str(root), include_normal=True))


def as_png(root: Path, form: str, shape: tuple[int, int] = (96, 72)) -> Path:
    """Puts PNG copies of this size in the place of VinDr's DICOM files."""
    for path in sorted((root / "images").rglob("*.dicom")):
        place = root / form.format(study=path.parent.name, image=path.stem)
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(shape, 90, dtype=np.uint8)).save(place)
        path.unlink()
    return root


def known(dataset: Dataset) -> list[object]:
    return [(r.patient, r.label, r.split, r.site, r.attributes) for r in dataset.records]


@pytest.mark.parametrize(
    "form", ["images_png/{study}/{image}.png", "images/{study}/{image}.png", "png/{study}_{image}.png"]
)
def test_vindr_copies_are_the_same_exams_with_the_same_boxes(tmp_path: Path, form: str) -> None:
    told = open_set("vindr_mammo", vindr(tmp_path / "dicom"))
    copied = open_set("vindr_mammo", as_png(vindr(tmp_path / "png"), form))
    assert known(copied) == known(told)
    first, second = (next(r for r in dataset.records if r.mask) for dataset in (told, copied))
    assert np.array_equal(read_mask(told, first), read_mask(copied, second))
    assert any(note.startswith("Copies as .png") for note in copied.notes)


@pytest.mark.parametrize("shape", [(48, 36), (96, 60), (72, 96)])
def test_no_box_is_drawn_on_a_copy_of_another_size(tmp_path: Path, shape: tuple[int, int]) -> None:
    dataset = open_set("vindr_mammo", as_png(vindr(tmp_path), "images_png/{study}/{image}.png", shape))
    assert not any(record.mask for record in dataset.records)
    assert "12 images have boxes but another size than the table says: no mask is written for them." in dataset.notes


def test_no_box_is_drawn_on_a_copy_whose_table_tells_no_size(tmp_path: Path) -> None:
    root = as_png(vindr(tmp_path), "images_png/{study}/{image}.png")
    path = root / "breast-level_annotations.csv"
    path.write_text(path.read_text().replace("height", "h", 1))
    assert not any(record.mask for record in open_set("vindr_mammo", root).records)


def test_vindr_dicom_goes_before_its_copies(tmp_path: Path) -> None:
    root = vindr(tmp_path)
    Image.new("L", (72, 96)).save(root / "study01_image01cc.png")
    dataset = open_set("vindr_mammo", root)
    assert {Path(record.image).suffix for record in dataset.records} == {".dicom"}
    assert "Not read: 1 copies as .png; .dicom is there." in dataset.notes


def test_vindr_is_read_by_its_findings_alone(tmp_path: Path) -> None:
    """Some keep only finding_annotations.csv, which has a row a finding and the columns of the breast."""
    told = open_set("vindr_mammo", vindr(tmp_path))
    breasts, found = (
        [*csv.DictReader((tmp_path / f"{name}_annotations.csv").read_text().splitlines())]
        for name in ("breast-level", "finding")
    )
    boxes = {row["image_id"]: row for row in found}
    both = [{**row, **boxes[row["image_id"]]} for row in breasts]
    lines = [tuple(both[0]), *(tuple(row.values()) for row in both), tuple(both[2].values())]
    (tmp_path / "breast-level_annotations.csv").unlink()
    table(tmp_path / "finding_annotations.csv", lines)
    alone = open_set("vindr_mammo", tmp_path)
    assert known(alone) == known(told)
    (tmp_path / "finding_annotations.csv").unlink()
    with pytest.raises(DataError, match=r"There is no breast-level_annotations\.csv"):
        open_set("vindr_mammo", tmp_path)


def test_a_vindr_image_of_two_grades_costs_its_exam(tmp_path: Path) -> None:
    path = vindr(tmp_path) / "breast-level_annotations.csv"
    row = next(line for line in path.read_text().splitlines() if "study01" in line)
    path.write_text(f"{path.read_text()}{row.replace('BI-RADS 5', 'BI-RADS 2')}\n")
    dataset = open_set("vindr_mammo", tmp_path)
    assert "study01" not in dataset.patients() and "study03" in dataset.patients()
    assert "Left out: 1 exams with an image whose rows contradict each other." in dataset.notes


def test_inbreast_copies_of_a_number_alone_are_left_out_and_said(tmp_path: Path) -> None:
    files = sorted((inbreast(tmp_path) / "AllDICOMs").iterdir())
    images = len(open_set("inbreast", tmp_path).records)
    Image.new("L", (8, 8), 9).save(tmp_path / f"{files[1].name.split('_')[0]}.png")
    files[1].unlink()
    dataset = open_set("inbreast", tmp_path)
    assert len(dataset.records) < images
    assert "Left out: 1 images named by their number alone: whose they are is not told." in dataset.notes
    for path in files[:1] + files[2:]:
        Image.new("L", (8, 8), 9).save(tmp_path / f"{path.name.split('_')[0]}.png")
        path.unlink()
    with pytest.raises(DataError, match="are named by their number alone, and no table tells whose they are"):
        open_set("inbreast", tmp_path)


def test_inbreast_files_of_another_side_than_their_row_are_left_out_and_said(tmp_path: Path) -> None:
    path = next(path for path in (inbreast(tmp_path) / "AllDICOMs").iterdir() if "dd3_MG_L" in path.name)
    path.rename(path.with_name(path.name.replace("_MG_L_", "_MG_R_")))
    dataset = open_set("inbreast", tmp_path)
    assert "Left out: 1 images whose file's name and row tell different sides." in dataset.notes
    assert path.name.split("_")[0] not in {Path(record.image).name.split("_")[0] for record in dataset.records}


def test_inbreast_numbers_that_a_spreadsheet_wrote_with_a_point_are_read_and_rounded_ones_refused(
    tmp_path: Path,
) -> None:
    told = open_set("inbreast", inbreast(tmp_path)).records
    path = tmp_path / "INbreast.csv"
    text = path.read_text()
    numbers = sorted({record.image.split("/")[-1].split("_")[0] for record in told})
    for number in numbers:
        text = text.replace(f";{number};", f";{number}.0;")
    path.write_text(text)
    assert open_set("inbreast", tmp_path).records == told
    path.write_text(text.replace(f"{numbers[0]}.0", "2.06E+07"))
    with pytest.raises(DataError, match=r"line \d: '2\.06E\+07' is no whole number"):
        open_set("inbreast", tmp_path)
