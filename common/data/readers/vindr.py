"""VinDr-Mammo: 20,000 full-field digital mammograms of 5,000 exams, Hanoi (Nguyen 2023)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.formats import required_root
from common.data.manifest import MASK_SEPARATOR, Dataset, Record
from common.data.pixels.images import ImageFiles, read_size
from common.data.readers.birads import birads_grade
from common.data.readers.classes import BIRADS, one_label, with_validation, without_normal
from common.data.readers.copies import Copies, Ids, find_copies
from common.data.readers.regions import DrawnRegions, box_key
from common.data.readers.rows import Row, each, read_rows
from common.errors import DataError
from common.names import slug

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Nguyen HT, Nguyen HQ, Pham HH, et al. VinDr-Mammo: A large-scale benchmark dataset for computer-aided diagnosis "
    "in full-field digital mammography. Scientific Data 10:277, 2023. doi:10.1038/s41597-023-02100-7"
)
LICENCE = "PhysioNet Restricted Health Data License 1.5.0: only with an agreement, never passed on"
NEEDED = ("study_id", "image_id", "laterality", "view_position", "breast_birads", "breast_density", "split")
FORMATS = (".dicom", ".png")
BOX = ("xmin", "ymin", "xmax", "ymax")
_SPLITS = {"training": "train", "test": "test"}
_SIDES = {"L": "left", "R": "right"}


def open_vindr_mammo(data: DataConfig) -> Dataset:
    """Returns VinDr-Mammo: an exam counts as a patient; the published test split, validation taken from training.

    Label 1 for BI-RADS 4 and 5, 0 for 2 and, with ``data.include_normal``, 1. Site is the scanner's model where
    ``metadata.csv`` names it; findings are masks, of PNG copies only where they kept the size. Attributes side, view,
    density, birads, scanner.

    Raises:
        ConfigError, DataError: The tables or images are missing or of another layout.
    """
    root = required_root(data, "the folder with breast-level_annotations.csv and images")
    table, rows, torn = _rows(root)
    scanners, boxes = _scanners(root), _boxes(root)
    grades = each(table, rows, _grade)
    wanted = [
        row
        for row, grade in zip(rows, grades, strict=True)
        if grade in BIRADS and (data.include_normal or grade != "1")
    ]
    copies = find_copies(root, [_ids(row) for row in rows], FORMATS)
    here = [(row, copies.files[_ids(row)]) for row in wanted if _ids(row) in copies.files]
    if not here:
        raise DataError(f"No image of {table.name} is in {root}; expected images/<study_id>/<image_id>.dicom")
    unfit = {key for row, key in here if boxes[row["image_id"]] and not _fits(root, key, row)}
    kept, left_out = one_label(
        _record(row, key, [] if key in unfit else boxes[row["image_id"]], scanners.get(row["image_id"], ""))
        for row, key in here
    )
    return Dataset(
        name="VinDr-Mammo",
        records=with_validation(kept, train_share=data.train_share, val_share=data.val_share),
        read=DrawnRegions(ImageFiles(root)),
        citation=CITATION,
        licence=LICENCE,
        notes=(
            "Labels are the radiologists' BI-RADS (4 and 5 against 1 and 2), not pathology.",
            "No patient ids are published: an exam counts as a patient.",
            f"Left out: {sum(grade not in BIRADS for grade in grades)} images of BI-RADS 3 or 0.",
            *((f"{len(wanted) - len(here)} images of the table are not here.",) if len(here) < len(wanted) else ()),
            *without_normal(sum(grade in BIRADS for grade in grades) - len(wanted)),
            *_notes(copies, len(unfit), torn),
            *left_out,
        ),
    )


def _rows(root: Path) -> tuple[Path, list[Row], int]:
    """Returns the table of breasts, else that of findings; a row an image; and how many exams contradict themselves."""
    tables = [root / name for name in ("breast-level_annotations.csv", "finding_annotations.csv")]
    table = next((path for path in tables if path.is_file()), tables[0])
    rows = list({tuple(row[name] for name in NEEDED): row for row in read_rows(table, NEEDED)}.values())
    seen = Counter(row["image_id"] for row in rows)
    torn = {row["study_id"] for row in rows if seen[row["image_id"]] > 1}
    return table, [row for row in rows if row["study_id"] not in torn], len(torn)


def _fits(root: Path, key: str, row: Row) -> bool:
    """Returns whether boxes fit: a copy that was cropped or resized has another size than the table says."""
    if key.endswith(FORMATS[0]):
        return True
    height, width = read_size(root / key)
    return (str(height), str(width)) == (row.get("height"), row.get("width"))


def _notes(copies: Copies, unfit: int, torn: int) -> Iterable[str]:
    if copies.suffix != FORMATS[0]:
        yield f"Copies as {copies.suffix}: who made them chose window, size and depth."
    yield from copies.notes
    if unfit:
        yield f"{unfit} images have boxes but another size than the table says: no mask is written for them."
    if torn:
        yield f"Left out: {torn} exams with an image whose rows contradict each other."


def _grade(row: Row) -> str:
    grade = birads_grade(row["breast_birads"])
    if row["laterality"] not in _SIDES or row["split"] not in _SPLITS:
        raise ValueError(f"laterality {row['laterality']!r}, split {row['split']!r}")
    if not (row["study_id"].isalnum() and row["image_id"].isalnum()):
        raise ValueError(f"study_id {row['study_id']!r}, image_id {row['image_id']!r}")
    return grade


def _ids(row: Row) -> Ids:
    return row["study_id"], row["image_id"]


def _boxes(root: Path) -> dict[str, list[tuple[float, ...]]]:
    boxes: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    path = root / "finding_annotations.csv"
    rows = read_rows(path, ("image_id", *BOX)) if path.is_file() else []
    # Images without a finding have a row with an empty box.
    found = [row for row in rows if row["xmin"]]
    for row, box in zip(found, each(path, found, lambda row: tuple(float(row[name]) for name in BOX)), strict=True):
        boxes[row["image_id"]].append(box)
    return boxes


def _scanners(root: Path) -> dict[str, str]:
    path = root / "metadata.csv"
    rows = read_rows(path, ()) if path.is_file() else []
    return {row.get("SOP Instance UID", ""): row.get("Manufacturer's Model Name", "") for row in rows}


def _record(row: Row, image: str, boxes: Sequence[tuple[float, ...]], scanner: str) -> Record:
    grade = _grade(row)
    return Record(
        image=image,
        patient=row["study_id"],
        label=BIRADS[grade],
        site=slug(scanner),
        mask=MASK_SEPARATOR.join(box_key(image, *box) for box in boxes),
        split=_SPLITS[row["split"]],
        attributes={
            "side": _SIDES[row["laterality"]],
            "view": row["view_position"],
            "density": row["breast_density"],
            "birads": grade,
            "scanner": scanner,
        },
    )
