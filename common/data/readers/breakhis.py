"""BreaKHis: histology of 82 women at four magnifications, 700 x 460 (Spanhol 2016)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from common.data.files.tree import files_below
from common.data.formats import required_root
from common.data.manifest import Dataset, Record
from common.data.pixels.images import ImageFiles
from common.errors import DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Spanhol FA, Oliveira LS, Petitjean C, Heutte L. A dataset for breast cancer histopathological image "
    "classification. IEEE Transactions on Biomedical Engineering 63(7):1455-1462, 2016. doi:10.1109/TBME.2015.2496264"
)
LICENCE = "CC BY 4.0 (authors' page); older copies say research use"
_LABELS = {"B": 0, "M": 1}
_TYPES = {
    "A": "adenosis", "F": "fibroadenoma", "PT": "phyllodes_tumor", "TA": "tubular_adenoma",
    "DC": "ductal_carcinoma", "LC": "lobular_carcinoma", "MC": "mucinous_carcinoma", "PC": "papillary_carcinoma",
}  # fmt: skip
_NAME = re.compile(
    r"SOB_(?P<label>[BM])_(?P<type>[A-Z]+)-(?P<year>\d+)-(?P<slide>\d+)(?P<part>[A-Z]*)-(?P<mag>\d+)-(?P<seq>\d+)\.png"
)


def open_breakhis(data: DataConfig) -> Dataset:
    """Returns BreaKHis: patient is the slide number without its letters; attributes magnification, type, slide.

    ``data.only=magnification:400`` keeps one magnification.

    Raises:
        ConfigError, DataError: There is no image named as published.
    """
    root = required_root(data, "the folder BreaKHis_v1 (or the one that holds it)")
    found = [(path, match) for path in files_below(root, ".png") if (match := _NAME.fullmatch(path.name))]
    if not found:
        raise DataError(f"There is no SOB_B_A-14-22549AB-40-001.png or the like below {root}; expected BreaKHis_v1")
    odd = sorted({match["type"] for _, match in found} - _TYPES.keys())
    if odd:
        raise DataError(f"Below {root} are images of unknown type {', '.join(odd)}; expected {', '.join(_TYPES)}")
    return Dataset(
        name="BreaKHis",
        records=tuple(_record(path.relative_to(root).as_posix(), match) for path, match in found),
        read=ImageFiles(root),
        citation=CITATION,
        licence=LICENCE,
        notes=(
            "Parts of a slide number (22549AB, 22549CD) count as one woman; the publisher counts some of them apart.",
            "The same tissue is shown at up to four magnifications: they stay in one split.",
        ),
    )


def _record(image: str, match: re.Match[str]) -> Record:
    return Record(
        image=image,
        patient=f"{match['year']}-{match['slide']}",
        label=_LABELS[match["label"]],
        attributes={
            "magnification": match["mag"],
            "type": _TYPES[match["type"]],
            "slide": f"{match['year']}-{match['slide']}{match['part']}",
        },
    )
