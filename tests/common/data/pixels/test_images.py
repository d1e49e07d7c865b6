"""Every mode in which hospitals and public sets save images, and files that are damaged."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from common.data.pixels.images import read_image
from common.errors import DataError


def tiff(path: Path, pixels: NDArray[Any], *, white_is_zero: bool, bits: int = 0, order: str = "<") -> Path:
    """Writes an uncompressed TIFF of one strip, as TIFF 6.0 has it, with this PhotometricInterpretation."""
    height, width = pixels.shape
    bits = bits or 8 * pixels.dtype.itemsize
    data = np.packbits(pixels > 0, axis=1).tobytes() if bits == 1 else pixels.astype(f"{order}{pixels.dtype.str[1:]}")
    data = data if isinstance(data, bytes) else data.tobytes()
    kind = 3 if pixels.dtype.kind == "f" else 2 if pixels.dtype.kind == "i" else 1
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, int(not white_is_zero)),
            (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(data)), (339, 3, kind)]  # fmt: skip
    shorts = {3: "HH", 4: "I"}
    body = b"".join(
        struct.pack(f"{order}HHI{shorts[form]}", tag, form, 1, value, *([0] if form == 3 else []))
        for tag, form, value in tags
    )
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    head = mark + struct.pack(f"{order}I", 8 + len(data))
    path.write_bytes(head + data + struct.pack(f"{order}H", len(tags)) + body + bytes(4))
    return path


def read(pixels: NDArray[Any], **how: Any) -> NDArray[np.float32]:
    with tempfile.TemporaryDirectory() as folder:
        return read_image(tiff(Path(folder) / "a.tif", pixels, **how))


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
    monkeypatch.setattr("common.data.pixels.images.MAX_PIXELS", 10)
    Image.new("L", (5, 4)).save(tmp_path / "big.png")
    with pytest.raises(DataError, match="5 x 4 pixels"):
        read_image(tmp_path / "big.png")


@given(st.integers(0, 999), st.sampled_from(["u1", "u2", "f4", "bit"]), st.sampled_from("<>"))
def test_a_tiff_whose_white_is_zero_is_the_negative_of_its_values_or_refused(seed: int, kind: str, order: str) -> None:
    noise = np.random.default_rng(seed).random((6, 16))
    top = {"u1": 255, "u2": 65535, "f4": 1, "bit": 1}[kind]
    stored = (noise * top).round() if kind != "f4" else noise
    pixels = stored.astype("u1" if kind == "bit" else kind)
    how = {"order": order, "bits": 1 if kind == "bit" else 0}
    expected = pixels.astype(np.float32) / np.float32(top)
    assert np.allclose(read(pixels, white_is_zero=False, **how), expected, atol=1e-6)
    if order == ">" and kind == "u2":
        with pytest.raises(DataError, match="save the TIFF as 8- or 16-bit grey, black zero"):
            read(pixels, white_is_zero=True, **how)
    else:
        assert np.allclose(read(pixels, white_is_zero=True, **how), 1 - expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["tiff_lzw", "tiff_deflate", "packbits"])
def test_compression_does_not_change_which_end_is_white(mode: str, tmp_path: Path) -> None:
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression=mode, tiffinfo={262: 0})
    with Image.open(tmp_path / "a.tif") as image:
        assert image.tag_v2[262] == 0  # type: ignore[attr-defined]
    assert np.allclose(read_image(tmp_path / "a.tif"), 1 - pixels / 65535, atol=1e-6)


@pytest.mark.parametrize("values", [[0, 255], [-0.1, 0.5], [0, np.nan], [0, np.inf]])
def test_floats_without_a_known_range_are_refused(values: list[float]) -> None:
    with pytest.raises(DataError, match="expected 0 to 1: export it as 16-bit grey"):
        read(np.array([values], dtype=np.float32), white_is_zero=False)


@pytest.mark.parametrize("pixels", [np.array([[-5, 9]], np.int16), np.array([[0, 70_000]], np.int32)])
def test_whole_numbers_outside_of_16_bits_are_refused_and_not_clipped(pixels: NDArray[Any]) -> None:
    with pytest.raises(DataError, match="expected 0 to 65535"):
        read(pixels, white_is_zero=False)


def test_several_pictures_in_one_file_are_refused_and_a_thumbnail_is_none(tmp_path: Path) -> None:
    first, second = (Image.fromarray(np.full((8, 8), grey, np.uint8)) for grey in (51, 102))
    for name in ("a.tif", "a.gif", "a.png"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        with pytest.raises(DataError, match="holds 2 pictures"):
            read_image(tmp_path / name)
    second.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(tmp_path / "b.tif", save_all=True, append_images=[second])
    assert np.allclose(read_image(tmp_path / "b.tif"), 0.2)
