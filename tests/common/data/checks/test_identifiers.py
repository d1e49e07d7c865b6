"""One patient under two identifiers, two under one, and what DICOM says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.data.checks.identifiers import check_identifiers
from common.data.checks.looking import image_paths
from common.data.manifest import Dataset, Record
from common.data.pixels.images import ImageFiles
from tests.common.data.intake.folders import film


def found(folder: Path, patients: list[str], tags: list[str]) -> dict[str, int]:
    for number, tag in enumerate(tags):
        film(folder / f"{number}.dcm", PatientID=tag)
    records = tuple(Record(f"{n}.dcm", who, int(who.strip("0")[-1:] in "13579")) for n, who in enumerate(patients))
    dataset = Dataset("x", records, read=ImageFiles(folder))
    return {finding.code: finding.count for finding in check_identifiers(dataset, image_paths(dataset))}


PADDED = ["001", "001", "002", "002", "003", "003"]


@pytest.mark.parametrize(
    ("patients", "tags", "codes"),
    [
        (PADDED, PADDED, {}),
        (["1", "1", "2", "2", "3", "3"], PADDED, {}),
        (["1", "001", "2", "002", "3", "003"], PADDED, {"patient-zeros": 3, "patient-id-differs": 6}),
        (["a1", "a1", "a1", "a1", "b2", "b2"], PADDED, {"patient-id-differs": 4}),
        (["1", "1", "2", "2", "3", "3"], ["ANON"] * 6, {}),
        (["1", "1", "1", "1", "1", "1"], ["A", "A", "A", "A", "A", "A"], {"patient-one": 1}),
        (["1.2E+11", "1.2E+11", "2", "2", "3", "3"], [""] * 6, {"patient-broken": 2}),
        (["unknown1", "unknown1", "ANON", "ANON", "3", "3"], [""] * 6, {"patient-nobody": 2}),
    ],
)
def test_identifiers_are_compared_with_each_other_and_with_dicom(
    tmp_path: Path, patients: list[str], tags: list[str], codes: dict[str, int]
) -> None:
    assert found(tmp_path, patients, tags) == codes


def test_files_that_were_not_looked_at_tell_nothing(tmp_path: Path) -> None:
    for number in range(4):
        film(tmp_path / f"{number}.dcm", PatientID="A")
    dataset = Dataset("x", tuple(Record(f"{n}.dcm", f"p{n}", n % 2) for n in range(4)), read=ImageFiles(tmp_path))
    paths = image_paths(dataset)
    assert check_identifiers(dataset, paths[:1]) == [] == check_identifiers(dataset)
    assert [f.code for f in check_identifiers(dataset, paths)] == ["patient-id-differs"]


def test_one_number_at_two_sites_is_said(tmp_path: Path) -> None:
    records = tuple(Record(f"{n}.png", f"p{n % 3}", n % 3 % 2, site=("a", "b")[n > 3]) for n in range(6))
    (finding,) = check_identifiers(Dataset("x", records, read=ImageFiles(tmp_path)))
    assert finding.code == "patient-two-sites" and finding.count == 4
