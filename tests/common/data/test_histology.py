"""BreaKHis and IDC patches as published; BACH and PatchCamelyon on small files in their layouts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from common.config.study import DataConfig
from common.data.formats import open_dataset
from common.data.loading import to_tensors
from common.data.manifest import Dataset
from common.data.readers import pcam as pcam_reader
from common.data.readers.classes import PUBLIC_SEED
from common.data.splits import place_of, split_by_patient
from common.errors import DataError
from tests.common.data.layouts import bach, idc, pcam, picture, table


def open_set(name: str, root: Path, **keys: object) -> Dataset:
    return open_dataset(DataConfig(name=name, root=str(root), **keys))  # type: ignore[arg-type]


def test_breakhis_patients_are_slide_numbers_without_letters(real_data: Path) -> None:
    dataset = open_set("breakhis", real_data / "breakhis")
    assert len(dataset.records) == 23 and len(dataset.patients()) == 16
    assert Counter(record.label for record in dataset.records) == {0: 12, 1: 11}
    assert Counter(r.attributes["magnification"] for r in dataset.records).keys() == {"40", "100", "200", "400"}
    merged = {record.attributes["slide"] for record in dataset.patients()["14-16184"]}
    assert merged == {"14-16184", "14-16184CD"}
    for record in dataset.records:
        kind = "malignant" if record.label else "benign"
        assert f"/{kind}/" in record.image and f"/{record.attributes['type']}/" in record.image
    assert dataset.read(dataset.records[0].image).shape == (460, 700, 3)


def test_breakhis_can_be_had_at_one_magnification(real_data: Path) -> None:
    dataset = open_set("breakhis", real_data / "breakhis" / "BreaKHis_v1", only="magnification:400")
    assert {record.attributes["magnification"] for record in dataset.records} == {"400"}
    tensors = to_tensors(dataset, DataConfig(name="breakhis", image_size=24, channels=3))
    assert tensors.inputs.shape == (len(dataset.records), 3, 24, 24)


def test_names_that_breakhis_never_gave_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "photo.png", 0, (4, 4, 3))
    with pytest.raises(DataError, match="expected BreaKHis_v1"):
        open_set("breakhis", tmp_path)
    picture(tmp_path / "SOB_B_XX-14-1-40-001.png", 0, (4, 4, 3))
    with pytest.raises(DataError, match="unknown type XX"):
        open_set("breakhis", tmp_path)


def test_bach_s_four_classes_become_two(tmp_path: Path) -> None:
    dataset = open_set("bach", bach(tmp_path), include_normal=True)
    classes = Counter((record.attributes["class"], record.label) for record in dataset.records)
    assert classes == {("benign", 0): 3, ("normal", 0): 3, ("insitu", 1): 3, ("invasive", 1): 3}
    assert dataset.read(dataset.records[0].image).shape == (48, 64, 3)
    assert len(open_set("bach", tmp_path / "Photos").records) == 9


def test_bach_patients_come_from_a_list_where_there_is_one(tmp_path: Path) -> None:
    bach(tmp_path)
    rows = [("image", "patient"), ("b001.tif", "p1"), ("b002.tif", "p1"), ("iv001.tif", "p2"), ("n001.tif", "p2")]
    table(tmp_path / "Photos" / "patients.csv", rows)
    dataset = open_set("bach", tmp_path, include_normal=True)
    assert [Path(record.image).name for record in dataset.patients()["p1"]] == ["b001.tif", "b002.tif"]
    assert dataset.labels_by_patient()["p2"] == 1 and len(dataset.records) == 11
    assert "8 images have no known patient" in dataset.notes[0]


def test_bach_with_a_header_is_read_and_with_contradictions_refused(tmp_path: Path) -> None:
    bach(tmp_path)
    path = tmp_path / "Photos" / "microscopy_ground_truth.csv"
    text = path.read_text()
    path.write_text("Image,Class\n" + text)
    assert len(open_set("bach", tmp_path, include_normal=True).records) == 12
    path.write_text(text.replace("b001.tif,Benign", "b001.tif,InSitu"))
    with pytest.raises(DataError, match=r"1 images .* not in the folder of their class .*b001\.tif"):
        open_set("bach", tmp_path)
    for odd in ("b001.tif,Nothing\n", "b001.tif\n", "../b001.tif,Benign\n"):
        path.write_text(text + odd)
        with pytest.raises(DataError, match="1 odd lines"):
            open_set("bach", tmp_path)
    path.write_text(text + "b001.tif,Benign\n")
    with pytest.raises(DataError, match="names an image twice"):
        open_set("bach", tmp_path)


def test_real_idc_patches_say_what_class_0_is_not(real_data: Path) -> None:
    dataset = open_set("idc", real_data / "idc")
    assert len(dataset.records) == 478 and sum(record.label for record in dataset.records) == 197
    assert set(dataset.patients()) == {"14082 without IDC", "14082 with IDC"}
    said = " ".join(dataset.notes)
    assert "often of the same woman" in said and "1 cases are too few" in said
    with pytest.raises(DataError, match="no malignant in"):
        split_by_patient(dataset, seed=0, train_share=0.7, val_share=0.15)
    assert dataset.read(dataset.records[0].image).shape == (50, 50, 3)


def test_both_halves_of_an_idc_case_lie_in_one_split(tmp_path: Path) -> None:
    dataset = open_set("idc", idc(tmp_path, cases=40))
    splits: dict[str, set[str]] = {}
    for record in dataset.records:
        splits.setdefault(record.attributes["case"], set()).add(record.split)
    assert splits == {case: {place_of(case, PUBLIC_SEED, 0.7, 0.15)} for case in splits} and len(splits) == 40
    done = split_by_patient(dataset, seed=3, train_share=0.7, val_share=0.15)
    assert done.records == dataset.records


def test_pcam_keeps_slides_and_classes_together(tmp_path: Path) -> None:
    dataset = open_set("pcam", pcam(tmp_path))
    assert len(dataset.records) == 110 and len(dataset.patients()) == 2 * 11
    assert dataset.records[0].patient == "camelyon16_train_000 without tumour"
    done = split_by_patient(dataset, seed=0, train_share=0.7, val_share=0.15)
    assert Counter(record.split for record in done.records) == {"train": 70, "val": 20, "test": 20}


def test_pcam_patches_are_those_asked_for(tmp_path: Path) -> None:
    dataset = open_set("pcam", pcam(tmp_path, meta=False))
    assert len(dataset.patients()) == 110
    for number in (0, 31, 32, 69):
        patch = dataset.read(f"train/{number:06d}")
        assert patch.shape == (96, 96, 3) and patch.dtype == np.float32
        assert patch[0, 0, 0] == pytest.approx(number / 255)


def test_pcam_files_that_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"no camelyonpatch_level_2_split_train_x\.h5"):
        open_set("pcam", tmp_path)
    pcam(tmp_path)
    table(tmp_path / "camelyonpatch_level_2_split_test_meta.csv", [("wsi",), ("one",)])
    with pytest.raises(DataError, match="has 1 rows; expected 20"):
        open_set("pcam", tmp_path)
    pixels = tmp_path / "camelyonpatch_level_2_split_train_x.h5"
    pixels.write_bytes((tmp_path / "camelyonpatch_level_2_split_train_y.h5").read_bytes())
    with pytest.raises(DataError, match=r"split_train_x\.h5 cannot be decoded"):
        open_set("pcam", tmp_path)
    monkeypatch.setattr(pcam_reader, "decode", without_h5py)
    with pytest.raises(DataError, match=r"oncofed\[hdf5\]"):
        open_set("pcam", tmp_path)


def without_h5py(*_: object, **__: object) -> None:
    raise DataError("x cannot be decoded (ModuleNotFoundError: No module named 'h5py')")
