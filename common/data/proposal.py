"""A first manifest from what a hospital has: a folder of images or DICOM files, and perhaps a table of labels.

It is a proposal: it says what it understood and from where, leaves out what has no certain label, and invents none.
"""

from __future__ import annotations

import csv
import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from common.data.dicom import is_dicom
from common.data.manifest import MASK_SEPARATOR, Record
from common.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm", ".dcm", ".dicom", "")
WORDS = {
    "malignant": 1, "malign": 1, "cancer": 1, "m": 1, "1": 1, "positive": 1,
    "benign": 0, "b": 0, "0": 0, "negative": 0, "benign_without_callback": 0,
}  # fmt: skip
"""Words of a table's cell; ``normal`` is no benign lesion and is left out."""
FOLDER_WORDS = {"malignant": 1, "benign": 0}
PATIENT_NAMES = ("patient", "patient_id", "patientid", "patient id", "case", "case_id", "subject", "subject_id", "mrn")
LABEL_NAMES = ("label", "class", "pathology", "diagnosis", "finding", "target", "outcome", "status")
ENOUGH = 0.5
"""Share of a column's values that must name files for it to be the column of images."""
_MASK = re.compile(r"[_ -]?mask([_ -]?\d+)?$", re.IGNORECASE)
_LEADING = re.compile(r"^([A-Za-z]*[_-]?\d+)(?=[_\- (.])")
Row = Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Proposal:
    """Records that could be made out, why others were not, and what was understood from where."""

    records: tuple[Record, ...]
    left_out: Mapping[str, int]
    understood: tuple[str, ...]


def propose(folder: Path, table: Path | None = None) -> Proposal:
    """Returns a proposal for the images below ``folder``, with paths relative to it.

    Raises:
        DataError: There is no folder or no image in it, or the table cannot be read or names none of the images.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; name the one that holds the images")
    images, masks = _files(folder)
    if not images:
        raise DataError(f"There is no image in {folder}; expected {', '.join(filter(None, SUFFIXES))} or DICOM files")
    said: list[str] = [f"{len(images)} images, {sum(map(len, masks.values()))} masks"]
    rows = {} if table is None else _matched(images, table, said)
    headers = _dicom_patients(folder, images)
    label = _labels(rows, said) if rows else _label_of_path
    patient = _patients(images, rows, headers, said)
    return _proposal(images, masks, label, patient, said)


def _proposal(
    images: Sequence[str], masks: Mapping[str, list[str]], label: Callable[[str], int | None],
    patient: Callable[[str], str | None], said: list[str],
) -> Proposal:  # fmt: skip
    left: Counter[str] = Counter()
    records = []
    for image in images:
        found, who = label(image), patient(image)
        if found is None or not who:
            left["no certain label" if found is None else "no patient"] += 1
            continue
        records.append(Record(image, who, found, mask=MASK_SEPARATOR.join(masks.get(image, ()))))
    torn = _torn(records)
    left["patient with both labels"] += sum(record.patient in torn for record in records)
    kept = tuple(record for record in records if record.patient not in torn)
    return Proposal(kept, {reason: count for reason, count in left.items() if count}, tuple(said))


def _files(folder: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Returns the images, and image -> its masks: its name with ``_mask``, or its name in a folder of masks."""
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix.lower() in SUFFIXES and (path.suffix or is_dicom(path))
    )
    marked = {name for name in names if _MASK.search(PurePosixPath(name).stem) or _in_mask_folder(name)}
    images = [name for name in names if name not in marked]
    masks: dict[str, list[str]] = {}
    stems = {PurePosixPath(name).stem: name for name in images}
    for name in sorted(marked):
        stem = _MASK.sub("", PurePosixPath(name).stem)
        owner = stems.get(stem) or stems.get(re.sub(r"^mask", "bus", stem))
        if owner:
            masks.setdefault(owner, []).append(name)
    return images, masks


def _in_mask_folder(name: str) -> bool:
    return any(part.lower() in ("mask", "masks", "roi", "annotations") for part in PurePosixPath(name).parts[:-1])


def _matched(images: Sequence[str], table: Path, said: list[str]) -> dict[str, Row]:
    """Returns image -> the table's row, by the column whose values name most of the images."""
    rows = _read(table)
    known = {key: image for image in images for key in (image, PurePosixPath(image).name, PurePosixPath(image).stem)}
    shares = {name: sum(row[name] in known for row in rows) / len(rows) for name in rows[0]}
    best = max(shares, key=lambda name: shares[name])
    if shares[best] < ENOUGH:
        raise DataError(
            f"No column of {table.name} names the images: the best, {best}, names {shares[best]:.0%} of them"
        )
    said.append(f"column {best} of {table.name} names the images")
    return {known[row[best]]: row for row in rows if row[best] in known}


def _read(table: Path) -> list[dict[str, str]]:
    try:
        text = table.read_text(encoding="utf-8-sig")
        dialect = csv.Sniffer().sniff(text[:4096], delimiters=",;\t")
        rows = [
            {str(key).strip(): str(value or "").strip() for key, value in row.items() if key}
            for row in csv.DictReader(text.splitlines(), dialect=dialect)
        ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read as a table ({error}); expected CSV in UTF-8") from None
    if not rows:
        raise DataError(f"{table} has no rows below its header")
    return rows


def _labels(rows: Mapping[str, Row], said: list[str]) -> Callable[[str], int | None]:
    names = list(next(iter(rows.values())))
    known = {name: sum(row[name].casefold() in WORDS for row in rows.values()) / len(rows) for name in names}
    by_name = [name for name in names if name.casefold() in LABEL_NAMES and known[name] > 0]
    chosen = by_name[0] if by_name else max(known, key=lambda name: known[name])
    if known[chosen] == 0:
        raise DataError("No column of the table holds labels; expected malignant and benign, or 1 and 0")
    said.append(f"column {chosen} holds the labels")
    return lambda image: WORDS.get(rows[image][chosen].casefold()) if image in rows else None


def _label_of_path(image: str) -> int | None:
    """Returns the label that folders or the file's name tell; None where they tell none, or two."""
    words = re.split(r"[^a-z]+", image.casefold())
    found = {FOLDER_WORDS[word] for word in words if word in FOLDER_WORDS}
    return found.pop() if len(found) == 1 else None


def _patients(
    images: Sequence[str], rows: Mapping[str, Row], headers: Mapping[str, str], said: list[str]
) -> Callable[[str], str | None]:
    names = list(next(iter(rows.values()))) if rows else []
    named = next((name for name in names if name.casefold() in PATIENT_NAMES), None)
    if named is not None:
        said.append(f"column {named} holds the patients")
        return lambda image: rows[image][named] if image in rows else None
    if headers:
        said.append("DICOM's PatientID names the patients")
        return lambda image: headers.get(image)
    leading = {image: match[1] for image in images if (match := _LEADING.match(PurePosixPath(image).name))}
    if len(leading) == len(images) and len(set(leading.values())) < len(images):
        said.append(f"the beginning of a file's name names the patient, as in {min(leading.values())}: check that")
        return leading.get
    said.append("nothing names the patients: every image counts as one, which is wrong where a woman has several")
    return lambda image: image


def _dicom_patients(folder: Path, images: Iterable[str]) -> dict[str, str]:
    return {image: _patient_id(folder / image) for image in images if is_dicom(folder / image)}


def _patient_id(path: Path) -> str:
    import pydicom

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"])
        return str(header.get("PatientID", "") or "").strip()
    except Exception:  # pydicom raises nearly every built-in error on damaged bytes; the image is then left out
        return ""


def _torn(records: Iterable[Record]) -> set[str]:
    labels: dict[str, set[int]] = {}
    for record in records:
        labels.setdefault(record.patient, set()).add(record.label)
    return {patient for patient, found in labels.items() if len(found) > 1}
