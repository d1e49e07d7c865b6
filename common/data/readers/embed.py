"""EMBED open data: mammograms of 22,382 women, Atlanta; a table of findings and one of files (Jeong 2023)."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.files.delimited import MAX_BYTES
from common.data.files.places import leaves
from common.data.files.tree import files_in, look_below
from common.data.formats import required_root
from common.data.manifest import Dataset, Record, first
from common.data.pixels.images import ImageFiles
from common.data.readers.classes import one_label
from common.data.readers.embed_labels import LABELS, NEGATIVE, Breast, Breasts, label_breasts
from common.data.readers.rows import Row, each, read_rows, whole_number
from common.errors import DataError
from common.names import slug

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Jeong JJ, Vey BL, Bhimireddy A, et al. The EMory BrEast imaging Dataset (EMBED): A racially diverse, granular "
    "dataset of 3.4 million screening and diagnostic mammographic images. Radiology: Artificial Intelligence "
    "5(1):e220047, 2023. doi:10.1148/ryai.220047"
)
LICENCE = (
    "EMBED research use agreement: non-commercial, each user registers, no part is passed on, and no model trained on "
    "it is published without written permission"
)
FINDINGS = ("empi_anon", "acc_anon", "side", "asses", "path_severity")
FILES = ("empi_anon", "acc_anon", "anon_dicom_path", "FinalImageType", "ImageLateralityFinal", "ViewPosition")
_SIDES = {"L": "left", "R": "right"}
_DENSITY = {"1": "A", "2": "B", "3": "C", "4": "D"}
_OF_FILE = {"Manufacturer": "manufacturer", "ManufacturerModelName": "scanner", "PatientSex": "sex"}
_OF_EXAM = {"RACE_DESC": "race", "ETHNIC_GROUP_DESC": "ethnicity", "age_at_study": "age"}
NO_ROW, NO_SIDE, OTHER_TYPE, SPECIAL, TWICE, OPEN_PATIENT, NO_PATHOLOGY = (
    "without a finding's row of their exam and side", "whose side is not told", "that are no standard 2D images",
    "of spot or magnification views", "listed twice in two ways",
    "without cancer of patients with an open question elsewhere",
    "of breasts without pathology (data.include_normal=true keeps BI-RADS 1 and 2 as label 0)",
)  # fmt: skip


def open_embed(data: DataConfig) -> Dataset:
    """Returns EMBED's standard 2D images with the pathology of their breast in that exam; site is the scanner's model.

    Label 1 for ``path_severity`` 0 and 1, 0 for 4 and 5 and, with ``data.include_normal``, for BI-RADS 1 and 2 without
    pathology. What is between, open or contradictory is left out and counted (:mod:`common.data.readers.embed_labels`).

    Raises:
        ConfigError, DataError: The tables or images are missing or of another layout.
    """
    root = required_root(data, "the folder with tables and images")
    findings, files = _table(root, "clinical"), _table(root, "metadata")
    clinical, rows = read_rows(findings, FINDINGS), read_rows(files, FILES)
    each(findings, clinical, _ids)
    each(files, rows, _check_file)
    breasts = label_breasts(clinical)
    here = _here(root, rows)
    if not here:
        raise DataError(f"No file of {files.name} is below {root}; expected images/cohort_1/<patient>/<exam>/...dcm")
    reasons = _reasons(here, breasts, include_normal=data.include_normal)
    exams = _exams(clinical)
    wanted = [(key, row) for key, row in here if key not in reasons]
    kept, left_out = one_label(_record(key, row, breasts, exams) for key, row in dict(wanted).items())
    return Dataset(
        name="EMBED",
        records=kept,
        read=ImageFiles(root),
        citation=CITATION,
        licence=LICENCE,
        notes=(f"Read: {findings.name} and {files.name}.", *_notes(rows, clinical, here, reasons, kept), *left_out),
    )


def _table(root: Path, word: str) -> Path:
    """Returns the table of findings or files; the whole one before its reduced copy, unless it is too large to read."""
    start = f"embed_opendata_{word}"
    tables = [
        path for folder in (root, root / "tables") for path in files_in(folder, ".csv")
        if path.name.lower().startswith(start)
    ]  # fmt: skip
    if len(tables) > 1:
        tables = [path for path in tables if path.stat().st_size <= MAX_BYTES]
        tables = [path for path in tables if path.name.lower() == f"{start}.csv"] or tables
    if len(tables) != 1:
        raise DataError(
            f"There are {len(tables)} tables EMBED_OpenData_{word}...csv in {root} and its folder tables"
            f"{f' ({first([path.name for path in tables])})' if tables else ''}; expected one, or the whole one"
        )
    return tables[0]


def _check_file(row: Row) -> None:
    _ids(row)
    if not row["anon_dicom_path"] or leaves(_tail(row)):
        raise ValueError(f"anon_dicom_path {row['anon_dicom_path']!r}")


def _ids(row: Row) -> tuple[str, str]:
    try:
        return whole_number(row["empi_anon"]), whole_number(row["acc_anon"])
    except ValueError as error:
        raise ValueError(f"empi_anon or acc_anon {error}") from None


def _tail(row: Row) -> str:
    """Returns ``cohort_1/PATIENT/...``: before it the published path has a folder of whoever made the set."""
    path = row["anon_dicom_path"]
    return path[path.rfind("/cohort_") + 1 :]


def _here(root: Path, rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """Returns path and row of the files that are there: DICOM, or where none is, PNG copies under the same paths."""
    names = frozenset(look_below(root).files)
    for suffix in (".dcm", ".png"):
        found = []
        for row in rows:
            tail = _tail(row).removesuffix(".dcm") + suffix
            key = next((key for key in (f"images/{tail}", tail) if key in names), "")
            if key:
                found.append((key, row))
        if found:
            return found
    return []


def _reasons(here: Sequence[tuple[str, Row]], breasts: Breasts, *, include_normal: bool) -> dict[str, str]:
    """Returns path -> why the image is left out."""
    listed: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for key, row in here:
        listed[key].add(tuple(row.get(name, "") for name in (*FILES, "spot_mag")))
    found = {key: TWICE if len(listed[key]) > 1 else _reason(row, breasts, include_normal) for key, row in here}
    return {key: reason for key, reason in found.items() if reason}


def _reason(row: Row, breasts: Breasts, include_normal: bool) -> str:
    if row["FinalImageType"].upper() != "2D":
        return OTHER_TYPE
    if row.get("spot_mag", "") not in ("", "0", "0.0"):
        return SPECIAL
    if row["ImageLateralityFinal"] not in _SIDES:
        return NO_SIDE
    what = breasts.told.get(_breast(row), "")
    if what not in LABELS:
        return f"of a breast with {what}" if what else NO_ROW
    if what == NEGATIVE and not include_normal:
        return NO_PATHOLOGY
    return OPEN_PATIENT if not LABELS[what] and _ids(row)[0] in breasts.open else ""


def _breast(row: Row) -> Breast:
    return (*_ids(row), row["ImageLateralityFinal"])


@dataclasses.dataclass(frozen=True, slots=True)
class Exam:
    """What all rows of an exam that say it say alike, by attribute."""

    told: Mapping[str, str]


def _exams(clinical: Iterable[Row]) -> dict[tuple[str, str], Exam]:
    said: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in clinical:
        exam = said[_ids(row)]
        for column, name in _OF_EXAM.items():
            exam[name].add(row.get(column, ""))
        exam["density"].add(_DENSITY.get(row.get("tissueden", "").partition(".")[0], ""))
    return {
        key: Exam({name: next(iter(values - {""})) if len(values - {""}) == 1 else "" for name, values in exam.items()})
        for key, exam in said.items()
    }


def _record(key: str, row: Row, breasts: Breasts, exams: Mapping[tuple[str, str], Exam]) -> Record:
    patient, exam = _ids(row)
    what = breasts.told[_breast(row)]
    return Record(
        image=key,
        patient=patient,
        label=LABELS[what],
        site=slug(row.get("ManufacturerModelName", "")),
        attributes={
            "finding": what,
            "side": _SIDES[row["ImageLateralityFinal"]],
            "view": row["ViewPosition"],
            "exam": exam,
            **exams[patient, exam].told,
            **{name: row[column] for column, name in _OF_FILE.items() if column in row},
        },
    )


def _notes(
    rows: Sequence[Row], clinical: Sequence[Row], here: Sequence[tuple[str, Row]], reasons: Mapping[str, str],
    kept: Sequence[Record],
) -> Iterable[str]:  # fmt: skip
    if len(here) < len(rows):
        yield f"{len(rows) - len(here)} of {len(rows)} files of the table are not here."
    if repeated := len(here) - len({key for key, _ in here}):
        yield f"{repeated} rows of the table of files name a file again."
    for reason, count in sorted(Counter(reasons.values()).items()):
        yield f"Left out: {count} images {reason}."
    if any(record.attributes["finding"] == NEGATIVE for record in kept):
        yield "Label 0 is in part the radiologists' BI-RADS 1 or 2, not pathology (attribute finding tells which)."
    if "spot_mag" not in rows[0]:
        yield "The table of files has no column spot_mag: spot and magnification views cannot be told from whole ones."
    if "bside" not in clinical[0]:
        yield "The table of findings has no column bside: pathology counts for the side of its finding."
    if here[0][0].endswith(".png"):
        yield "Copies as .png: who made them chose window, size and depth."
