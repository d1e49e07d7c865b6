"""Lines that hold no data set together, patients too few for an epsilon, and what doctor says of the data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from client.checks import doctor
from client.checks.epsilon_check import check_epsilon, fewest
from client.cli.main import app
from client.site.site_file import SiteHome
from common.config.study import PrivacyConfig, StudyConfig


def write(folder: Path, patients: int, changed: dict[int, str] | None = None) -> Path:
    """Two images a patient, classes in turn; ``changed`` replaces lines."""
    lines = []
    for number in range(2 * patients):
        pixels = np.random.default_rng(number).integers(0, 120, (20, 24), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(f"{number}.png,p{number // 2},{('benign', 'malignant')[number // 2 % 2]}")
    for at, line in (changed or {}).items():
        lines[at] = line
    path = folder / "manifest.csv"
    path.write_text("\n".join(["image,patient,label", *lines]) + "\n")
    return path


def test_lines_that_hold_nothing_together_are_found_and_mended(tmp_path: Path) -> None:
    manifest = write(tmp_path, 30, {3: "3.png,p1,benign", 10: "none.png,p5,malignant"})  # p1 has both labels then
    clean = tmp_path / "clean.csv"
    done = CliRunner().invoke(app, ["data", "check", "--root", str(manifest), "--fix", str(clean)])
    assert done.exit_code == 4 and "benign and malignant" in done.stderr and "none.png" in done.stderr
    assert "57 of 60" in " ".join(done.stderr.split())
    again = CliRunner().invoke(app, ["data", "check", "--root", str(clean)])
    assert again.exit_code == 0, again.stderr


def test_masks_are_written_on_demand(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    done = CliRunner().invoke(app, ["data", "check", "--root", str(write(tmp_path, 30)), "--masks", str(folder)])
    assert done.exit_code == 0 and "Written: 0 masks" in done.stderr


def study(epsilon: float) -> StudyConfig:
    return StudyConfig(name="s", privacy=PrivacyConfig(epsilon=epsilon, accountant="rdp"))


def test_patients_too_few_for_an_epsilon_are_told_how_many_would_do() -> None:
    (finding,) = check_epsilon(study(3.0), 60)
    assert finding.code == "epsilon-too-few" and finding.count == 60 and not finding.told
    enough = int(finding.fix.split()[1])
    assert enough > 60 and check_epsilon(study(3.0), enough) == []
    assert check_epsilon(dataclasses.replace(study(1.0), privacy=PrivacyConfig(mode="none")), 5) == []


@pytest.mark.parametrize("least", [11, 64, 1000])
def test_the_fewest_is_close_and_enough(least: int) -> None:
    found = fewest(lambda n: n >= least, 10, 1 << 12)
    assert found is not None and least <= found <= least * 1.25 + 1
    assert fewest(lambda n: False, 10, 1 << 12) is None


def test_doctor_says_what_the_quick_checks_find(joined: SiteHome, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    manifest = write(tmp_path / "images", 30, {3: "3.png,p1,benign"})
    settings = yaml.safe_load(joined.site_file.read_text())
    settings |= {"data": {"root": str(manifest), "split_seed": 0}, "declared_patients": 20}
    joined.site_file.write_text(yaml.safe_dump(settings))
    found = {finding.check: finding for finding in doctor.examine(joined)}
    assert found["data patient-two-labels"].status == "fail" and found["data class-small"].status == "warn"
    said = [f"{finding.found} {finding.fix}" for name, finding in found.items() if name.startswith("data ")]
    assert not any(word in line for line in said for word in ("p1", ".png")) and "(2)" not in str(said)
