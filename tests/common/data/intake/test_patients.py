"""A patient is one beyond doubt: columns, PatientID, folders and names, each against the others."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.intake.choices import Choices, PatientSource
from common.data.intake.headers import Header
from common.data.intake.identifiers import alike, bare, is_broken, is_nobody
from common.data.intake.joined import Joined, Row
from common.data.intake.patients import Patients, tell_patients
from common.errors import DataError

VIEWS = ("LCC", "LMLO", "RCC", "RMLO")


def told(images: list[str], joined: Joined | None = None, headers: Mapping[str, Header] | None = None,
         patients: PatientSource = "", level: int = 0) -> Patients:  # fmt: skip
    return tell_patients(images, joined, headers or {}, Choices(patients=patients, level=level))


def codes(found: Patients) -> set[str]:
    return {finding.code for finding in found.findings}


def table(cells: Mapping[str, str], name: str = "patient_id") -> Joined:
    rows: dict[str, tuple[Row, ...]] = {image: ({name: who},) for image, who in cells.items()}
    return Joined(rows, ("image",), "")


@given(st.integers(3, 30), st.sampled_from(["P{:03d}", "patient_{}", "Case {}"]), st.sampled_from(["", "train/", "x/"]))
def test_a_folder_a_patient_is_a_patient(number: int, form: str, above: str) -> None:
    names = ("1_L_CC", "2_R_MLO", "3")
    images = [
        f"{above}{'benign' if n % 2 else 'malignant'}/{form.format(n)}/{name}.png"
        for n in range(number)
        for name in names
    ]
    found = told(images)
    assert found.of == {image: image.split("/")[-2] for image in images} and not codes(found)


@pytest.mark.parametrize("form", ["batch{}", "site_{}", "2019{:02d}", "BI-RADS {}", "set {}"])
def test_folders_of_batches_are_no_patients(form: str) -> None:
    images = [f"{form.format(n)}/{k}.png" for n in range(1, 6) for k in range(20)]
    found = told(images)
    assert len(set(found.of.values())) == 100 and codes(found) == {"patient-is-image"}


def test_two_readings_of_the_folders_are_an_error_with_the_choice() -> None:
    images = [f"{n:04d}/{10 * n + k}/{v}.png" for n in range(5) for k in range(2) for v in VIEWS]
    found = told(images)
    (finding,) = [finding for finding in found.findings if finding.severity == "error"]
    assert (
        finding.code == "patient-doubt" and "--level 1 would give 5" in finding.line() and "--patients" in finding.fix
    )
    assert len(set(told(images, patients="folder", level=1).of.values())) == 5
    assert len(set(told(images, patients="folder", level=2).of.values())) == 10


def test_a_name_begins_with_the_patient_only_where_the_rest_is_a_view_or_a_number() -> None:
    views = [f"benign/W{n:02d}_{v}.png" for n in range(9) for v in VIEWS]
    assert len(set(told(views).of.values())) == 9
    dates = [f"20200101_{n:03d}.png" for n in range(9)] + ["20200102_001.png"]
    words = [f"{n % 3}_{word}.png" for n, word in enumerate(("north", "south", "east", "west"))]
    again = [f"{word}/{n}_{v}.png" for word in ("malignant", "benign") for n in range(3) for v in VIEWS]
    for images in (dates, words, again):
        assert len(set(told(images).of.values())) == len(images)


@given(st.integers(1, 10**6), st.integers(1, 5), st.sampled_from(["", "P", "pat-", "ü"]))
def test_identifiers_that_differ_in_zeros_are_one_when_bare(number: int, zeros: int, before: str) -> None:
    forms = {f"{before}{number}", f"{before}{'0' * zeros}{number}", f"{before.upper()} {number}"}
    assert len({bare(form) for form in forms}) == 1
    assert bare(f"{before}{number}") != bare(f"{before}{number}0")
    composed = {unicodedata.normalize("NFC", form) for form in forms}
    assert alike([*forms, *(unicodedata.normalize("NFD", form) for form in forms)]) == [tuple(sorted(composed))]


def test_lost_zeros_in_a_column_are_an_error_until_confirmed() -> None:
    cells = {f"{n}{k}.png": (f"{n:04d}" if k else str(n)) for n in range(1, 9) for k in range(2)}
    assert codes(told(list(cells), table(cells))) == {"patient-zeros"}
    confirmed = told(list(cells), table(cells), patients="column")
    assert not codes(confirmed) and len(set(confirmed.of.values())) == 16


def test_a_column_that_dicom_contradicts_is_an_error_and_pseudonyms_are_none() -> None:
    images = [f"{n}{k}.dcm" for n in range(5) for k in range(2)]
    headers = {image: Header({"PatientID": f"ID-{image[0]}"}) for image in images}
    pseudonyms = {image: f"secret{image[0]}" for image in images}
    assert not codes(told(images, table(pseudonyms), headers))
    parted = pseudonyms | {"00.dcm": "other"}
    merged = pseudonyms | {"10.dcm": "secret0", "11.dcm": "secret0"}
    for cells in (parted, merged):
        assert codes(told(images, table(cells), headers)) == {"patient-id-differs"}
        assert codes(told(images, table(cells), headers, patients="dicom")) == set()
    views = {image: Header({"PatientID": f"CBIS_{image}"}) for image in images}
    assert not codes(told(images, table(pseudonyms), views))  # a PatientID a file names no patient


@pytest.mark.parametrize("nobody", ["ANON", "anonymous", " ", "", "XXXX", "n/a", "匿名"])
def test_words_for_nobody_are_no_patients(nobody: str) -> None:
    assert is_nobody(nobody)
    images = [f"{n}.dcm" for n in range(6)]
    headers = {image: Header({"PatientID": nobody if n % 2 else f"W{n}"}) for n, image in enumerate(images)}
    found = told(images, None, headers)
    assert codes(found) == {"patient-nobody"} and len(found.of) == 3


def test_one_patient_in_all_and_broken_numbers_are_errors() -> None:
    images = [f"{n}.dcm" for n in range(6)]
    assert "patient-one" in codes(told(images, None, {i: Header({"PatientID": "7"}) for i in images}))
    cells = {image: "1.23457E+11" if n % 2 else f"W{n}" for n, image in enumerate(images)}
    assert is_broken("1.23457E+11") and codes(told(images, table(cells))) == {"patient-broken"}


def test_rows_that_name_several_patients_and_columns_that_disagree_are_errors() -> None:
    several: dict[str, tuple[Row, ...]] = {"a.png": ({"patient": "1"}, {"patient": "2"}), "b.png": ({"patient": "3"},)}
    found = told(["a.png", "b.png"], Joined(several, ("image",), ""))
    assert "patient-several" in codes(found) and set(found.of) == {"b.png"}
    rows = {f"{n}.png": ({"patient_id": str(n // 2), "mrn": str(n)},) for n in range(8)}
    assert codes(told(list(rows), Joined(rows, ("image",), ""))) == {"patient-columns"}


def test_columns_about_patients_are_not_their_identifiers() -> None:
    rows = {f"{n}.png": ({"patient age": "50", "patient_name": "x", "PatientID": f"W{n}"},) for n in range(4)}
    assert set(told(list(rows), Joined(rows, ("image",), "")).of.values()) == {"W0", "W1", "W2", "W3"}


def test_copies_count_as_their_original() -> None:
    images = [f"{part}/benign/benign ({n}){end}.png" for n, part in enumerate(("train", "val", "train"))
              for end in ("", "-rotated1", "_hflip", "-rotated2_aug")]  # fmt: skip
    moved = [image.replace("train/", "test/") if image.endswith("_hflip.png") else image for image in images]
    found = told(moved)
    assert len(set(found.of.values())) == 3 and codes(found) == {"patient-is-image", "copies"}


def test_what_is_asked_for_must_be_there() -> None:
    with pytest.raises(DataError, match="no DICOM"):
        told(["a.png"], patients="dicom")
    with pytest.raises(DataError, match="--labels"):
        told(["a.png"], patients="column")
    with pytest.raises(DataError, match="--patient-column"):
        told(["a.png"], table({"a.png": "x"}, "who"), patients="column")


@given(st.integers(3, 8), st.sampled_from(["P{:03d}", "{:03d}"]))
def test_hospitals_that_number_alike_are_not_merged(number: int, form: str) -> None:
    images = [
        f"{h}/{('benign', 'malignant')[n % 2]}/{form.format(n)}/{v}.png"
        for h in "AB"
        for n in range(number)
        for v in VIEWS
    ]
    assert codes(told(images)) == {"patient-doubt"}
    chosen = told(images, patients="folder")
    assert len(set(chosen.of.values())) == 2 * number and not codes(chosen)


@pytest.mark.parametrize(("folders", "certain"), [(range(1, 6), False), (range(100, 112), True), (range(30), True)])
def test_a_few_short_numbers_may_be_grades(folders: range, certain: bool) -> None:
    images = [f"{n}/{k}.png" for n in folders for k in range(12)]
    assert (codes(told(images)) == set()) == certain
