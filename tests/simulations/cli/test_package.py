"""`oncofed-sim package`: what a run leaves becomes a folder that another command can use, or there is a reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from common.data.manifest import Dataset, Record
from common.inference.package import load_package
from simulations.analysis.packaged import FEWEST, appearance_of, marked_share
from simulations.cli.main import app
from tests.packaged import phantom_run

__all__ = ["phantom_run"]


def _pixels(key: str) -> np.ndarray:
    pixels = np.random.default_rng(int(key)).uniform(0, 0.4, (40, 40)).astype(np.float32)
    if int(key) % 4 == 0:  # a cross, as calipers are
        pixels[20, 13:28] = pixels[13:28, 20] = 1.0
    return pixels


def _cohort(patients: int) -> Dataset:
    records = tuple(Record(image=str(number), patient=f"p{number}", label=number % 2) for number in range(patients))
    return Dataset("some", records, _pixels)


def test_a_run_is_packaged_once(phantom_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "package"
    done = CliRunner().invoke(app, ["package", str(phantom_run), "--out", str(out), "--valid-days", "30", "--json"])
    assert done.exit_code == 0, done.output
    package = load_package(out, datetime.now(UTC))
    assert json.loads(done.stdout)["data"]["digest"] == package.digest
    assert package.manifest.emulated and package.manifest.synthetic and package.appearance is not None
    assert package.manifest.expires - package.manifest.created == timedelta(days=30)
    assert package.attention["sanity_images"] == "16 test images"
    assert CliRunner().invoke(app, ["package", str(phantom_run), "--out", str(out)]).exit_code == 2


def test_the_appearance_is_of_patients_and_tells_whom_its_limit_flags() -> None:
    found = appearance_of([_cohort(30), _cohort(10)])
    assert found is not None and found["patients"] == 40 and found["beyond"] == 0
    assert set(found["measures"]) == {"intensity", "contrast", "sharpness", "speckle"}
    assert appearance_of([_cohort(FEWEST - 1)]) is None


def test_the_share_of_marked_images_is_counted() -> None:
    assert marked_share([_cohort(40)]) == 0.25
