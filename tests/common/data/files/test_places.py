"""A named file is found under the name it has on disk, or nowhere, and where it may be instead is said."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.data.files.places import found_keys, is_file, whereabouts, without_start
from common.data.manifest import read_manifest
from common.errors import DataError
from tests.common.data.intake.folders import pictures

NAME = st.text(st.sampled_from("aäöéñ1가が"), min_size=1, max_size=5)
FORMS = st.sampled_from(["NFC", "NFD"])


@given(st.lists(NAME, min_size=1, max_size=3), FORMS, FORMS, st.sampled_from(["/", "\\"]))
def test_accents_and_backslashes_find_the_file(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], written: str, asked: str, sign: str
) -> None:
    root = tmp_path_factory.mktemp("t")
    on_disk = unicodedata.normalize(written, "/".join(parts))
    (root / on_disk).parent.mkdir(parents=True, exist_ok=True)
    (root / on_disk).write_bytes(b"x")
    key = unicodedata.normalize(asked, sign.join(parts))
    assert found_keys(root, [key]) == {key: on_disk}


def test_two_files_of_one_name_in_two_forms_are_told_apart_or_not_found(tmp_path: Path) -> None:
    forms = [unicodedata.normalize(form, "Köln.png") for form in ("NFC", "NFD")]
    for form in forms:
        (tmp_path / form).write_bytes(b"x")
    assert found_keys(tmp_path, forms) == {form: form for form in forms}
    mixed = unicodedata.normalize("NFD", "x/Köln.png").replace("x/", ".\\")
    assert found_keys(tmp_path, [mixed]).get(mixed) in (None, forms[1])


@pytest.mark.parametrize("key", ["../x.png", "/etc/hosts", "..\\x.png", "C:\\x.png", "a/../../x.png"])
def test_no_key_leads_out_of_the_folder(tmp_path: Path, key: str) -> None:
    (tmp_path / "x.png").write_bytes(b"x")
    (tmp_path / "in").mkdir()
    assert found_keys(tmp_path / "in", [key]) == {}


def test_a_literal_backslash_wins(tmp_path: Path) -> None:
    (tmp_path / "a\\b.png").write_bytes(b"x")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(b"x")
    assert found_keys(tmp_path, ["a\\b.png"]) == {"a\\b.png": "a\\b.png"}


def test_where_files_may_be_is_said(tmp_path: Path) -> None:
    pictures(tmp_path, ["images/1.png", "images/2.png", "Scans/3.PNG"])
    assert "images" in whereabouts(tmp_path, ["1.png", "2.png"]) and "--images" in whereabouts(tmp_path, ["1.png"])
    assert "letter case" in whereabouts(tmp_path, ["scans/3.png"])
    assert str(tmp_path) in whereabouts(tmp_path / "Scans", ["images/1.png"])
    assert "images/1.png" in whereabouts(tmp_path, ["other/1.png"])
    assert whereabouts(tmp_path, ["none.png"]) == ""


@given(st.sets(st.text(st.sampled_from("äöab가"), min_size=1, max_size=4), min_size=2, max_size=5))
def test_a_manifest_written_elsewhere_opens(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    assume(len({unicodedata.normalize("NFC", name) for name in names}) == len(names))
    root = tmp_path_factory.mktemp("t")
    pictures(root, [f"x/{unicodedata.normalize('NFD', name)}.png" for name in names])
    lines = [f"x\\{unicodedata.normalize('NFC', n)}.png;p{k};{k % 2}" for k, n in enumerate(sorted(names))]
    (root / "m.csv").write_text("Image;Patient;Label\n" + "\n".join(lines), encoding="utf-8-sig")
    dataset = read_manifest(root / "m.csv")
    assert all(dataset.read(record.image).shape == (6, 7) for record in dataset.records)


def test_missing_files_are_counted_with_an_example_and_a_place(tmp_path: Path) -> None:
    pictures(tmp_path, ["images/1.png", "images/2.png"])
    (tmp_path / "m.csv").write_text("image,patient,label\n1.png,a,1\n2.png,b,0\n")
    with pytest.raises(DataError, match=r"2 of 2 files are not in .*1\.png.*images.*--images"):
        read_manifest(tmp_path / "m.csv")


def test_a_name_that_no_file_system_takes_is_no_file(tmp_path: Path) -> None:
    assert not is_file(tmp_path, "x" * 5000) and not is_file(tmp_path, "a\0b")
    assert found_keys(tmp_path, ["x" * 5000]) == {}


def test_what_to_take_off_an_absolute_path_is_said(tmp_path: Path) -> None:
    pictures(tmp_path, ["images/p1/us.png"])
    for key in ("D:\\Export\\images\\p1\\us.png", "/old/images/p1/us.png"):
        said = without_start(tmp_path, [key])
        assert key.split("images")[0] in said and "images/p1/us.png" in said
    assert without_start(tmp_path, ["/old/none.png"]) == ""
