"""Records and data sets: which image belongs to which patient, and the CSV in which a hospital writes that down.

Nothing here decodes a pixel: a :class:`Dataset` carries a :data:`PixelSource` that reads one image when asked.
"""

from __future__ import annotations

import csv
import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.data.files.delimited import TextTable, decimal_points, read_table
from common.data.files.places import found_keys, leaves, whereabouts
from common.data.pixels.images import ImageFiles
from common.errors import DataError, UsageError
from common.names import plain_slug, slugs, spelled_differently

PixelSource = Callable[[str], NDArray[np.float32]]
"""``Record.image`` or one key of ``Record.mask`` -> float32 (H, W) or (H, W, 3) in [0, 1]; tables: float32 (F,)."""

SPLITS = ("train", "val", "test")
MASK_SEPARATOR = "|"
"""Between the files of one image whose lesions were outlined one by one."""
COLUMNS = ("image", "patient", "label", "site", "mask", "split")
LABEL_WORDS = {"malignant": 1, "1": 1, "1.0": 1, "1,0": 1, "benign": 0, "0": 0, "0.0": 0, "0,0": 0}
"""What a label may be, in any case; spreadsheets write 1 as 1.0 or 1,0."""
NAMED = 3
"""Offenders that a message names; the rest are counted."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One image of one patient; ``label`` 1 is malignant, 0 benign; empty strings are unknown.

    The patient's identifier is in Unicode's form NFC, however the source composed its accents: one woman is one unit.
    """

    image: str
    patient: str
    label: int
    site: str = ""
    mask: str = ""
    split: str = ""
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Composes the identifier's accents."""
        object.__setattr__(self, "patient", unicodedata.normalize("NFC", self.patient))


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Records that hold together, and the way to their pixels.

    Guarantees: at least one record; labels 0 or 1; images unique; a patient has one label and lies in one split.

    Raises:
        DataError: Names how many records or patients break which rule, and how to mend it.
    """

    name: str
    records: tuple[Record, ...]
    read: PixelSource
    kind: Literal["image", "table"] = "image"
    synthetic: bool = False
    citation: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()
    features: int = 0

    def __post_init__(self) -> None:
        if not self.records:
            raise DataError(f"{self.name} has no records here; expected at least one image")
        _check_values(self.name, self.records)
        _check_patients(self.name, self.records)

    def patients(self) -> dict[str, tuple[Record, ...]]:
        """Returns each patient's records in their order of appearance; patients sorted."""
        groups: dict[str, list[Record]] = {}
        for record in self.records:
            groups.setdefault(record.patient, []).append(record)
        return {patient: tuple(groups[patient]) for patient in sorted(groups)}

    def labels_by_patient(self) -> dict[str, int]:
        """Returns patient -> 0 or 1; patients sorted."""
        return {patient: records[0].label for patient, records in self.patients().items()}

    def with_records(self, records: Iterable[Record]) -> Dataset:
        """Returns the same data set with other records."""
        return dataclasses.replace(self, records=tuple(records))

    def subset(self, patients: Collection[str]) -> Dataset:
        """Returns the records of these patients."""
        wanted = frozenset(patients)
        return self.with_records(record for record in self.records if record.patient in wanted)

    def in_split(self, split: str) -> Dataset:
        """Returns the records of one split.

        Raises:
            DataError: The split is empty.
        """
        return self.with_records(record for record in self.records if record.split == split)


def mask_keys(record: Record) -> tuple[str, ...]:
    """Returns the keys of the record's masks, none when no lesion was outlined."""
    return tuple(key for key in record.mask.split(MASK_SEPARATOR) if key)


def read_mask(dataset: Dataset, record: Record) -> NDArray[np.bool_]:
    """Returns the union of the record's masks, bool (H, W).

    Raises:
        DataError: The record has no mask, or its masks differ in size.
    """
    masks = [_flat(dataset.read(key)) for key in mask_keys(record)]
    if not masks:
        raise DataError(f"{record.image} has no mask; expected one in the manifest's mask column")
    if len({mask.shape for mask in masks}) > 1:
        raise DataError(f"The masks of {record.image} differ in size; export them at the size of the image")
    union: NDArray[np.bool_] = np.logical_or.reduce([mask > 0.5 for mask in masks])
    return union


def _flat(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return pixels if pixels.ndim == 2 else pixels.max(axis=2)


@dataclasses.dataclass(frozen=True, slots=True)
class Lines:
    """A manifest's lines as they are, which need not hold together.

    Attributes:
        records: One a line.
        notes: What a person should know of how they were read.
    """

    records: tuple[Record, ...]
    notes: tuple[str, ...]


def read_manifest(path: Path, root: Path | None = None) -> Dataset:
    """Returns the data set that a hospital's CSV lists.

    Columns ``image``, ``patient`` and ``label`` (malignant, benign, 1 or 0) are needed; ``site``, ``mask`` and
    ``split`` are optional; every other column becomes an attribute. Image paths are relative to ``root``, or to
    the CSV's folder. Any separator and encoding of :func:`common.data.files.delimited.read_table`.

    Raises:
        DataError: A column is missing, a label word is unknown, a path leaves the folder, a file is missing,
            or a class has no patient. The message counts the lines and names the first.
    """
    path = Path(path)
    folder = Path(root) if root is not None else path.parent
    lines = read_lines(path)
    records = found_records(lines.records, folder)
    _check_files(path, folder, records)
    if twice := sorted(spelt_in_two_ways(records)):
        raise DataError(
            f"{path.name} spells {len(twice)} patients so that they differ only in case, width, blanks or invisible "
            f"characters ({first([ascii(name) for name in twice])}); write each patient in one way"
        )
    dataset = Dataset(name=path.stem, records=records, read=ImageFiles(folder), notes=lines.notes)
    absent = [word for word, label in (("malignant", 1), ("benign", 0)) if label not in {r.label for r in records}]
    if absent:
        raise DataError(f"{path.name} has no {absent[0]} patient; expected both classes. Check the label column")
    return dataset


def read_lines(path: Path) -> Lines:
    """Returns a CSV's lines.

    Raises:
        DataError: A column is missing, or a label or a split is unknown.
    """
    table = _table(path)
    rows = decimal_points(table, [name for name in table.header if name not in COLUMNS])
    sites = slugs(row.get("site", "") for row in rows)
    alike = spelled_differently(row.get("site", "") for row in rows)
    told = [f"Read as one site: {' and '.join(map(repr, group))}." for group in alike]
    told += [
        f"Site {text!r} is called {name} here." for text, name in sites.items() if name and name != plain_slug(text)
    ]
    return Lines(tuple(_record(row, sites) for row in rows), (*table.notes, *told))


def found_records(records: Iterable[Record], folder: Path) -> tuple[Record, ...]:
    """Returns the records with the paths under which their files lie (:func:`common.data.files.places.found_keys`)."""
    everyone = tuple(records)
    found = found_keys(folder, (key for record in everyone for key in (record.image, *mask_keys(record))))
    return tuple(
        dataclasses.replace(
            record,
            image=found.get(record.image, record.image),
            mask=MASK_SEPARATOR.join(found.get(key, key) for key in mask_keys(record)),
        )
        for record in everyone
    )


def write_manifest(dataset: Dataset, path: Path) -> None:
    """Writes the CSV that :func:`read_manifest` reads back as the same records.

    Raises:
        UsageError: It cannot be written there.
    """
    extra = sorted({key for record in dataset.records for key in record.attributes})
    try:
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*COLUMNS, *extra])
            for record in dataset.records:
                cells = [str(getattr(record, column)) for column in COLUMNS]
                writer.writerow(cells + [record.attributes.get(key, "") for key in extra])
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); name another file") from None


def site_from_column(dataset: Dataset, column: str) -> Dataset:
    """Returns the data set with ``site`` taken from an attribute column; names that differ stay apart.

    Raises:
        DataError: No record has that column, or some leave it empty.
    """
    texts = [str(record.attributes.get(column, "")) for record in dataset.records]
    names = slugs(texts)
    values = [names[text] for text in texts]
    if not all(values):
        known = sorted({key for record in dataset.records for key in record.attributes})
        raise DataError(
            f"data.column={column} is empty for {values.count('')} of {len(values)} images of {dataset.name}; "
            f"expected one of the columns {known or 'none: this set has no such columns'}"
        )
    pairs = zip(dataset.records, values, strict=True)
    return dataset.with_records(dataclasses.replace(record, site=value) for record, value in pairs)


def of_both_classes(records: Iterable[Record]) -> set[str]:
    """Returns the patients who have records of both classes."""
    labels: dict[str, set[int]] = {}
    for record in records:
        labels.setdefault(record.patient, set()).add(record.label)
    return {patient for patient, values in labels.items() if len(values) > 1}


def spelt_in_two_ways(records: Iterable[Record]) -> set[str]:
    """Returns the identifiers that differ from another one only in case, width, blanks or invisible characters.

    To a program they are different patients, each with a budget and a split of her own; they look like one.
    """
    spellings: dict[str, set[str]] = {}
    for record in records:
        spellings.setdefault(_looks(record.patient), set()).add(record.patient)
    return {patient for patients in spellings.values() if len(patients) > 1 for patient in patients}


def _looks(patient: str) -> str:
    plain = unicodedata.normalize("NFKC", patient)
    shown = (character for character in plain if unicodedata.category(character) not in ("Cc", "Cf"))
    return " ".join("".join(shown).casefold().split())


def first(names: Collection[str]) -> str:
    """Returns the first few names for a message, and how many more there are."""
    shown = ", ".join(list(names)[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


def _table(path: Path) -> TextTable:
    if not path.exists():
        raise DataError(f"There is no manifest at {path}; expected a CSV with columns {', '.join(COLUMNS)}")
    table = _own_columns(read_table(path))
    _check_header(path, table)
    _check_cells(path, table)
    return table


def _own_columns(table: TextTable) -> TextTable:
    """Returns the table with our columns in lower case, where that makes no two of one name."""
    folded = {name: name.casefold() for name in table.header if name.casefold() in COLUMNS}
    names = {name: low for name, low in folded.items() if list(folded.values()).count(low) == 1}
    rows = tuple({names.get(name, name): cell for name, cell in row.items()} for row in table.rows)
    return dataclasses.replace(table, header=tuple(names.get(name, name) for name in table.header), rows=rows)


def _check_header(path: Path, table: TextTable) -> None:
    lacking = [name for name in ("image", "patient", "label") if name not in table.header]
    if lacking:
        raise DataError(
            f"{path.name} lacks the column {', '.join(lacking)}; expected image, patient and label, found "
            f"{', '.join(table.header[:8])}. If this is a table of labels, use: oncofed-site data init FOLDER --labels"
        )


def _check_cells(path: Path, table: TextTable) -> None:
    numbered = list(zip(table.lines, table.rows, strict=True))
    empty = [str(n) for n, row in numbered if not row["image"] or not row["patient"]]
    if empty:
        raise DataError(f"{path.name}: {len(empty)} lines lack an image or a patient (line {first(empty)}); fill them")
    unknown = [f"{n}: {row['label']!r}" for n, row in numbered if row["label"].lower() not in LABEL_WORDS]
    if unknown:
        raise DataError(
            f"{path.name}: {len(unknown)} unknown labels (line {first(unknown)}); write malignant or benign"
        )
    odd = [f"{n}: {row['split']!r}" for n, row in numbered if row.get("split", "") not in ("", *SPLITS)]
    if odd:
        raise DataError(
            f"{path.name}: {len(odd)} unknown splits (line {first(odd)}); write train, val, test or nothing"
        )


def _record(row: Mapping[str, str], sites: Mapping[str, str]) -> Record:
    return Record(
        image=row["image"],
        patient=row["patient"],
        label=LABEL_WORDS[row["label"].lower()],
        site=sites[row.get("site", "")],
        mask=row.get("mask", ""),
        split=row.get("split", ""),
        attributes={key: value for key, value in row.items() if key not in COLUMNS},
    )


def _check_files(path: Path, folder: Path, records: tuple[Record, ...]) -> None:
    keys = [key for record in records for key in (record.image, *mask_keys(record))]
    leaving = [key for key in keys if leaves(key)]
    if leaving:
        raise DataError(
            f"{path.name}: {len(leaving)} paths are absolute or lead out of the image folder ({first(leaving)}); "
            "write them relative to it"
        )
    missing = [key for key in keys if not (folder / key).is_file()]
    if missing:
        hint = whereabouts(folder, missing) or "check the image column, or give the folder that the paths start from"
        raise DataError(
            f"{path.name}: {len(missing)} of {len(keys)} files are not in {folder} ({first(missing)}); {hint}"
        )


def _check_values(name: str, records: tuple[Record, ...]) -> None:
    odd = [record.image for record in records if record.label not in (0, 1)]
    if odd:
        raise DataError(f"{name}: {len(odd)} labels are neither 0 nor 1 ({first(odd)}); 1 is malignant, 0 benign")
    wrong = [record.image for record in records if record.split not in ("", *SPLITS)]
    if wrong:
        raise DataError(f"{name}: {len(wrong)} splits are unknown ({first(wrong)}); expected train, val, test or empty")
    twice = [image for image, count in Counter(record.image for record in records).items() if count > 1]
    if twice:
        raise DataError(f"{name}: {len(twice)} images are listed more than once ({first(twice)}); keep one line each")


def _check_patients(name: str, records: tuple[Record, ...]) -> None:
    splits: dict[str, set[str]] = {}
    for record in records:
        splits.setdefault(record.patient, set()).add(record.split)
    torn = sorted(of_both_classes(records))
    if torn:
        raise DataError(
            f"{name}: {len(torn)} patients have both labels ({first(torn)}); a patient is one case: "
            "correct the label, leave the patient out, or give the two lesions two patient ids"
        )
    leaking = [patient for patient, values in splits.items() if len(values) > 1]
    if leaking:
        raise DataError(f"{name}: {len(leaking)} patients lie in several splits ({first(leaking)}); keep each in one")
