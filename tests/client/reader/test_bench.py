"""Exams, answers and images as the second process has them."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from client.cli.main import app
from client.reader.bench import LARGEST, Bench, eight_bits, smaller
from client.reader.worklist import Source
from client.site.packages import KeptPackages, Pointer
from common.errors import ConfigError, DataError
from common.inference.package import Package
from common.inference.record import records
from tests.exams_as_dicom import source, write_exam


@pytest.fixture
def images(pictures: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for number, place in enumerate(sorted(pictures.rglob("*.png"))[:2]):
        (folder / str(number)).mkdir(parents=True)
        shutil.copy(place, folder / str(number) / "image.png")
    Image.fromarray(np.full((40, 60), 9, np.uint8)).save(folder / "blank.png")
    return folder


@pytest.fixture
def bench(made: Package, images: Path, tmp_path: Path) -> Bench:
    return Bench(Source(home=tmp_path / "none", places=(images,), out=tmp_path / "out", package=made.folder))


def drawn(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_the_image_is_the_files_and_the_map_lies_on_all_of_it(bench: Bench, made: Package, images: Path) -> None:
    rows, gone = bench.scan()
    assert [row.name for row in rows] == ["0", "1", "blank"] and gone == 0
    assert all(row.known is None for row in rows)
    opened = bench.open(rows[0].id)
    pixels = np.asarray(Image.open(images / "0" / "image.png"))
    assert np.array_equal(drawn(bench.picture(rows[0].id, 0)), pixels)
    assert opened.sizes == ((pixels.shape[1], pixels.shape[0]),)
    painted = drawn(bench.attention(rows[0].id, 0, made.digest))
    assert painted.shape == (*pixels.shape, 4) and painted[..., 3].min() == 0 and painted[..., 3].max() == 255
    for exam, number, model in ((0, 1, made.digest), (0, -1, made.digest), (0, 0, "ef" * 32), (2, 0, made.digest)):
        with pytest.raises(DataError):
            bench.attention(rows[exam].id, number, model)
    for number in (-1, 1):
        with pytest.raises(DataError):
            bench.picture(rows[0].id, number)


def test_an_exam_without_an_answer_has_no_figure_no_set_and_no_map(bench: Bench) -> None:
    rows, _ = bench.scan()
    opened = bench.open(rows[2].id)
    assert opened.known.abstained and opened.sizes == ((60, 40),)
    found = opened.result
    assert [found[name] for name in ("probability", "above_threshold", "set")] == [None] * 3
    assert not found["answered"] and not found["attention"]["maps"]


def test_what_predict_answered_is_shown_as_it_was_and_not_answered_again(
    made: Package, bench: Bench, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["predict", "--in", images, "--out", out, "--package", made.folder, "--home", tmp_path / "none"]
    assert CliRunner().invoke(app, list(map(str, words))).exit_code == 0
    before = records(out / "records.jsonl").records
    by_results = Bench(Source(home=tmp_path / "none", out=out, package=made.folder))
    for one in (bench, by_results):
        rows, _ = one.scan()
        known = {row.name: row.known.record for row in rows if row.known}
        assert known == {record.exam: record.record for record in before}
        opened = one.open(rows[0].id)
        assert opened.known.record == before[0].record and opened.result["probability"] == before[0].probability
    shutil.copy(images / "1" / "image.png", images / "0" / "image.png")
    opened = bench.open(bench.scan()[0][0].id)
    assert opened.known.record != before[0].record and len(records(out / "records.jsonl").records) == len(before) + 1


def test_images_that_are_gone_leave_no_record(bench: Bench, images: Path, tmp_path: Path) -> None:
    rows, _ = bench.scan()
    shutil.rmtree(images / "1")
    with pytest.raises(DataError, match="gone"):
        bench.open(rows[1].id)
    with pytest.raises(DataError, match="no such exam"):
        bench.open("0" * 16)
    assert records(tmp_path / "out" / "records.jsonl").records == ()
    shutil.rmtree(images)
    images.mkdir()
    with pytest.raises(DataError, match="no image"):
        bench.scan()


def test_a_suspended_model_answers_nothing_from_that_moment_on(
    made: Package, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, pointer = KeptPackages(tmp_path / "home"), Pointer(made.digest, None)
    shutil.copytree(made.folder, kept.path / made.digest)
    monkeypatch.setattr(KeptPackages, "pointer", lambda _: pointer)
    bench = Bench(Source(home=kept.home, places=(images,)))
    rows, _ = bench.scan()
    assert bench.open(rows[0].id).known.record and bench.model()["state"] == "active"
    pointer = Pointer(None, None)
    for ask in (lambda: bench.open(rows[1].id), bench.scan, bench.model):
        with pytest.raises(ConfigError, match="No model is active"):
            ask()
    assert len(records(kept.records).records) == 1


def test_dicom_images_are_drawn_upright_and_large_ones_made_smaller(made: Package, tmp_path: Path) -> None:
    folder = tmp_path / "dicom"
    folder.mkdir()
    write_exam(folder, [source("US", AccessionNumber="A9"), source("US", shape=(30, 50), AccessionNumber="A10")])
    bench = Bench(Source(home=tmp_path / "none", places=(folder,), out=tmp_path / "out", package=made.folder))
    rows, _ = bench.scan()
    assert {(row.name, row.modality, row.taken) for row in rows} == {
        ("A10", "US", "2026-11-01"),
        ("A9", "US", "2026-11-01"),
    }
    for row in rows:
        opened = bench.open(row.id)
        assert drawn(bench.picture(row.id, 0)).shape[1::-1] == opened.sizes[0]
    large = smaller(Image.fromarray(eight_bits(np.zeros((2 * LARGEST, 10), np.float32))))
    assert large.size == (5, LARGEST)
