"""CMMD: digital mammograms of 1,775 Chinese women, one table row a breast with a biopsy-proven class (Cui 2021)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.files.tree import files_in
from common.data.formats import required_root
from common.data.manifest import LABEL_WORDS, Dataset, Record
from common.data.pixels.dicom import DicomHeader, scan
from common.data.pixels.images import ImageFiles
from common.data.readers.classes import one_label
from common.data.readers.rows import Row, each, read_rows
from common.errors import DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Cui C, Li L, Cai H, Fan Z, Zhang L, Dan T, Li J, Wang J. The Chinese Mammography Database (CMMD): An online "
    "mammography database with biopsy confirmed types for machine diagnosis of breast. The Cancer Imaging Archive, "
    "2021. doi:10.7937/tcia.eqde-4b16"
)
LICENCE = "CC BY 4.0 (TCIA)"
NEEDED = ("ID1", "LeftRight", "abnormality", "classification")
_SIDES = {"L": "left", "R": "right"}
Breast = tuple[str, str]


def open_cmmd(data: DataConfig) -> Dataset:
    """Returns CMMD: patient is PatientID (``ID1``); an image has the label of its breast, by DICOM's laterality.

    A breast of several rows is malignant if one is. Attributes finding, side, view.

    Raises:
        ConfigError, DataError: The table or its DICOM files are missing or of another layout.
    """
    root = required_root(data, "the folder with CMMD_clinicaldata_revision.csv and the DICOM folders")
    table = _table(root)
    breasts = _breasts(table)
    headers, refused = scan(root)
    found = {key: breasts[breast] for key, header in headers.items() if (breast := _breast(header)) in breasts}
    if not found:
        raise DataError(f"No DICOM below {root} is of a patient and side of {table.name}; expected those of TCIA")
    kept, left_out = one_label(_record(key, headers[key], rows) for key, rows in found.items())
    return Dataset(
        name="CMMD",
        records=kept,
        read=ImageFiles(root),
        citation=CITATION,
        licence=LICENCE,
        notes=(*_notes(breasts, headers, found, refused), *left_out),
    )


def _table(root: Path) -> Path:
    tables = [path for path in files_in(root, ".csv") if path.name.lower().startswith("cmmd_clinicaldata")]
    if len(tables) != 1:
        raise DataError(
            f"There are {len(tables)} tables CMMD_clinicaldata...csv in {root}; expected one: "
            "save the workbook of TCIA as CSV"
        )
    return tables[0]


def _breasts(table: Path) -> dict[Breast, list[Row]]:
    rows = read_rows(table, NEEDED)
    breasts: dict[Breast, list[Row]] = defaultdict(list)
    for key, row in zip(each(table, rows, _key), rows, strict=True):
        breasts[key].append(row)
    return dict(breasts)


def _key(row: Row) -> Breast:
    if not row["ID1"]:
        raise ValueError("ID1 ''")
    if row["LeftRight"].upper() not in _SIDES or row["classification"].lower() not in ("benign", "malignant"):
        raise ValueError(f"LeftRight {row['LeftRight']!r}, classification {row['classification']!r}")
    return row["ID1"], _SIDES[row["LeftRight"].upper()]


def _breast(header: DicomHeader) -> Breast:
    return header.patient, header.side


def _record(key: str, header: DicomHeader, rows: list[Row]) -> Record:
    return Record(
        image=key,
        patient=header.patient,
        label=max(LABEL_WORDS[row["classification"].lower()] for row in rows),
        attributes={
            "finding": " and ".join(sorted({row["abnormality"].lower() for row in rows})),
            "side": header.side,
            "view": header.view,
        },
    )


def _notes(
    breasts: dict[Breast, list[Row]], headers: dict[str, DicomHeader], found: dict[str, list[Row]],
    refused: dict[str, str],
) -> list[str]:  # fmt: skip
    absent = len(breasts.keys() - {_breast(headers[key]) for key in found})
    said = {
        f"Left out: {len(headers) - len(found)} images without a row of their patient and side.":
            len(headers) - len(found),
        f"Left out: {len(refused)} DICOM files that hold no single whole image.": len(refused),
        f"{absent} of {len(breasts)} breasts of the table have no image here.": absent,
    }  # fmt: skip
    return [
        "Every breast of the table has a finding: benign is not the same as healthy.",
        *(t for t, n in said.items() if n),
    ]
