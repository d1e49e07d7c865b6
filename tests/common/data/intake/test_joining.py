"""Rows speak of the images they name, and of no others: by path, by folder columns, by DICOM keys, by folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.intake.choices import Choices
from common.data.intake.headers import Header, read_headers
from common.data.intake.joining import join
from common.errors import DataError
from tests.common.data.intake.folders import film

EXAMS = [f"E{number:02d}" for number in range(6)]
IMAGES = [f"{exam}/1-{number}.dcm" for exam in EXAMS for number in (1, 2)]


def spelled(path: str, how: str) -> str:
    return {
        "plain": path, "windows": path.replace("/", "\\"), "drive": "D:\\Export\\" + path.replace("/", "\\"),
        "parent": f"dicom/{path}", "absolute": f"/archive/dicom/{path}", "dot": f"./{path}", "upper": path.upper(),
        "stem": path.removesuffix(".dcm"),
    }[how]  # fmt: skip


@given(
    st.permutations(IMAGES),
    st.sampled_from(["plain", "windows", "drive", "parent", "absolute", "dot", "upper", "stem"]),
)
def test_paths_name_their_own_image_however_written(order: list[str], how: str) -> None:
    rows = [{"file": spelled(image, how), "who": image} for image in order]
    joined = join(IMAGES, rows, {}, Choices())
    assert {image: [row["who"] for row in some] for image, some in joined.rows.items()} == {i: [i] for i in IMAGES}


@given(st.permutations(IMAGES))
def test_names_that_repeat_are_told_apart_by_a_column_of_folders(order: list[str]) -> None:
    rows = [{"exam": image.split("/")[0], "file": image.split("/")[1], "who": image} for image in order]
    joined = join(IMAGES, rows, {}, Choices())
    assert {image: some[0]["who"] for image, some in joined.rows.items()} == {image: image for image in IMAGES}
    assert set(joined.columns) == {"file", "exam"}


@given(st.lists(st.sampled_from(["1-1.dcm", "1-2.dcm"]), min_size=1, max_size=8))
def test_names_that_repeat_name_nothing_by_themselves(cells: list[str]) -> None:
    with pytest.raises(DataError, match="repeat in several folders"):
        join(IMAGES, [{"file": cell} for cell in cells], {}, Choices())


def test_a_path_in_another_folder_names_nothing() -> None:
    rows = [{"file": f"E{number:02d}/scan.png"} for number in range(4)]
    with pytest.raises(DataError, match="names the images"):
        join(["A/scan.png", "B/scan.png"], rows, {}, Choices())


def test_several_rows_of_an_image_stay_several() -> None:
    rows = [{"image": "a.png", "n": "1"}, {"image": "a.png", "n": "2"}, {"image": "b.png", "n": "3"}]
    joined = join(["a.png", "b.png"], rows, {}, Choices())
    assert [row["n"] for row in joined.rows["a.png"]] == ["1", "2"]


def test_two_columns_that_number_the_images_differently_are_doubt() -> None:
    rows = [{"first": str(n), "second": str(9 - n)} for n in range(10)]
    images = [f"{n}.png" for n in range(10)]
    with pytest.raises(DataError, match="--image-column"):
        join(images, rows, {}, Choices())
    joined = join(images, rows, {}, Choices(image_column="second"))
    assert joined.rows["9.png"][0]["first"] == "0"
    named = [{"age": str(n), "image": str(9 - n)} for n in range(10)]
    assert join(images, named, {}, Choices()).columns == ("image",)


def test_a_row_a_breast_joins_by_patient_id_and_side(tmp_path: Path) -> None:
    for who in ("D1-01", "D1-02"):
        for number, (side, view) in enumerate((s, v) for s in "LR" for v in ("CC", "MLO")):
            film(tmp_path / who / "x" / f"1-{number}.dcm", PatientID=who, ImageLaterality=side, ViewPosition=view)
    film(tmp_path / "D1-02" / "x" / "1-9.dcm", PatientID="D1-02")
    images = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.dcm"))
    rows = [{"ID1": who, "LeftRight": side} for who in ("D1-01", "D1-02") for side in "LR"]
    joined = join(images, rows, read_headers(tmp_path, images), Choices())
    assert all(len(some) == 1 for some in joined.rows.values()) and len(joined.rows) == 8
    assert {some[0]["LeftRight"] for image, some in joined.rows.items() if image.endswith(("0.dcm", "1.dcm"))} == {"L"}
    assert "D1-02/x/1-9.dcm" not in joined.rows  # its side is not known, and the table tells of sides


def test_a_side_that_is_no_side_speaks_of_no_image() -> None:
    images = ["P1/L_CC.png", "P1/R_CC.png", "P2/L_CC.png", "P2/R_CC.png"]
    rows = [{"id": "P1", "side": "L"}, {"id": "P1", "side": "?"}, {"id": "P2", "side": "both"}]
    joined = join(images, rows, {}, Choices())
    assert sorted(joined.rows) == ["P1/L_CC.png", "P2/L_CC.png", "P2/R_CC.png"] and joined.unused == 1


def test_a_row_a_patient_joins_by_the_folder() -> None:
    images = [f"{word}/P{number:03d}/{view}.png" for number, word in enumerate("aabb") for view in ("LCC", "RCC")]
    rows = [{"patient": f"P{number:03d}", "pathology": "benign"} for number in range(4)]
    joined = join(images, rows, {}, Choices())
    assert {image: some[0]["patient"] for image, some in joined.rows.items()} == {i: i.split("/")[1] for i in images}


def test_lost_zeros_are_named_and_not_guessed() -> None:
    headers = {f"scan{n}.dcm": Header({"PatientID": f"{n:06d}"}) for n in range(100, 109)}
    rows = [{"patient": str(n), "label": "benign"} for n in range(100, 109)]
    with pytest.raises(DataError, match="leading zeros"):
        join(list(headers), rows, headers, Choices())


def test_a_column_of_sides_is_no_column_of_images_and_unknown_sides_join_nothing() -> None:
    images = [f"P{n}/{k}.png" for n in range(4) for k in (1, 2)]
    rows = [{"patient": f"P{n}", "side": side} for n in range(4) for side in "LR"]
    with pytest.raises(DataError, match="tells of a side"):
        join(images, rows, {}, Choices())
    named = [f"P{n}/{side}.png" for n in range(4) for side in "LR"]
    assert {i: r[0]["patient"] + r[0]["side"] for i, r in join(named, rows, {}, Choices()).rows.items()} == {
        name: name.removesuffix(".png").replace("/", "") for name in named
    }


def test_columns_of_masks_name_no_image() -> None:
    rows = [{"mask_file": f"{n}_tumor.png", "image_file": f"{n}.png"} for n in range(4)]
    images = [f"{n}{end}.png" for n in range(4) for end in ("", "_tumor")]
    assert sorted(join(images, rows, {}, Choices()).rows) == [f"{n}.png" for n in range(4)]


@given(st.integers(11, 60))
def test_a_table_of_many_more_images_than_are_here_is_joined(number: int) -> None:
    images = [f"IMG_{n}.png" for n in range(10)]
    joined = join(images, [{"image": f"IMG_{n}.png"} for n in range(number)], {}, Choices())
    assert sorted(joined.rows) == sorted(images) and joined.unused == number - 10


def test_converted_files_join_by_the_series_in_a_stale_path() -> None:
    uids = [f"1.3.6.1.{n}" for n in range(100, 108)]
    rows = [{"patient": f"P{n}", "side": "LEFT", "image file path": f"Mass_P{n}/1.3/{uid}/000000.dcm"}
            for n, uid in enumerate(uids)]  # fmt: skip
    images = [f"{uid}/1-019.jpg" for uid in uids]
    joined = join(images, rows[::-1], {}, Choices())
    assert {image: some[0]["patient"] for image, some in joined.rows.items()} == {
        image: f"P{n}" for n, image in enumerate(images)
    }
