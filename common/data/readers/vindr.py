"""VinDr-Mammo: 20,000 full-field digital mammograms of 5,000 exams, Hanoi (Nguyen 2023)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.files.places import is_file
from common.data.formats import required_root
from common.data.manifest import MASK_SEPARATOR, Dataset, Record
from common.data.pixels.images import ImageFiles
from common.data.readers.birads import birads_grade
from common.data.readers.classes import BIRADS, one_label, with_validation
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
BOX = ("xmin", "ymin", "xmax", "ymax")
_SPLITS = {"training": "train", "test": "test"}
_SIDES = {"L": "left", "R": "right"}


def open_vindr_mammo(data: DataConfig) -> Dataset:
    """Returns VinDr-Mammo: an exam counts as a patient; the published test split, validation taken from training.

    Label 1 for BI-RADS 4 and 5, 0 for 2 and, with ``data.include_normal``, 1. Site is the scanner's model where
    ``metadata.csv`` names it; findings are masks. Attributes side, view, density, birads, scanner.

    Raises:
        ConfigError, DataError: The tables or images are missing or of another layout.
    """
    root = required_root(data, "the folder with breast-level_annotations.csv and images")
    table = root / "breast-level_annotations.csv"
    rows = read_rows(table, NEEDED)
    scanners, boxes = _scanners(root), _boxes(root)
    grades = each(table, rows, _grade)
    wanted = [
        row
        for row, grade in zip(rows, grades, strict=True)
        if grade in BIRADS and (data.include_normal or grade != "1")
    ]
    here = [row for row in wanted if is_file(root, _image(row))]
    if not here:
        raise DataError(f"No image of {table.name} is in {root}; expected images/<study_id>/<image_id>.dicom")
    kept, left_out = one_label(_record(row, boxes[row["image_id"]], scanners.get(row["image_id"], "")) for row in here)
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
            *left_out,
        ),
    )


def _grade(row: Row) -> str:
    grade = birads_grade(row["breast_birads"])
    if row["laterality"] not in _SIDES or row["split"] not in _SPLITS:
        raise ValueError(f"laterality {row['laterality']!r}, split {row['split']!r}")
    if not (row["study_id"].isalnum() and row["image_id"].isalnum()):
        raise ValueError(f"study_id {row['study_id']!r}, image_id {row['image_id']!r}")
    return grade


def _image(row: Row) -> str:
    return f"images/{row['study_id']}/{row['image_id']}.dicom"


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


def _record(row: Row, boxes: list[tuple[float, ...]], scanner: str) -> Record:
    image, grade = _image(row), _grade(row)
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
