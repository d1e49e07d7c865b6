"""Nobody's patient is one for all: blank identifiers are refused or counted, and a film of two pictures is neither."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from common.config.study import DataConfig
from common.data.formats import open_dataset
from common.data.manifest import Dataset
from common.errors import DataError
from tests.common.data.layouts import cbis, dicom, film, picture, save, table


def open_set(name: str, root: Path) -> Dataset:
    return open_dataset(DataConfig(name=name, root=str(root)))


def bus_bra(root: Path, cases: list[str]) -> Path:
    """Writes an image a case, benign and malignant in turn."""
    rows: list[list[object]] = [["ID", "Case", "Histology", "Pathology", "BIRADS", "Device", "Side"]]
    for n, case in enumerate(cases):
        picture(root / "Images" / f"bus_{n:04d}-l.png", n, (4, 4))
        rows.append([f"bus_{n:04d}-l", case, "x", ("benign", "malignant")[n % 2], 4, "GE Logiq 7", "left"])
    table(root / "bus_data.csv", rows)
    return root


def test_blank_cases_of_bus_bra_are_not_one_woman(tmp_path: Path) -> None:
    """Before, all of them were the patient 0000."""
    assert set(open_set("bus_bra", bus_bra(tmp_path / "a", ["1", "2"])).patients()) == {"0001", "0002"}
    with pytest.raises(DataError, match=r"2 lines that are not as published \(line 2: .*Case ''"):
        open_set("bus_bra", bus_bra(tmp_path / "b", ["", "1", "", "2"]))


def test_files_of_bus_bra_lie_in_its_folder(tmp_path: Path) -> None:
    root = bus_bra(tmp_path / "set", ["1", "2"])
    path = root / "bus_data.csv"
    path.write_text(path.read_text().replace("bus_0000-l", "../bus_0000-l"))
    with pytest.raises(DataError, match=r"line 2: .*ID '\.\./bus_0000-l'"):
        open_set("bus_bra", root)


def test_a_blank_id_of_cmmd_joins_no_film_without_a_patient(tmp_path: Path) -> None:
    """Before, films whose PatientID was taken out became one woman with the label of a row without an ID."""
    header = ("ID1", "LeftRight", "Age", "number", "abnormality", "classification", "subtype")
    table(tmp_path / "CMMD_clinicaldata.csv", [header, ("", "L", 40, 2, "mass", "Malignant", "")])
    save(dicom(film(1), PatientID="", ImageLaterality="L", ViewPosition="CC"), tmp_path / "1.dcm")
    with pytest.raises(DataError, match="line 2: ID1 ''"):
        open_set("cmmd", tmp_path)


def test_a_film_of_cbis_with_two_pictures_is_left_out_and_counted(tmp_path: Path) -> None:
    """Before, the first of them by name was taken, and which one that is nobody said."""
    root = cbis(tmp_path, 6)
    folder = next(
        path for path in (root / "CBIS-DDSM").iterdir() if "P_00001" in path.name and path.name.endswith("CC")
    )
    shutil.copytree(folder, root / "again" / folder.name)
    dataset = open_set("cbis_ddsm", root)
    assert len(dataset.records) == 11
    assert "Left out: 1 films with several pictures." in dataset.notes
