"""BUS-BRA: breast ultrasound of 1,064 women with biopsy-proven lesions, from four scanners (Gomez-Flores 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from common.data.files.places import is_file, leaves
from common.data.formats import find_folder
from common.data.manifest import LABEL_WORDS, Dataset, Record, first
from common.data.pixels.images import ImageFiles
from common.data.readers.rows import Row, each, read_rows
from common.errors import DataError
from common.names import slug

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Gomez-Flores W, Gregorio-Calas MJ, Coelho de Albuquerque Pereira W. BUS-BRA: A breast ultrasound dataset for "
    "assessing computer-aided diagnosis systems. Medical Physics 51(4):3110-3123, 2024. doi:10.1002/mp.16812"
)
LICENCE = "BUS-BRA licence (LICENSE.txt of the data set): free use with notice and citation"
NEEDED = ("ID", "Case", "Histology", "Pathology", "BIRADS", "Device", "Side")


def open_bus_bra(data: DataConfig) -> Dataset:
    """Returns BUS-BRA: patient is ``Case``, site the scanner; attributes scanner, birads, side, histology.

    Raises:
        ConfigError, DataError: The folder, its ``bus_data.csv`` or images are missing or of another layout.
    """
    folder = find_folder(data, "BUSBRA", "bus_data.csv")
    rows = _rows(folder / "bus_data.csv")
    records = tuple(_record(folder, row) for row in rows)
    missing = [record.image for record in records if not is_file(folder, record.image)]
    if missing:
        raise DataError(f"{len(missing)} images of bus_data.csv are not in {folder} ({first(missing)}); copy them")
    unmasked = sum(not record.mask for record in records)
    notes = ("Some images carry burned-in text and calipers.",)
    return Dataset(
        name="BUS-BRA",
        records=records,
        read=ImageFiles(folder),
        citation=CITATION,
        licence=LICENCE,
        notes=notes + ((f"{unmasked} images have no mask file.",) if unmasked else ()),
    )


def _rows(path: Path) -> list[dict[str, str]]:
    rows = read_rows(path, NEEDED)
    each(path, rows, _check)
    odd = [row["ID"] for row in rows if row["Pathology"].lower() not in LABEL_WORDS]
    if odd:
        raise DataError(f"{path}: {len(odd)} Pathologies are unknown ({first(odd)}); expected benign or malignant")
    return rows


def _check(row: Row) -> None:
    if not row["Case"] or leaves(row["ID"]):
        raise ValueError(f"ID {row['ID']!r}, Case {row['Case']!r}")


def _record(folder: Path, row: dict[str, str]) -> Record:
    scanner = row["Device"].split("@")[0].strip()
    mask = f"Masks/{row['ID'].replace('bus_', 'mask_', 1)}.png"
    return Record(
        image=f"Images/{row['ID']}.png",
        # Numbers of four digits sort as text.
        patient=row["Case"].zfill(4),
        label=LABEL_WORDS[row["Pathology"].lower()],
        site=slug(scanner),
        mask=mask if is_file(folder, mask) else "",
        attributes={
            "scanner": scanner,
            "birads": row["BIRADS"],
            "side": row["Side"],
            "histology": row["Histology"],
        },
    )
