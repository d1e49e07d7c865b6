"""One run of emulated hospitals on phantoms, packaged once, and its phantoms as files."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.inference.package import Package, load_package
from simulations.analysis.packaged import package_run
from simulations.data.phantom import make_phantom
from simulations.engine.run import run_study

STUDY = [
    "data.patients=120",
    "data.image_size=32",
    "model.width=4",
    "training.rounds=1",
    "training.batch_patients=20",
    "evaluation.local_baseline=false",
    "evaluation.bins=256",
    "partition.sites=2",
    "privacy=none",
]


@pytest.fixture(scope="session")
def phantom_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_study(STUDY, "inprocess", tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="session")
def made(phantom_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Package:
    return package_run(phantom_run, tmp_path_factory.mktemp("packages") / "made")


@pytest.fixture
def folder(made: Package, tmp_path: Path) -> Path:
    """A copy of the package that a test may damage."""
    return Path(shutil.copytree(made.folder, tmp_path / "package"))


@pytest.fixture
def package(folder: Path) -> Package:
    return load_package(folder, datetime.now(UTC))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms of twelve patients as PNG files, a folder for each patient."""
    folder = tmp_path_factory.mktemp("pictures")
    phantom = make_phantom(12, 5, 96)
    for record in phantom.records:
        place = folder / record.patient
        place.mkdir(exist_ok=True)
        pixels = np.round(255 * phantom.read(record.image)).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{record.image}.png")
    return folder
