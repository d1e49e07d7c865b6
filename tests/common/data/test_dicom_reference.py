"""DICOM pixels against pydicom's own functions over generated headers, and files whose wrapping is missing."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset, Sequence
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from common.data.checks.dicom_display import check_dicom_display
from common.data.checks.dicom_tags import check_dicom_tags
from common.data.checks.looking import file_bits
from common.data.intake.deidentify import WRAPPED, deidentify_folder
from common.data.intake.headers import read_headers
from common.data.pixels.dicom import read_dicom, read_header, scan
from common.data.pixels.dicom_file import is_dicom, lacks_wrapping
from common.data.pixels.dicom_lut import look_up
from common.data.pixels.dicom_values import to_unit_range
from common.data.pixels.images import read_image
from common.errors import DataError
from tests.common.data.layouts import dicom, film, save

Values = NDArray[np.float64]


def lut(entries: list[int], first: int, bits: int, *, packed: bool = False, words: bool = True) -> Dataset:
    """Returns a table as a sequence's item: words of VR OW, two entries to a word, or a list of VR US."""
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    if words:
        stored = np.array(entries, dtype=np.uint8 if packed else "<u2").tobytes()
        item.add_new(0x00283006, "OW", stored + b"\0" * (len(stored) % 2))
    else:
        item.add_new(0x00283006, "US", entries)
    return item


@st.composite
def headers(draw: st.DrawFn) -> Dataset:
    """Draws a grey image: bits and where they stand, sign, rescale or modality LUT, window or VOI LUT, shape."""
    bits = draw(st.sampled_from([8, 10, 12, 14, 16]))
    high = draw(st.integers(bits - 1, 15))
    cells = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 1 << 16, (12, 8), dtype=np.uint16)
    mono1 = draw(st.booleans())
    tags = dicom(cells, BitsStored=bits, HighBit=high, PixelRepresentation=draw(st.integers(0, 1)))
    tags.PhotometricInterpretation = "MONOCHROME1" if mono1 else "MONOCHROME2"
    if draw(st.booleans()):
        tags.PresentationLUTShape = "INVERSE" if mono1 else "IDENTITY"
    draw(st.sampled_from([plain, rescaled, modality_table]))(draw, tags)
    draw(st.sampled_from([plain, windowed, voi_table]))(draw, tags)
    return tags


def plain(draw: st.DrawFn, tags: Dataset) -> None:
    """Leaves the tags as they are."""


def rescaled(draw: st.DrawFn, tags: Dataset) -> None:
    tags.RescaleSlope = draw(st.sampled_from(["1", "0.5", "2", "-1"]))
    tags.RescaleIntercept = draw(st.sampled_from(["0", "-1024", "7"]))


def modality_table(draw: st.DrawFn, tags: Dataset) -> None:
    bits = draw(st.sampled_from([8, 16]))
    entries = draw(st.lists(st.integers(0, 2**bits - 1), min_size=2, max_size=40))
    first = draw(st.integers(0, 100))
    tags.ModalityLUTSequence = Sequence([lut(entries, first, bits, words=draw(st.booleans()))])


def windowed(draw: st.DrawFn, tags: Dataset) -> None:
    tags.WindowCenter, tags.WindowWidth = str(draw(st.integers(-3000, 9000))), str(draw(st.integers(1, 9000)))
    tags.VOILUTFunction = draw(st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))


def voi_table(draw: st.DrawFn, tags: Dataset) -> None:
    # For entries of 8 bits pydicom wraps indices at 256, where the standard asks for the last entry.
    bits = draw(st.sampled_from([10, 12, 16]))
    entries = draw(st.lists(st.integers(0, 2**bits - 1), min_size=2, max_size=200))
    # pydicom also fails on a first value that its modality LUT of 8 bits cannot give.
    first = draw(st.integers(0, 200))
    tags.VOILUTSequence = Sequence([lut(entries, first, bits, words=draw(st.booleans()))])
    # pydicom cuts what is no whole number, and wraps what is beyond 16 bits, before it looks up.
    for name in ("RescaleSlope", "RescaleIntercept"):
        if name in tags:
            delattr(tags, name)


def reference(file: Dataset, shown: NDArray[np.bool_] | None = None) -> Values:
    """Returns pydicom's own values in [0, 1]; ``shown`` are the pixels that are no padding."""
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("ignore")
        out = apply_voi_lut(apply_modality_lut(file.pixel_array, file), file).astype(np.float64)
    shown = np.ones(out.shape, dtype=np.bool_) if shown is None else shown
    low, high = out_range(file, out[shown])
    scaled = (out - low) / (high - low) if high != low else np.zeros_like(out)
    inverted = 1 - scaled if file.PhotometricInterpretation == "MONOCHROME1" else scaled
    return np.where(shown, inverted, 0.0)


def out_range(file: Dataset, out: Values) -> tuple[float, float]:
    """Returns the values that pydicom's functions give to black and to white."""
    if "VOILUTSequence" in file:
        return 0.0, 2.0 ** file.VOILUTSequence[0].LUTDescriptor[2] - 1
    if "WindowWidth" not in file:
        return float(out.min()), float(out.max())
    if "ModalityLUTSequence" in file:
        return 0.0, 2.0 ** file.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    signed, bits = file.PixelRepresentation, file.BitsStored
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = float(file.get("RescaleSlope", 1)), float(file.get("RescaleIntercept", 0))
    return ends[0] * slope + intercept, ends[1] * slope + intercept


def through_a_file(tags: Dataset, implicit: bool) -> tuple[NDArray[np.float32], Dataset]:
    """Returns what the product reads of the file, and the file as pydicom has it."""
    tags.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    with tempfile.TemporaryDirectory() as folder:
        path = save(tags, Path(folder) / "a.dcm")
        file = pydicom.dcmread(path)
        file.pixel_array  # noqa: B018 - read while the file is there
        return read_dicom(path), file


@settings(max_examples=150)
@given(tags=headers(), implicit=st.booleans())
def test_pixels_are_those_of_pydicom_whatever_the_header_says(tags: Dataset, implicit: bool) -> None:
    pixels, file = through_a_file(tags, implicit)
    assert np.allclose(pixels, reference(file), atol=2e-4)


@settings(max_examples=100)
@given(tags=headers(), at=st.integers(0, 95), width=st.integers(0, 300), limit=st.booleans())
def test_padding_counts_in_no_range_and_is_black(tags: Dataset, at: int, width: int, limit: bool) -> None:
    stored = through_a_file(tags, False)[1].pixel_array
    low = int(stored.ravel()[at])
    high = min(low + width, int(stored.max())) if limit else low
    tags.PixelPaddingValue = low
    if limit:
        tags.PixelPaddingRangeLimit = high
    pixels, file = through_a_file(tags, False)
    shown = (stored < low) | (stored > high)
    assert np.allclose(pixels, reference(file, shown) if shown.any() else 0, atol=2e-4)


@pytest.mark.parametrize("pad", [65535, -32768])
@pytest.mark.parametrize("more", [{}, {"WindowCenter": "20000", "WindowWidth": "60000"}, {"RescaleSlope": "2"}])
def test_extreme_padding_leaves_the_tissue_as_it_is_without_padding(pad: int, more: dict[str, str]) -> None:
    whole = film(1).astype(np.int16 if pad < 0 else np.uint16) // 2
    padded = whole.copy()
    padded[:, -9:] = pad
    expected = to_unit_range(whole[:, :-9], dicom(whole, **more))
    found = to_unit_range(padded, dicom(padded, PixelPaddingValue=pad, **more))
    assert np.array_equal(found[:, :-9], expected) and not found[:, -9:].any()
    assert not to_unit_range(np.full_like(whole, pad), dicom(padded, PixelPaddingValue=pad, **more)).any()


def test_padding_that_bits_stored_cannot_hold_is_told_and_its_lower_bits_are_black(tmp_path: Path) -> None:
    pixels = (film(1) >> 4).astype(np.uint16)
    pixels[:, -9:] = 0xF830
    path = save(dicom(pixels, BitsStored=12, HighBit=11, PixelPaddingValue=0xF830), tmp_path / "a.dcm")
    shown = read_dicom(path)
    assert not shown[:, -9:].any() and shown[48, 20] > 0.2
    assert [finding.code for finding in check_dicom_display([path])] == ["padding-misfit"]


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted", "told"),
    [
        ("MONOCHROME2", "IDENTITY", False, False),
        ("MONOCHROME1", "INVERSE", True, False),
        ("MONOCHROME2", "INVERSE", True, True),
        ("MONOCHROME1", "IDENTITY", True, True),
        ("MONOCHROME1", "", True, False),
        ("MONOCHROME2", "", False, False),
    ],
)
def test_either_attribute_inverts_and_a_contradiction_is_a_finding(
    photometric: str, shape: str, inverted: bool, told: bool, tmp_path: Path
) -> None:
    plain_film = read_dicom(save(dicom(film(1)), tmp_path / "plain.dcm"))
    tags = dicom(film(1), PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    path = save(tags, tmp_path / "a.dcm")
    assert np.allclose(read_dicom(path), 1 - plain_film if inverted else plain_film, atol=1e-6)
    findings = check_dicom_display([path])
    assert [(finding.code, finding.severity) for finding in findings] == [("lut-shape", "warning")] * told


@given(entries=st.lists(st.integers(0, 255), min_size=1, max_size=300), first=st.integers(-20, 20))
def test_packed_entries_are_those_of_the_same_table_in_words(entries: list[int], first: int) -> None:
    values = np.arange(-40, 400)
    packed = look_up(values, lut(entries, first, 8, packed=True), little_endian=True)
    assert np.array_equal(packed[0], look_up(values, lut(entries, first, 8), little_endian=True)[0])
    assert np.array_equal(packed[0], np.array(entries)[np.clip(values - first, 0, len(entries) - 1)])


def test_a_short_table_serves_the_values_that_it_holds_and_refuses_the_others() -> None:
    table = lut(list(range(100)), 0, 8, words=False)
    table.LUTDescriptor = [256, 0, 8]
    assert np.array_equal(look_up(np.arange(100), table, little_endian=True)[0], np.arange(100))
    with pytest.raises(ValueError, match="says 256 entries, but holds 100"):
        look_up(np.arange(101), table, little_endian=True)


def test_a_long_table_ends_where_its_descriptor_says_and_too_large_entries_are_refused() -> None:
    table = lut(list(range(100)), 0, 8)
    table.LUTDescriptor = [10, 0, 8]
    assert look_up(np.array([99]), table, little_endian=True)[0][0] == 9
    with pytest.raises(ValueError, match="do not fit"):
        look_up(np.array([0]), lut([4095, 1], 0, 8), little_endian=True)


def unwrapped(path: Path, kind: str, syntax: Any) -> Path:
    """Rewrites the file as older modalities do: the data set alone, group 2 alone, or group 2 without a syntax."""
    raw = path.read_bytes()
    end = 144 + int.from_bytes(raw[140:144], "little")
    if kind == "no syntax":
        file = pydicom.dcmread(path)
        del file.file_meta.TransferSyntaxUID
        little = syntax != ExplicitVRBigEndian
        file.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=little)
    else:
        path.write_bytes(raw[end:] if kind == "data set alone" else raw[132:])
    return path


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("kind", ["data set alone", "no preamble", "no syntax"])
def test_files_without_their_wrapping_are_read_checked_and_cleaned_alike(
    kind: str, syntax: Any, tmp_path: Path
) -> None:
    pixels = film(3)
    stored = pixels.astype(">u2") if syntax == ExplicitVRBigEndian else pixels
    tags = dicom(pixels, PatientID="P7", PatientName="Roe^Jane", WindowCenter="20000", WindowWidth="50000")
    tags.PixelData, tags.file_meta.TransferSyntaxUID = stored.tobytes(), syntax
    tags["PixelData"].VR = "OW"
    whole = save(tags, tmp_path / "whole.dcm")
    expected = read_dicom(whole)
    assert check_dicom_display([whole]) == [] and not lacks_wrapping(whole)
    (tmp_path / "in").mkdir()
    path = unwrapped(whole.rename(tmp_path / "in" / "a"), kind, syntax)
    assert np.array_equal(read_image(path), expected)
    assert (read_header(path).patient, file_bits(path)) == ("P7", 16)
    assert read_headers(path.parent, [path.name])[path.name].patient == "P7"
    assert list(scan(path.parent)[0]) == ["a"]
    assert [finding.code for finding in check_dicom_display([path])] == ["dicom-unwrapped"]
    assert "dicom-PatientName" in {finding.code for finding in check_dicom_tags([path])}
    assert deidentify_folder(path.parent, tmp_path / "out", b"k") == {"cleaned": 1, WRAPPED: 1}
    (copy,) = (tmp_path / "out").rglob("*.dcm")
    assert not lacks_wrapping(copy) and np.array_equal(read_image(copy), expected)
    assert b"Roe" not in copy.read_bytes()


def test_compressed_pixels_without_a_syntax_are_refused_with_what_to_do(tmp_path: Path) -> None:
    tags = dicom(film(3))
    tags.compress(pydicom.uid.RLELossless)
    path = unwrapped(save(tags, tmp_path / "a.dcm"), "no preamble", None)
    assert np.array_equal(read_dicom(path), to_unit_range(film(3), dicom(film(3))))
    path = unwrapped(save(tags, tmp_path / "b.dcm"), "data set alone", None)
    with pytest.raises(DataError, match="names no transfer syntax; save it anew"):
        read_dicom(path)


@given(st.binary(max_size=200))
def test_other_files_are_not_taken_for_dicom(body: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        for head in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0", b"MM\0*", b"P5 4 4 255\n", b"BM", b"GIF89a"):
            path.write_bytes(head + body)
            assert not is_dicom(path)
