"""EMBED: a breast's label out of its findings' pathology, by exam and side, and everything in doubt left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config.study import DataConfig
from common.data.formats import open_dataset
from common.data.manifest import Dataset
from common.data.readers import embed as reader
from common.data.readers.embed_labels import LABELS, OPEN, label_breasts
from common.data.readers.rows import whole_number
from common.errors import DataError
from tests.common.data.layouts_screening import STORE, embed, embed_file, finding

FINDINGS = (
    finding("60000001", "1001", "L", "S", "0.0", "L"), finding("60000001", "1001", "R", "N"),
    finding("60000002", "1002", "R", "S", "4.0", "R"), finding("60000002", "1002", "L", "N"),
    finding("60000003", "1003", "", "N"), finding("60000004", "1004", "L", "S", "2", "L"),
    finding("60000005", "1005", "B", "B"),
)  # fmt: skip
FILES = tuple(
    embed_file(f"6000000{n}", f"100{n}", side, f"{n}{side}") for n in range(1, 6) for side in "LR"
)  # fmt: skip


def open_embed(root: Path, **keys: object) -> Dataset:
    return open_dataset(DataConfig(name="embed", root=str(root), **{"include_normal": True, **keys}))  # type: ignore[arg-type]


def labels(dataset: Dataset) -> dict[tuple[str, str], int]:
    return {(record.patient, record.attributes["side"]): record.label for record in dataset.records}


def test_findings_label_the_images_of_their_exam_and_side(tmp_path: Path) -> None:
    dataset = open_embed(embed(tmp_path, FINDINGS, FILES))
    assert labels(dataset) == {
        ("60000001", "left"): 1, ("60000002", "right"): 0, ("60000002", "left"): 0, ("60000003", "left"): 0,
        ("60000003", "right"): 0, ("60000005", "left"): 0, ("60000005", "right"): 0,
    }  # fmt: skip
    record = dataset.records[0]
    assert record.site == "selenia_dimensions" and record.attributes["race"] == "Black"
    assert (record.attributes["density"], record.attributes["sex"], record.attributes["exam"]) == ("B", "F", "1001")
    assert dataset.read(record.image).shape == (96, 72)
    notes = dataset.notes
    assert "Left out: 1 images of a breast with a high-risk or borderline lesion (path_severity 2 or 3)." in notes
    assert "Left out: 1 images without a finding's row of their exam and side." in notes
    assert "Left out: 1 images without malignancy of 1 patients who have malignant ones." in notes
    assert any("BI-RADS 1 or 2, not pathology" in note for note in notes)


def test_a_bi_rads_is_no_pathology_unless_asked_for(tmp_path: Path) -> None:
    dataset = open_embed(embed(tmp_path, FINDINGS, FILES), include_normal=False)
    assert labels(dataset) == {("60000001", "left"): 1, ("60000002", "right"): 0}
    assert any(note.startswith("Left out: 6 images of breasts without pathology") for note in dataset.notes)
    assert not any("not pathology (attribute" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ((("L", "S", "0", ""),), {"L": 1}),
        ((("L", "S", "1.0", "L"), ("L", "S", "4", "L")), {"L": 1}),
        ((("L", "S", "4", "L"), ("L", "S", "1", "L")), {"L": 1}),
        ((("L", "S", "5", ""),), {"L": 0}),
        ((("B", "S", "0", "R"),), {"R": 1}),
        ((("B", "N", "4", "R"),), {"L": 0, "R": 0}),
        ((("L", "S", "0", "R"),), {}),
        ((("B", "S", "0", ""),), {}),
        ((("", "S", "4", ""),), {}),
        ((("L", "S", "4", "B"),), {}),
        ((("L", "S", "6", "L"),), {}),
        ((("L", "S", "3", "L"), ("L", "S", "4", "L")), {}),
        ((("L", "S", "7", "L"),), {}),
        ((("L", "S", "high", "L"),), {}),
        ((("L", "S", "4", "L"), ("L", "S", "", "")), {}),
        ((("L", "S", "4", "L"), ("L", "A", "", "")), {}),
        ((("L", "K", "", ""),), {}),
        ((("L", "P", "", ""), ("R", "N", "", "")), {"R": 0}),
        ((("L", "", "", ""), ("R", "X", "", "")), {}),
        ((("l", "n", "", ""),), {"L": 0}),
        ((("left", "N", "", ""),), {}),
        ((("L", "N", "", "x"),), {}),
    ],
)
def test_the_published_scale_and_nothing_between(rows: tuple[tuple[str, ...], ...], told: dict[str, int]) -> None:
    found = label_breasts([finding("1", "2", *row) for row in rows]).told
    assert {side: LABELS[what] for (_, _, side), what in found.items() if what in LABELS} == told


ROWS = st.lists(
    st.builds(
        finding,
        patient=st.sampled_from("12"), exam=st.sampled_from("34"), side=st.sampled_from(["L", "R", "B", ""]),
        asses=st.sampled_from([*"ANBPSMK", "", "X"]), severity=st.sampled_from(["", *"0123456", "9"]),
        bside=st.sampled_from(["", "L", "R", "B"]),
    ),
    max_size=8,
)  # fmt: skip


@given(rows=ROWS, more=ROWS, order=st.randoms(use_true_random=False))
def test_more_findings_never_take_a_cancer_away_nor_make_doubt_certain(
    rows: list[dict[str, str]], more: list[dict[str, str]], order: object
) -> None:  # fmt: skip
    before, after = label_breasts(rows), label_breasts([*rows, *more])
    for breast, what in before.told.items():
        assert LABELS.get(what) != 1 or LABELS.get(after.told[breast]) == 1
        assert what in LABELS or LABELS.get(after.told[breast]) != 0
    assert before.open <= after.open
    mixed = [*rows, *more]
    order.shuffle(mixed)  # type: ignore[attr-defined]
    assert label_breasts(mixed) == after


@given(rows=ROWS)
def test_no_breast_of_label_0_has_a_row_that_could_be_cancer(rows: list[dict[str, str]]) -> None:
    for (patient, exam, side), what in label_breasts(rows).told.items():
        if LABELS.get(what) == 0:
            of = [
                r for r in rows if (r["empi_anon"], r["acc_anon"]) == (patient, exam) and r["side"] in (side, "B", "")
            ]
            assert of and all(r["path_severity"] in ("", "4", "5") or r["bside"] not in (side, "", "B") for r in of)
            assert all(r["asses"] in "NB" for r in of if not r["path_severity"])


def test_an_open_question_elsewhere_costs_a_patient_her_label_0(tmp_path: Path) -> None:
    findings = (*FINDINGS, finding("60000003", "1009", "L", "M"))
    dataset = open_embed(embed(tmp_path, findings, FILES))
    assert "60000003" not in dataset.patients()
    assert "Left out: 2 images without cancer of patients with an open question elsewhere." in dataset.notes
    assert "60000003" in label_breasts(findings).open and len(OPEN) == 4


def test_synthetic_special_and_unsided_images_are_left_out_and_counted(tmp_path: Path) -> None:
    more = [
        embed_file("60000002", "1002", "L", "c", kind="C-view"), embed_file("60000002", "1002", "L", "s", spot="1.0"),
        embed_file("60000002", "1002", "", "u"),
    ]  # fmt: skip
    dataset = open_embed(embed(tmp_path, FINDINGS, [*FILES, *more]))
    assert len(dataset.records) == 7
    for reason in ("that are no standard 2D images", "of spot or magnification views", "whose side is not told"):
        assert f"Left out: 1 images {reason}." in dataset.notes


def test_a_file_listed_twice_counts_once_and_in_two_ways_not_at_all(tmp_path: Path) -> None:
    same = open_embed(embed(tmp_path / "same", FINDINGS, [*FILES, FILES[2]]))
    assert len(same.records) == 7 and "1 rows of the table of files name a file again." in same.notes
    other = {**FILES[2], "ImageLateralityFinal": "R"}
    dataset = open_embed(embed(tmp_path / "other", FINDINGS, [*FILES, other]))
    assert ("60000002", "left") not in labels(dataset)
    assert "Left out: 1 images listed twice in two ways." in dataset.notes


def test_copies_reduced_tables_and_other_stores_are_read(tmp_path: Path) -> None:
    told = open_embed(embed(tmp_path / "a", FINDINGS, FILES))
    root = embed(tmp_path / "b", FINDINGS, FILES, ".png")
    for path in (root / "tables").iterdir():
        text = path.read_text().replace(STORE, "images").replace("spot_mag", "other").replace("bside", "another")
        path.with_stem(f"{path.stem}_reduced").write_text(text)
        path.unlink()
    copied = open_embed(root)
    assert labels(copied) == labels(told)
    assert {Path(record.image).suffix for record in copied.records} == {".png"}
    assert "Read: EMBED_OpenData_clinical_reduced.csv and EMBED_OpenData_metadata_reduced.csv." in copied.notes
    for said in ("no column spot_mag", "no column bside", "Copies as .png"):
        assert any(said in note for note in copied.notes) and not any(said in note for note in told.notes)


def test_the_whole_table_goes_before_its_reduced_copy_unless_it_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = embed(tmp_path, FINDINGS, FILES)
    whole = root / "tables" / "EMBED_OpenData_metadata.csv"
    reduced = whole.with_stem(f"{whole.stem}_reduced")
    reduced.write_text(whole.read_text())
    assert "Read: EMBED_OpenData_clinical.csv and EMBED_OpenData_metadata.csv." in open_embed(root).notes
    with whole.open("a") as file:
        file.write("\n" * 100)
    monkeypatch.setattr(reader, "MAX_BYTES", reduced.stat().st_size)
    assert "Read: EMBED_OpenData_clinical.csv and EMBED_OpenData_metadata_reduced.csv." in open_embed(root).notes


@pytest.mark.parametrize("text", ["", "1.99E+15", "12a", "-3", "1,5", "1.5"])
def test_rounded_and_blank_ids_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="is no whole number"):
        whole_number(text)
    rows = [*FINDINGS, finding("60000009", text, "L", "N")]
    with pytest.raises(DataError, match=r"1 lines that are not as published \(line 9: empi_anon or acc_anon"):
        open_embed(embed(tmp_path, rows, FILES))


def test_ids_are_the_same_with_and_without_a_point() -> None:
    assert whole_number("60000001.0") == whole_number("60000001") == "60000001"


@pytest.mark.parametrize(
    ("table", "column"),
    [("clinical", "path_severity"), ("clinical", "side"), ("metadata", "acc_anon"), ("metadata", "FinalImageType")],
)
def test_a_column_that_is_missing_is_named(tmp_path: Path, table: str, column: str) -> None:
    path = embed(tmp_path, FINDINGS, FILES) / "tables" / f"EMBED_OpenData_{table}.csv"
    path.write_text(path.read_text().replace(column, f"x{column}", 1))
    with pytest.raises(DataError, match=f"lacks {column}"):
        open_embed(tmp_path)


def test_missing_tables_images_and_paths_that_leave_are_refused(tmp_path: Path) -> None:
    root = embed(tmp_path, FINDINGS, FILES)
    path = root / "tables" / "EMBED_OpenData_metadata.csv"
    text = path.read_text()
    path.write_text(text.replace("cohort_1/60000001", "cohort_1/../../60000001"))
    with pytest.raises(DataError, match=r"2 lines .* anon_dicom_path"):
        open_embed(root)
    path.write_text(text.replace("cohort_1", "cohort_2"))
    with pytest.raises(DataError, match=r"No file of EMBED_OpenData_metadata\.csv is below"):
        open_embed(root)
    path.unlink()
    with pytest.raises(DataError, match=r"There are 0 tables EMBED_OpenData_metadata\.\.\.csv"):
        open_embed(root)
    for end in ("_train", "_test"):
        path.with_stem(f"{path.stem}{end}").write_text(text)
    with pytest.raises(DataError, match="There are 2 tables"):
        open_embed(root)
