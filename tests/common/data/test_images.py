"""Every mode in which hospitals and public sets save images, and files that are damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data.images import read_image
from common.errors import DataError


@pytest.mark.parametrize(
    ("mode", "colour", "shape", "value"),
    [
        ("1", 1, (4, 5), 1.0),
        ("L", 51, (4, 5), 0.2),
        ("LA", (51, 0), (4, 5), 0.2),
        ("RGB", (51, 102, 255), (4, 5, 3), (0.2, 0.4, 1.0)),
        ("RGBA", (51, 102, 255, 0), (4, 5, 3), (0.2, 0.4, 1.0)),
        ("I;16", 13107, (4, 5), 0.2),
    ],
)
def test_modes_become_floats(tmp_path: Path, mode: str, colour: object, shape: tuple[int, ...], value: object) -> None:
    path = tmp_path / "image.png"
    Image.new(mode, (5, 4), colour).save(path)  # type: ignore[arg-type]
    pixels = read_image(path)
    assert pixels.shape == shape and pixels.dtype == np.float32
    assert np.allclose(pixels, value, atol=1e-6)


def test_a_palette_is_resolved(tmp_path: Path) -> None:
    Image.new("RGB", (5, 4), (255, 0, 0)).convert("P").save(tmp_path / "p.png")
    assert np.allclose(read_image(tmp_path / "p.png")[0, 0], (1, 0, 0))


def test_a_rotated_photograph_is_turned_upright(tmp_path: Path) -> None:
    image = Image.new("L", (5, 4))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (5, 4)


def test_truncated_foreign_and_missing_files_are_data_errors(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:1500])
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    for name in ("cut.png", "text.png", "empty.png", "absent.png"):
        with pytest.raises(DataError, match=name):
            read_image(tmp_path / name)


def test_a_file_that_claims_a_giant_picture_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.data.images.MAX_PIXELS", 10)
    Image.new("L", (5, 4)).save(tmp_path / "big.png")
    with pytest.raises(DataError, match="5 x 4 pixels"):
        read_image(tmp_path / "big.png")
