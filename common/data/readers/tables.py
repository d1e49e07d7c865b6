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
from common.data.manifest import Dataset, Record, of_both_classes
from common.data.readers.wisconsin import Rows, read_wbc, read_wdbc
from common.errors import DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig

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


@dataclasses.dataclass(frozen=True, eq=False)
class TableRows:
    """Reads one row, float32 (F,) in [0, 1], by its number."""

    rows: NDArray[np.float32]

    def __call__(self, key: str) -> NDArray[np.float32]:
        row: NDArray[np.float32] = self.rows[int(key)]
        return row


def open_wdbc(data: DataConfig) -> Dataset:
    """Returns WDBC, 30 features, malignant as label 1: of ``data.root``, else scikit-learn's (569 patients).

    Raises:
        DataError: ``data.root`` is neither the published file nor the table of it with named columns.
    """
    if data.root:
        root = required_root(data, "wdbc.data or data.csv, or the folder that holds one of them")
        rows = read_wdbc(_file(root, "wdbc.data", "data.csv"))
    else:
        rows = _shipped()
    note = "A table of cell measurements, not images; rows with the same id are one patient."
    return _dataset("WDBC", rows, rows.values / WDBC_UPPER, WDBC_CITATION, (note,))


def open_wbc(data: DataConfig) -> Dataset:
    """Returns WBC (original): nine scores, a patient may have several rows.

    Raises:
        ConfigError, DataError: ``data.root`` is not the published file, nor the table of it with named columns.
    """
    root = required_root(data, "breast-cancer-wisconsin.data or the folder that holds it")
    rows = read_wbc(_file(root, "breast-cancer-wisconsin.data"), WBC_UNKNOWN)
    notes = (
        "A table of cell scores, not images; rows with the same id are one patient.",
        f"{rows.unknown} rows have an unknown score, read as {WBC_UNKNOWN:g}.",
    )
    return _dataset("WBC", rows, rows.values / WBC_UPPER, WBC_CITATION, notes)


def _shipped() -> Rows:
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer()
    # Published by scikit-learn: 0 malignant, 1 benign.
    labels = tuple(1 - int(value) for value in table.target)
    return Rows(tuple(f"{n:04d}" for n in range(len(labels))), labels, table.data.astype(np.float32))


def _file(root: Path, *names: str) -> Path:
    if not root.is_dir():
        return root
    found = [root / name for name in names if (root / name).is_file()]
    if len(found) != 1:
        raise DataError(f"{root} holds {len(found)} of {' and '.join(names)}; name the file itself with data.root")
    return found[0]


def _dataset(name: str, rows: Rows, values: NDArray[np.float32], citation: str, notes: tuple[str, ...]) -> Dataset:
    records = [
        Record(image=f"{n:04d}", patient=patient, label=label)
        for n, (patient, label) in enumerate(zip(rows.patients, rows.labels, strict=True))
    ]
    torn = of_both_classes(records)
    left_out = sum(record.patient in torn for record in records)
    if torn:
        notes += (f"Left out: {len(torn)} patients ({left_out} rows) whose rows hold both classes.",)
    return Dataset(
        name=name,
        records=tuple(record for record in records if record.patient not in torn),
        read=TableRows(np.clip(values.astype(np.float32), 0.0, 1.0)),
        kind="table",
        citation=citation,
        licence=LICENCE,
        notes=(*notes, *rows.notes),
        features=values.shape[1],
    )
