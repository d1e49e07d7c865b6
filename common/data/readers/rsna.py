"""RSNA screening mammography (Kaggle 2022): 54,706 images of 11,913 women from two sites, a row an image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from common.data.formats import required_root
from common.data.manifest import Dataset, Record
from common.data.pixels.images import ImageFiles
from common.data.readers.classes import one_label
from common.data.readers.copies import Copies, Ids, find_copies
from common.data.readers.rows import Row, each, read_rows
from common.errors import DataError
from common.names import slug

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Carr C, Kitamura F, Partridge G, et al. RSNA Screening Mammography Breast Cancer Detection. Kaggle, 2022. "
    "https://kaggle.com/competitions/rsna-breast-cancer-detection"
)
LICENCE = "The rules of the Kaggle competition (non-commercial use): accept them there"
NEEDED = (
    "site_id", "patient_id", "image_id", "laterality", "view", "cancer", "biopsy", "invasive", "machine_id",
)  # fmt: skip
FORMATS = (".dcm", ".png")
_SIDES = {"L": "left", "R": "right"}
_FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
_KEPT = {
    "age": "age", "density": "density", "BIRADS": "birads", "implant": "implant",
    "difficult_negative_case": "difficult_negative",
}  # fmt: skip


def open_rsna(data: DataConfig) -> Dataset:
    """Returns the set with ``cancer`` as the label, which Kaggle gives for a breast; site is ``site_id``.

    Label 0 is a breast without cancer: with a biopsy, and with ``data.include_normal`` without one. Attributes finding,
    side, view, machine, and where the table has them age, density, birads, implant, difficult_negative.

    Raises:
        ConfigError, DataError: ``train.csv`` or images are missing or of another layout.
    """
    root = required_root(data, "the folder with train.csv and train_images")
    table = root / "train.csv"
    rows = read_rows(table, NEEDED)
    each(table, rows, _check)
    once = list({tuple(row.items()): row for row in rows}.values())
    torn = _contradicted(once)
    wanted = [row for row in once if row["patient_id"] not in torn and (data.include_normal or _finding(row) != NORMAL)]
    copies = find_copies(root, [_ids(row) for row in once], FORMATS)
    here = [row for row in wanted if _ids(row) in copies.files]
    if not here:
        raise DataError(f"No image of train.csv is below {root}; expected train_images/<patient_id>/<image_id>.dcm")
    kept, left_out = one_label(_record(row, copies.files[_ids(row)]) for row in here)
    return Dataset(
        name="RSNA",
        records=kept,
        read=ImageFiles(root),
        citation=CITATION,
        licence=LICENCE,
        notes=(*_notes(rows, once, torn, data, copies), *_absent(wanted, here), *left_out),
    )


CANCER, BIOPSY, NORMAL = "cancer", "biopsy without cancer", "no biopsy"


def _check(row: Row) -> None:
    for name in ("patient_id", "image_id"):
        if not row[name].isalnum():
            raise ValueError(f"{name} {row[name]!r}")
    if row["laterality"] not in _SIDES:
        raise ValueError(f"laterality {row['laterality']!r}")
    for name in ("cancer", "biopsy", "invasive"):
        if row[name] not in _FLAGS:
            raise ValueError(f"{name} {row[name]!r}, expected 0 or 1")


def _ids(row: Row) -> Ids:
    return row["patient_id"], row["image_id"]


def _finding(row: Row) -> str:
    return CANCER if _FLAGS[row["cancer"]] else BIOPSY if _FLAGS[row["biopsy"]] else NORMAL


def _contradicted(rows: Sequence[Row]) -> set[str]:
    """Returns patients whose rows cannot all be true.

    An image has two rows that differ or two patients; a breast has cancer and has none; cancer was found without a
    biopsy, or was invasive where there is none.
    """
    images: dict[str, list[Row]] = defaultdict(list)
    breasts: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        images[row["image_id"]].append(row)
        breasts[row["patient_id"], row["laterality"]].append(row)
    torn = [row for group in images.values() if len(group) > 1 for row in group]
    torn += [row for group in breasts.values() if len({_FLAGS[row["cancer"]] for row in group}) > 1 for row in group]
    torn += [
        row for row in rows
        if _FLAGS[row["cancer"]] > _FLAGS[row["biopsy"]] or _FLAGS[row["invasive"]] > _FLAGS[row["cancer"]]
    ]  # fmt: skip
    return {row["patient_id"] for row in torn}


def _record(row: Row, image: str) -> Record:
    told = {name: row[column] for column, name in _KEPT.items() if column in row}
    return Record(
        image=image,
        patient=row["patient_id"],
        label=_FLAGS[row["cancer"]],
        site=slug(f"site {row['site_id']}") if row["site_id"] else "",
        attributes={
            "finding": _finding(row),
            "side": _SIDES[row["laterality"]],
            "view": row["view"],
            "machine": row["machine_id"],
            **told,
        },
    )


def _notes(
    rows: Sequence[Row], once: Sequence[Row], torn: set[str], data: DataConfig, copies: Copies
) -> Iterable[str]:  # fmt: skip
    yield "Label 0 is a breast without cancer in follow-up, not a benign lesion; Kaggle publishes no pathology of it."
    if copies.suffix != FORMATS[0]:
        yield f"Copies as {copies.suffix}: who made them chose window, size and depth."
    yield from copies.notes
    if len(once) < len(rows):
        yield f"{len(rows) - len(once)} rows of train.csv repeat another one."
    if torn:
        images = sum(row["patient_id"] in torn for row in once)
        yield f"Left out: {images} rows of {len(torn)} patients whose rows contradict each other."
    normal = sum(_finding(row) == NORMAL and row["patient_id"] not in torn for row in once)
    if normal and not data.include_normal:
        yield f"Left out: {normal} images of breasts without a biopsy (data.include_normal=true keeps them as label 0)."


def _absent(wanted: Sequence[Row], here: Sequence[Row]) -> Iterable[str]:
    if len(here) < len(wanted):
        yield f"{len(wanted) - len(here)} images of the table are not here."
