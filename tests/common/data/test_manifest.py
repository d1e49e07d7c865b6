"""A hospital's CSV: what is read back, and what is refused in words that a data manager can act on."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from common.config.study import DataConfig
from common.data.checks.rows import check_rows
from common.data.loading import to_tensors
from common.data.manifest import (
    Dataset,
    Record,
    read_lines,
    read_manifest,
    read_mask,
    site_from_column,
    write_manifest,
)
from common.data.splits import split_by_patient
from common.errors import DataError
from common.names import slug

HEADER = "image,patient,label,site,mask,split,age\n"
GOOD = "a.png,p1,malignant,North Wing,,,61\nb.png,p1,1,North Wing,,,61\nsub/c.png,p2,BENIGN,South,m1.png|m2.png,,50\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "b.png", "sub/c.png"):
        Image.new("L", (8, 6), 128).save(tmp_path / name)
    for number in (1, 2):
        mask = Image.new("1", (8, 6))
        mask.putpixel((number, 0), 1)
        mask.save(tmp_path / f"m{number}.png")
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str) -> str:
    with pytest.raises(DataError) as caught:
        read_manifest(write(folder, text))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_labels_sites_masks_and_attributes_are_read(folder: Path) -> None:
    dataset = read_manifest(write(folder, HEADER + GOOD))
    assert dataset.labels_by_patient() == {"p1": 1, "p2": 0}
    assert [record.site for record in dataset.records] == ["north_wing", "north_wing", "south"]
    assert dataset.records[0].attributes == {"age": "61"}
    assert dataset.read("a.png").shape == (6, 8)
    assert np.isclose(dataset.read("a.png"), 128 / 255).all()


@pytest.mark.parametrize(
    "other", ["P1", "p1\u200b", "\ufeffp1", "p\u00ad1", "\uff501", "p1\u2060", "P1\u00a0"], ids=ascii
)
def test_a_patient_who_is_spelt_in_two_ways_is_not_taken_for_two(folder: Path, other: str) -> None:
    """Before, she had two budgets, and could be in training and test at once."""
    text = HEADER + GOOD.replace("b.png,p1", f"b.png,{other}")
    assert "in one way" in refused(folder, text)
    sound = check_rows(read_lines(write(folder, text)).records, folder)
    assert [(found.code, found.count) for found in sound.findings] == [("patient-two-spellings", 2)]
    assert {record.patient for record in sound.records} == {"p2"}


def test_patients_who_look_different_are_different(folder: Path) -> None:
    read_manifest(write(folder, HEADER + GOOD.replace("b.png,p1", "b.png,p 1").replace("c.png,p2", "c.png,p-1")))


def test_several_masks_of_an_image_are_one_region(folder: Path) -> None:
    dataset = read_manifest(write(folder, HEADER + GOOD))
    mask = read_mask(dataset, dataset.records[2])
    assert mask.shape == (6, 8)
    assert sorted(zip(*np.nonzero(mask), strict=True)) == [(0, 1), (0, 2)]
    with pytest.raises(DataError, match="no mask"):
        read_mask(dataset, dataset.records[0])


def test_a_manifest_from_a_spreadsheet_with_a_byte_order_mark_is_read(folder: Path) -> None:
    path = folder / "manifest.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEADER + GOOD).replace("\n", "\r\n").encode())
    assert len(read_manifest(path).records) == 3


def test_paths_may_start_from_another_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write(tmp_path_factory.mktemp("elsewhere"), HEADER + GOOD)
    assert read_manifest(path, root=folder).read("b.png").shape == (6, 8)
    with pytest.raises(DataError, match="5 of 5 files are not in"):
        read_manifest(path)


@pytest.mark.parametrize("path", ["/etc/passwd", "../a.png", "sub/../../a.png", "C:\\images\\a.png", "..\\a.png"])
def test_paths_that_leave_the_folder_are_refused(folder: Path, path: str) -> None:
    assert "lead out of the image folder" in refused(folder, HEADER + f"{path},p1,1,,,,\n" + GOOD)


def test_a_mask_path_that_leaves_the_folder_is_refused_too(folder: Path) -> None:
    assert "lead out" in refused(folder, HEADER + "a.png,p1,1,,m1.png|/m2.png,,\nb.png,p2,0,,,,\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,label\na.png,1\n", "lacks the column patient"),
        (HEADER, "no records"),
        ("", "is empty; expected a header"),
        ("a,b\n1,2\n", "lacks the column image, patient, label"),
        (HEADER + "a.png,p1,maligne,,,,\nb.png,p2,0,,,,\n", "1 unknown labels (line 2: 'maligne')"),
        (HEADER + "a.png,p1,1,,,holdout,\nb.png,p2,0,,,,\n", "1 unknown splits"),
        (HEADER + "a.png,,1,,,,\nb.png,p2,0,,,,\n", "1 lines lack an image or a patient (line 2)"),
        (HEADER + "a.png,p1,1,,,,\nb.png,p1,0,,,,\n", "1 patients have both labels (p1)"),
        (HEADER + "a.png,p1,1,,,train,\nb.png,p1,1,,,val,\nsub/c.png,p2,0,,,val,\n", "several splits"),
        (HEADER + "a.png,p1,1,,,,\na.png,p1,1,,,,\nb.png,p2,0,,,,\n", "1 images are listed more than once (a.png)"),
        (HEADER + "a.png,p1,0,,,,\nb.png,p2,0,,,,\n", "no malignant patient"),
        (HEADER + "x1.png,p1,0,,,,\nx2.png,p2,1,,,,\n", "2 of 2 files are not in"),
        ("image,image,patient,label\na.png,b.png,p1,1\n", "names a column twice"),
    ],
)
def test_what_is_wrong_is_counted_and_named(folder: Path, text: str, said: str) -> None:
    assert said in refused(folder, text)


def test_a_missing_or_binary_manifest_is_a_data_error(folder: Path) -> None:
    with pytest.raises(DataError, match="no manifest at"):
        read_manifest(folder / "absent.csv")
    with pytest.raises(DataError, match="in none of UTF-8, UTF-16"):
        read_manifest(folder / "a.png")


@given(st.text(st.sampled_from("eéoöñアガ\u0301\u0308\u3099"), min_size=1, max_size=6))
def test_accents_composed_in_two_ways_are_one_patient(name: str) -> None:
    """Before, she was two: each was drawn and clipped apart, while the ledger charged one."""
    forms = [unicodedata.normalize(form, f"p{name}") for form in ("NFC", "NFD")]
    records = [Record(f"{number}.png", form, 1) for number, form in enumerate(forms)]
    dataset = Dataset("x", (*records, Record("other.png", "other", 0)), read=lambda key: np.zeros((1, 1), np.float32))
    assert len(dataset.patients()) == 2
    tensors = to_tensors(dataset, DataConfig(image_size=1))
    assert tensors.num_patients == 2 and sorted(tensors.patient_of.tolist()) in ([0, 0, 1], [0, 1, 1])
    (place,) = {r.split for r in placed(records) if r.patient == forms[0]}
    assert place


def placed(records: list[Record]) -> tuple[Record, ...]:
    """The records among enough others for each split to have both classes."""
    others = [Record(f"o{number}.png", f"o{number}", number % 2) for number in range(120)]
    dataset = Dataset("x", (*records, *others), read=lambda key: np.zeros((1, 1), np.float32))
    return split_by_patient(dataset, seed=0, train_share=0.6, val_share=0.2).records


def test_a_manifest_with_both_forms_lists_one_patient_and_her_label_must_agree(folder: Path) -> None:
    lines = "a.png,Jos\u00e9,malignant,,,,\nb.png,Jose\u0301,{},,,,\nsub/c.png,p2,benign,,,,\n"
    found = read_manifest(write(folder, HEADER + lines.format("malignant")))
    assert list(found.labels_by_patient()) == ["Jos\u00e9", "p2"]
    assert "both labels" in refused(folder, HEADER + lines.format("benign"))


words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@given(st.lists(st.tuples(words, words, st.sampled_from(["", "a,b", 'q"t', "x y"])), min_size=2, max_size=12))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("round")
    records = tuple(
        Record(
            image=f"{number}.png",
            patient=f"{number % 2}{rows[number % 2][0]}",
            label=number % 2,
            site=slug(site),
            attributes={"note": note},
        )
        for number, (_, site, note) in enumerate(rows)
    )
    for record in records:
        (folder / record.image).touch()
    write_manifest(Dataset("x", records, read=lambda key: np.zeros((1, 1), np.float32)), folder / "m.csv")
    assert read_manifest(folder / "m.csv").records == records


def test_a_data_set_answers_by_patient_and_split() -> None:
    records = tuple(Record(str(n), f"p{n // 2}", (n // 2) % 2, split="train" if n < 4 else "val") for n in range(6))
    dataset = Dataset("x", records, read=lambda key: np.zeros((1, 1), np.float32))
    assert [len(group) for group in dataset.patients().values()] == [2, 2, 2]
    assert set(dataset.subset({"p1", "nobody"}).patients()) == {"p1"}
    assert set(dataset.in_split("val").patients()) == {"p2"}
    with pytest.raises(DataError, match="no records"):
        dataset.in_split("test")
    with pytest.raises(DataError, match="neither 0 nor 1"):
        dataset.with_records([Record("a", "p", 2)])


def test_sites_come_from_a_column_or_a_message_lists_the_columns() -> None:
    records = (Record("a", "p", 1, attributes={"ward": "West 2"}), Record("b", "q", 0, attributes={"ward": "East"}))
    dataset = Dataset("x", records, read=lambda key: np.zeros((1, 1), np.float32))
    assert [record.site for record in site_from_column(dataset, "ward").records] == ["west_2", "east"]
    with pytest.raises(DataError, match=r"expected one of the columns \['ward'\]"):
        site_from_column(dataset, "city")
