"""mini-MIAS: 322 film mammograms of 161 women at 1024 x 1024, PGM (Suckling 1994)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.formats import required_root
from common.data.manifest import MASK_SEPARATOR, Dataset, Record, first
from common.data.pixels.images import ImageFiles
from common.data.readers.classes import one_label, without_normal
from common.data.readers.regions import DrawnRegions, circle_key
from common.errors import DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Suckling J, Parker J, Dance D, et al. The Mammographic Image Analysis Society digital mammogram database. "
    "Excerpta Medica, International Congress Series 1069:375-378, 1994; mini-MIAS v1.21, "
    "doi:10.17863/CAM.105113"
)
LICENCE = "MIAS licence agreement: scientific research only; the 2015 repository copy says CC BY 2.0 UK"
ARCHIVE = "all-mias"
SIDE = 1024
TISSUE = {"F": "fatty", "G": "fatty-glandular", "D": "dense"}
_LINE = re.compile(
    r"(?P<film>mdb(?P<number>\d{3}))\s+(?P<tissue>[FGD])\s+(?P<finding>CALC|CIRC|SPIC|MISC|ARCH|ASYM|NORM)"
    r"(\s+(?P<severity>[BM])(\s+(?P<x>\d+)\s+(?P<y>\d+)\s+(?P<radius>\d+))?)?(\s+\*.*)?\s*"
)


def open_mias(data: DataConfig) -> Dataset:
    """Returns mini-MIAS: patient is a pair of films; attributes finding, tissue, side, view.

    A film is malignant if one of its lines is. Normal films come as label 0 with ``data.include_normal``.

    Raises:
        ConfigError, DataError: ``Info.txt`` or films are missing or of another layout.
    """
    root = required_root(data, "the folder with Info.txt and mdb001.pgm to mdb322.pgm")
    films = _films(_info(root))
    # Copies on Kaggle have the films in a folder of their own.
    root = root / ARCHIVE if (root / ARCHIVE / "mdb001.pgm").is_file() else root
    everyone = len(films)
    if not data.include_normal:
        films = {name: lines for name, lines in films.items() if any(line["severity"] for line in lines)}
    missing = [name for name in films if not (root / f"{name}.pgm").is_file()]
    if missing:
        raise DataError(f"{len(missing)} films of Info.txt are not in {root} ({first(missing)}); copy them")
    kept, left_out = one_label(_record(lines) for lines in films.values())
    return Dataset(
        name="mini-MIAS",
        records=kept,
        read=DrawnRegions(ImageFiles(root)),
        citation=CITATION,
        licence=LICENCE,
        notes=(
            "Scanned film of about 1990; burned-in labels and scratches. 'Benign' includes normal films."
            if data.include_normal
            else "Scanned film of about 1990; burned-in labels and scratches.",
            *without_normal(everyone - len(films)),
            *left_out,
        ),
    )


def _info(root: Path) -> Path:
    places = (root / "Info.txt", root / ARCHIVE / "Info.txt", root.resolve().parent / "Info.txt")
    return next((path for path in places[: 3 if root.name == ARCHIVE else 2] if path.is_file()), places[0])


def _films(path: Path) -> dict[str, list[re.Match[str]]]:
    try:
        lines = path.read_text(encoding="latin-1").splitlines()
    except OSError:
        raise DataError(f"There is no Info.txt in {path.parent}; it comes with mini-MIAS") from None
    # The published file opens with prose.
    rows = [line.strip() for line in lines if re.match(r"\s*mdb\d", line)]
    matches = [_LINE.fullmatch(row) for row in rows]
    odd = [row for row, match in zip(rows, matches, strict=True) if not match]
    if odd or not rows:
        raise DataError(f"{path} has {len(odd)} odd lines ({first(odd)}); expected 'mdb001 G CIRC B 535 425 197'")
    films: dict[str, list[re.Match[str]]] = {}
    for match in matches:
        if match:
            films.setdefault(match["film"], []).append(match)
    return films


def _record(lines: list[re.Match[str]]) -> Record:
    line = next((line for line in lines if line["severity"] == "M"), lines[0])
    number, image = int(line["number"]), f"{line['film']}.pgm"
    # The published y is counted from the bottom.
    circles = [
        circle_key(image, int(one["x"]), SIDE - 1 - int(one["y"]), int(one["radius"])) for one in lines if one["x"]
    ]
    return Record(
        image=image,
        # Films 1 and 2 are one woman, 3 and 4 the next: even left, odd right.
        patient=f"pair-{(number + 1) // 2:03d}",
        label=int(line["severity"] == "M"),
        mask=MASK_SEPARATOR.join(circles),
        attributes={
            "finding": line["finding"].lower(),
            "tissue": TISSUE[line["tissue"]],
            "side": "right" if number % 2 else "left",
            "view": "MLO",
        },
    )
