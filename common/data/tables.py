"""The two Wisconsin tables, cell scores of fine-needle aspirates: small and quick, for trying privacy and strategies.

Every column is scaled by fixed public bounds, never by the rows of a site: fitted bounds would leak.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.data.formats import required_root
from common.data.manifest import Dataset, Record, first, of_both_classes
from common.errors import DataError

if TYPE_CHECKING:
    from common.config import DataConfig

WDBC_CITATION = (
    "Street WN, Wolberg WH, Mangasarian OL. Nuclear feature extraction for breast tumor diagnosis. SPIE 1905, 1993. "
    "UCI Machine Learning Repository, doi:10.24432/C5DW2B"
)
WBC_CITATION = (
    "Wolberg WH, Mangasarian OL. Multisurface method of pattern separation for medical diagnosis applied to breast "
    "cytology. PNAS 87:9193-9196, 1990. UCI Machine Learning Repository, doi:10.24432/C5HP4Z"
)
LICENCE = "CC BY 4.0 (UCI)"

_MEAN = (30.0, 40.0, 200.0, 2500.0, 0.2, 0.4, 0.5, 0.2, 0.4, 0.1)
_ERROR = (3.0, 5.0, 25.0, 500.0, 0.03, 0.15, 0.4, 0.05, 0.1, 0.03)
_WORST = (40.0, 50.0, 250.0, 4000.0, 0.25, 1.0, 1.25, 0.3, 0.7, 0.2)
WDBC_UPPER = np.array(_MEAN + _ERROR + _WORST, dtype=np.float32)
"""Upper bound of each of the 30 columns, round numbers near the published maxima; the lower bound is 0.

Columns: radius, texture, perimeter, area, smoothness, compactness, concavity, concave points, symmetry, fractal
dimension; first their means, then standard errors, then worst values. Larger values are clipped."""

WBC_UPPER = np.float32(10.0)
WBC_UNKNOWN = 1.0
"""Stands for ``?``: the lowest score, fixed beforehand rather than fitted."""
_WBC_COLUMNS = 11
_WBC_LABELS = {"2": 0, "4": 1}


@dataclasses.dataclass(frozen=True, eq=False)
class TableRows:
    """Reads one row, float32 (F,) in [0, 1], by its number."""

    rows: NDArray[np.float32]

    def __call__(self, key: str) -> NDArray[np.float32]:
        row: NDArray[np.float32] = self.rows[int(key)]
        return row


def open_wdbc(data: DataConfig) -> Dataset:
    """Returns WDBC as it ships with scikit-learn: 569 patients, 30 features, malignant as label 1."""
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer()
    # Published by scikit-learn: 0 malignant, 1 benign.
    labels = [1 - int(value) for value in table.target]
    rows = np.clip(table.data.astype(np.float32) / WDBC_UPPER, 0.0, 1.0)
    return Dataset(
        name="WDBC",
        records=tuple(Record(image=f"{n:04d}", patient=f"{n:04d}", label=label) for n, label in enumerate(labels)),
        read=TableRows(rows),
        kind="table",
        citation=WDBC_CITATION,
        licence=LICENCE,
        notes=("A table of cell measurements, not images; each row is a patient.",),
        features=rows.shape[1],
    )


def open_wbc(data: DataConfig) -> Dataset:
    """Returns WBC (original): nine scores, a patient may have several rows.

    Raises:
        ConfigError, DataError: ``data.root`` is not the published file.
    """
    root = required_root(data, "breast-cancer-wisconsin.data or the folder that holds it")
    cells = _cells(root / "breast-cancer-wisconsin.data" if root.is_dir() else root)
    unknown = sum("?" in line for line in cells)
    scores = [[WBC_UNKNOWN if cell == "?" else float(cell) for cell in line[1:-1]] for line in cells]
    records = [Record(image=f"{n:04d}", patient=line[0], label=_WBC_LABELS[line[-1]]) for n, line in enumerate(cells)]
    torn = of_both_classes(records)
    left_out = sum(record.patient in torn for record in records)
    return Dataset(
        name="WBC",
        records=tuple(record for record in records if record.patient not in torn),
        read=TableRows(np.array(scores, dtype=np.float32) / WBC_UPPER),
        kind="table",
        citation=WBC_CITATION,
        licence=LICENCE,
        notes=(
            "A table of cell scores, not images; rows with the same id are one patient.",
            f"{unknown} rows have an unknown score, read as {WBC_UNKNOWN:g}.",
            f"Left out: {len(torn)} patients ({left_out} rows) whose rows hold both classes.",
        ),
        features=_WBC_COLUMNS - 2,
    )


def _cells(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise DataError(f"{path} cannot be read; expected breast-cancer-wisconsin.data as published by UCI") from None
    lines = [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.strip()]
    odd = [str(n) for n, line in enumerate(lines, 1) if not _well_formed(line)]
    if odd or not lines:
        raise DataError(
            f"{path} has {len(odd)} odd lines ({first(odd)}); expected id, nine scores of 1 to 10 or ?, class 2 or 4"
        )
    return lines


def _well_formed(line: list[str]) -> bool:
    scores = line[1:-1]
    known = all(cell == "?" or (cell.isdigit() and 1 <= int(cell) <= 10) for cell in scores)
    return len(line) == _WBC_COLUMNS and line[-1] in _WBC_LABELS and known
