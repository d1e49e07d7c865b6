"""mini-MIAS, INbreast and VinDr-Mammo on small files in their published layouts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.config.study import DataConfig
from common.data.formats import open_dataset
from common.data.loading import to_tensors
from common.data.manifest import Dataset, read_mask
from common.data.pixels.images import read_image
from common.data.splits import split_by_patient
from common.errors import DataError
from tests.common.data.layouts import inbreast, mias, table, vindr


def open_set(name: str, root: Path, **keys: object) -> Dataset:
    return open_dataset(DataConfig(name=name, root=str(root), **keys))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mias(tmp_path_factory.mktemp("mias"))


def test_two_films_of_mias_are_one_woman(films: Path) -> None:
    dataset = open_set("mias", films, include_normal=True)
    pairs = {patient: [record.image for record in group] for patient, group in dataset.patients().items()}
    assert pairs["pair-001"] == ["mdb001.pgm", "mdb002.pgm"]
    assert dataset.labels_by_patient() == {"pair-001": 0, "pair-002": 0, "pair-003": 1, "pair-004": 1, "pair-005": 0}
    assert pairs["pair-003"] == ["mdb005.pgm"] and pairs["pair-004"] == ["mdb008.pgm"]
    assert "Left out: 2 images without malignancy of 2 patients who have malignant ones." in dataset.notes
    assert dataset.records[0].attributes == {
        "finding": "circ",
        "tissue": "fatty-glandular",
        "side": "right",
        "view": "MLO",
    }


def test_normal_films_of_mias_come_only_when_asked(films: Path) -> None:
    images = [record.image for record in open_set("mias", films).records]
    assert images == ["mdb001.pgm", "mdb002.pgm", "mdb005.pgm", "mdb008.pgm", "mdb009.pgm"]


def test_circles_of_mias_are_counted_from_the_bottom_and_several_lines_join(films: Path) -> None:
    dataset = open_set("mias", films)
    one, two = dataset.records[0], dataset.records[2]
    rows, columns = np.nonzero(read_mask(dataset, one))
    assert (columns.mean(), rows.mean()) == pytest.approx((535, 1023 - 425), abs=0.01)
    assert np.ptp(rows) == np.ptp(columns) == 2 * 197
    assert two.mask.count("circle") == 2
    assert dataset.read(one.image).shape == (1024, 1024)
    without_place = next(record for record in dataset.records if record.image == "mdb009.pgm")
    assert not without_place.mask


def test_mias_without_films_or_with_odd_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no Info\.txt"):
        open_set("mias", tmp_path)
    (tmp_path / "Info.txt").write_text("mdb001 G CIRC B 535 425 197\n")
    with pytest.raises(DataError, match="1 films of Info"):
        open_set("mias", tmp_path)
    (tmp_path / "Info.txt").write_text("mdb001 G WHAT B\nmdb002 G NORM\n")
    with pytest.raises(DataError, match=r"1 odd lines \(mdb001 G WHAT B\)"):
        open_set("mias", tmp_path)


def test_inbreast_takes_the_woman_from_the_file_name_and_leaves_out_birads_3(tmp_path: Path) -> None:
    dataset = open_set("inbreast", inbreast(tmp_path), include_normal=True)
    labels = {patient[-3:]: label for patient, label in dataset.labels_by_patient().items()}
    assert labels == {"aa0": 0, "bb1": 1, "cc2": 1, "dd3": 0}
    assert [len(group) for group in dataset.patients().values()] == [2, 1, 2, 2]
    assert "Left out: 1 images of BI-RADS 3 or 0." in dataset.notes
    assert dataset.records[0].attributes == {"side": "left", "view": "MLO", "density": "2", "birads": "1"}
    assert len(open_set("inbreast", tmp_path).records) == 6
    tensors = to_tensors(dataset, DataConfig(name="inbreast", image_size=32, breast_crop=True))
    assert tensors.inputs.shape == (7, 1, 32, 32)


def test_inbreast_tables_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    header = ["Laterality", "View", "File Name", "ACR", "Bi-Rads"]
    table(tmp_path / "INbreast.csv", [header, ["L", "CC", "1", "2", "7"]], delimiter=";")
    with pytest.raises(DataError, match="line 2: BI-RADS '7'"):
        open_set("inbreast", tmp_path)
    table(tmp_path / "INbreast.csv", [header, ["L", "CC", "1", "2", "5"]], delimiter=";")
    with pytest.raises(DataError, match="expected AllDICOMs"):
        open_set("inbreast", tmp_path)


def test_vindr_keeps_its_test_exams_and_takes_validation_from_training(tmp_path: Path) -> None:
    dataset = open_set("vindr_mammo", vindr(tmp_path, exams=40), include_normal=True)
    assert len(dataset.patients()) == 39 and "Left out: 2 images of BI-RADS 3 or 0." in dataset.notes
    test = {record.patient for record in dataset.records if record.split == "test"}
    assert test == {"study36", "study37", "study38", "study39"}
    done = split_by_patient(dataset, seed=5, train_share=0.7, val_share=0.15)
    assert done.records == dataset.records
    assert all(len({record.split for record in group}) == 1 for group in dataset.patients().values())
    assert {record.site for record in dataset.records} == {"mammomat_inspiration", "planmed_nuance"}


def test_vindr_findings_are_boxes_in_the_picture(tmp_path: Path) -> None:
    dataset = open_set("vindr_mammo", vindr(tmp_path))
    record = next(record for record in dataset.records if record.label)
    mask = read_mask(dataset, record)
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (7, 29, 36, 59)
    # MONOCHROME1: the spot is dark after inversion.
    pixels = dataset.read(record.image)
    assert pixels[mask].mean() < pixels[~mask].mean()
    assert {record.attributes["birads"] for record in dataset.records} == {"2", "5"}


def test_vindr_paths_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    vindr(tmp_path)
    path = tmp_path / "breast-level_annotations.csv"
    path.write_text(path.read_text().replace("study03", "../study03"))
    with pytest.raises(DataError, match=r"2 lines .* study_id '\.\./study03'"):
        open_set("vindr_mammo", tmp_path)


def test_mias_is_read_with_its_films_in_a_folder_of_their_own(films: Path, tmp_path: Path) -> None:
    plain = open_set("mias", films).records
    shutil.copytree(films, tmp_path / "all-mias")
    assert open_set("mias", tmp_path).records == plain
    (tmp_path / "all-mias" / "Info.txt").rename(tmp_path / "Info.txt")
    for root in (tmp_path, tmp_path / "all-mias"):
        dataset = open_set("mias", root)
        assert dataset.records == plain and dataset.read(plain[0].image).shape == (1024, 1024)


def test_inbreast_is_read_as_png_too_and_its_grades_as_words(tmp_path: Path) -> None:
    plain = open_set("inbreast", inbreast(tmp_path), include_normal=True)
    for path in (tmp_path / "AllDICOMs").iterdir():
        Image.fromarray((read_image(path) * 255).astype(np.uint8)).save(path.with_suffix(".png"))
        path.unlink()
    text = (tmp_path / "INbreast.csv").read_text()
    (tmp_path / "INbreast.csv").write_text(text.replace(";4a\n", ";BI-RADS 4A\n").replace(";1\n", ";Negative\n"))
    copies = open_set("inbreast", tmp_path, include_normal=True)
    assert [(r.patient, r.label, r.attributes) for r in copies.records] == [
        (r.patient, r.label, r.attributes) for r in plain.records
    ] and {Path(record.image).suffix for record in copies.records} == {".png"}


def test_inbreast_copies_under_two_formats_are_refused(tmp_path: Path) -> None:
    path = next((inbreast(tmp_path) / "AllDICOMs").iterdir())
    Image.new("L", (8, 8), 9).save(path.with_suffix(".png"))
    with pytest.raises(DataError, match="1 images of INbreast are there twice"):
        open_set("inbreast", tmp_path)
