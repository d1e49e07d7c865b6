"""How images were saved, which groups of patients there are, and masks of letters as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from common.data.checks.depth import check_depth
from common.data.checks.looking import file_bits, look
from common.data.checks.overlay_files import write_overlays
from common.data.checks.registry import CHECKS, Material, quick_findings, run_checks
from common.data.checks.subgroups import check_subgroups, told_subgroup
from common.data.manifest import Dataset, Record
from common.data.pixels.images import ImageFiles
from common.errors import DataError


def noise(seed: int, top: int = 200) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    return np.random.default_rng(seed).integers(0, top, (40, 50), dtype=np.uint16)


@pytest.fixture
def images(tmp_path: Path) -> Dataset:
    for number in range(6):
        Image.fromarray(noise(number).astype(np.uint8)).save(tmp_path / f"{number}.png")
    return Dataset("x", tuple(Record(f"{n}.png", f"p{n}", n % 2) for n in range(6)), read=ImageFiles(tmp_path))


def found(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    return {finding.code: finding.records for finding in check_depth(look(dataset))}


def test_another_depth_an_unused_range_and_a_mask_are_found(images: Dataset, tmp_path: Path) -> None:
    assert found(images) == {}
    Image.fromarray(noise(9, 4096)).save(tmp_path / "0.png")  # 12 bits in a file of 16
    Image.fromarray(((noise(8) > 100) * 255).astype(np.uint8)).save(tmp_path / "1.png")
    assert found(images) == {"odd-depth": ("0.png",), "dim": ("0.png",), "few-greys": ("1.png",)}


@pytest.mark.parametrize(("bits", "told"), [(10, True), (12, True), (14, True), (16, False)])
@pytest.mark.parametrize("negative", [False, True])
def test_fewer_bits_saved_as_sixteen_are_told_at_either_end(
    images: Dataset, tmp_path: Path, bits: int, told: bool, negative: bool
) -> None:
    pixels = noise(9, 1 << bits)
    Image.fromarray(65535 - pixels if negative else pixels).save(tmp_path / "0.png")
    assert ("dim" in found(images)) == told


def test_bits_of_files(tmp_path: Path) -> None:
    Image.fromarray(noise(0)).save(tmp_path / "16.png")
    Image.fromarray(noise(0).astype(np.uint8)).convert("RGB").save(tmp_path / "8.png")
    Image.fromarray(noise(0) > 100).save(tmp_path / "1.png")
    assert [file_bits(tmp_path / f"{bits}.png") for bits in (16, 8, 1)] == [16, 8, 1]


def test_bits_of_dicom_files_are_those_that_are_stored(real_data: Path) -> None:
    path = next((real_data / "cbis-ddsm").rglob("*.dcm"))
    assert file_bits(path) == 16


def grouped(sizes: dict[str, tuple[int, int]]) -> Dataset:
    """Patients by scanner: so many benign, so many malignant."""
    records = [
        Record(f"{scanner}{label}{n}", f"{scanner}{label}{n}", label, split="test", attributes={"scanner": scanner})
        for scanner, numbers in sizes.items()
        for label in (0, 1)
        for n in range(numbers[label])
    ]
    return Dataset("x", tuple(records), read=lambda key: np.zeros((2, 2), np.float32))


def test_groups_that_are_small_or_give_the_label_away_are_found() -> None:
    assert check_subgroups(grouped({"a": (15, 15), "b": (20, 10)})) == []
    (small,) = check_subgroups(grouped({"a": (15, 15), "b": (2, 3)}))
    assert (small.code, small.severity, small.count) == ("subgroup-small", "note", 1) and small.records == (
        "scanner=b",
    )
    (torn,) = check_subgroups(grouped({"a": (15, 15), "b": (0, 25)}))
    assert (torn.code, torn.severity) == ("subgroup-one-class", "warning") and torn.records == ("scanner=b",)


def test_a_small_group_cannot_be_worked_out_from_the_others() -> None:
    cohort = grouped({"a": (30, 30), "b": (20, 20), "c": (1, 2)})
    assert told_subgroup(cohort, "scanner", 5) == {"a": 60, "b": None, "c": None}
    with pytest.raises(DataError, match="scanner"):
        told_subgroup(cohort, "names", 5)


def test_a_column_of_names_is_no_grouping() -> None:
    records = tuple(Record(f"{n}", f"p{n}", n % 2, attributes={"name": f"Roe {n}"}) for n in range(40))
    cohort = Dataset("x", records, read=lambda key: np.zeros((2, 2), np.float32))
    with pytest.raises(DataError, match="no column") as caught:
        told_subgroup(cohort, "name", 5)
    assert "Roe" not in str(caught.value)
    assert check_subgroups(cohort) == []


def test_masks_of_letters_are_written_beside_nothing(images: Dataset, tmp_path: Path) -> None:
    written = Image.fromarray((noise(3) // 3).astype(np.uint8)).resize((160, 120))
    ImageDraw.Draw(written).text((40, 90), "MAMA DIR", fill=255)
    written.save(tmp_path / "2.png")
    before = (tmp_path / "2.png").read_bytes()
    assert write_overlays(images, look(images), tmp_path / "masks") == 1
    (mask,) = (tmp_path / "masks").iterdir()
    pixels = np.asarray(Image.open(mask))
    assert mask.name == "2.png_overlay.png" and pixels.shape == (120, 160) and set(np.unique(pixels)) == {0, 255}
    assert (tmp_path / "2.png").read_bytes() == before
    with pytest.raises(DataError, match="exists"):
        write_overlays(images, look(images), tmp_path / "masks")


def test_only_checks_that_could_run_are_said_to_have_run(images: Dataset) -> None:
    table = Dataset("t", images.records, read=images.read, kind="table")
    assert set(run_checks(Material(table, (), (), 20))[1]) == {"cohort", "identifiers", "subgroups"}
    assert set(run_checks(Material(images, tuple(look(images)), (Path("0.png"),), 20))[1]) == set(CHECKS)
    assert {finding.code for finding in quick_findings(images, 20)} <= {"class-missing", "too-few-patients"}
