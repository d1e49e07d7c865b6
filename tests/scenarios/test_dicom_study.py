"""A whole private study on DICOM mammograms: the real views of one woman, made into many women of both classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from simulations.engine.run import run_study
from tests.common.data.layouts import CBIS_HEADER, cbis_row, dicom, save, table

WOMEN = 32
STUDY = (
    "data=cbis_ddsm", "data.image_size=32", "partition.sites=2", "partition.min_patients=4", "model.width=4",
    "training.rounds=2", "training.batch_patients=8", "training.local_epochs=1", "training.lr=0.5",
    "privacy.accountant=rdp", "evaluation.personal_epochs=0", "evaluation.local_baseline=false", "evaluation.bins=256",
    "evaluation.resamples=0",
)  # fmt: skip


def planted(stock: Dataset, seed: int, malignant: bool) -> NDArray[np.uint16]:
    """Returns a real view at a quarter of its size, dimmed by its own factor, with a bright mass in it or none."""
    rng = np.random.default_rng(seed)
    view = stock.pixel_array[::4, ::4].astype(np.float64) * rng.uniform(0.6, 0.8)
    if malignant:
        tissue = np.argwhere(view > 0.5 * view.max())
        row, column = tissue[rng.integers(len(tissue))]
        rows, columns = np.ogrid[: view.shape[0], : view.shape[1]]
        view[(rows - row) ** 2 + (columns - column) ** 2 <= 20**2] = 65_000
    return view.astype(np.uint16)


def many_women(source: Path, root: Path) -> None:
    stocks = [dcmread(path) for path in sorted(source.rglob("*.dcm"))]
    rows: list[object] = [CBIS_HEADER]
    for woman in range(WOMEN):
        malignant = bool(woman % 2)
        for stock in stocks[woman // 2 % 2 * 2 :][:2]:
            side, view = str(stock.PatientID).split("_")[-2:]
            name = f"Mass-Training_P_{woman:05d}_{side}_{view}"
            image = dicom(planted(stock, woman, malignant), PatientID=name, Laterality=side[0], PatientOrientation=view)
            save(image, root / "CBIS-DDSM" / name / "study" / "series" / "1-1.dcm")
            rows.append(cbis_row(f"P_{woman:05d}", side, view, 1, "MALIGNANT" if malignant else "BENIGN"))
    table(root / "mass_case_description_train_set.csv", rows)  # type: ignore[arg-type]


def test_a_private_study_trains_on_dicom_from_end_to_end(real_data: Path, tmp_path: Path) -> None:
    many_women(real_data / "cbis-ddsm-quarter", tmp_path / "cbis")
    folder = run_study([*STUDY, f"data.root={tmp_path / 'cbis'}"], "inprocess", tmp_path / "run")
    run = json.loads((folder / "run.json").read_text())
    assert run["status"] == "COMPLETED"
    assert run["dataset"]["name"] == "CBIS-DDSM" and "Scanned film" in " ".join(run["dataset"]["notes"])
    rounds = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(rounds) == 2
    assert (folder / "report.html").is_file() and list((folder / "privacy").glob("site_*.json"))
