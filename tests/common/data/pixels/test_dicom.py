"""DICOM: pixels as pydicom's own LUT functions give them, views from any tag, refusals with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset, Sequence, dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels.processing import apply_voi, apply_windowing
from pydicom.sr.codedict import codes

from common.config.study import DataConfig
from common.data.loading import to_tensors
from common.data.manifest import read_manifest
from common.data.pixels.breast import crop_and_turn
from common.data.pixels.dicom import VIEWS, read_dicom, read_header, scan
from common.data.pixels.dicom_values import to_unit_range, window
from common.data.pixels.images import read_image
from common.errors import DataError
from tests.common.data.layouts import dicom, film, save, table

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def sample(name: str) -> Path:
    """Returns a file that pydicom ships."""
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str)
    return Path(found)


@pytest.mark.parametrize("name", ["RLE", "jp2klossless", "jpeg_ls_lossless", "expb", "implicit", "bigendian"])
def test_every_lossless_syntax_gives_the_same_picture(name: str) -> None:
    plain = read_dicom(sample("MR_small.dcm"))
    assert plain.dtype == np.float32 and plain.min() >= 0 and plain.max() == 1
    assert np.array_equal(read_dicom(sample(f"MR_small_{name}.dcm")), plain)


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm"),
        ("SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle.dcm"),
        ("SC_rgb_gdcm_KY.dcm", "SC_rgb_rle.dcm"),
        ("SC_rgb_jls_lossy_line.dcm", "SC_rgb_rle.dcm"),
        ("SC_ybr_full_422_uncompressed.dcm", "SC_rgb_rle.dcm"),
    ],
)
def test_lossy_syntaxes_and_colour_come_close_to_the_plain_picture(name: str, like: str) -> None:
    pixels, expected = read_dicom(sample(name)), read_dicom(sample(like))
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).mean() < 0.02
    assert np.corrcoef(pixels.ravel(), expected.ravel())[0, 1] > 0.97


def test_twelve_bit_jpeg_and_jpeg_2000_of_one_picture_agree() -> None:
    twelve, wavelet = read_dicom(sample("JPGExtended.dcm")), read_dicom(sample("JPEG2000.dcm"))
    assert np.corrcoef(twelve.ravel(), wavelet.ravel())[0, 1] > 0.95


@given(
    centre=st.floats(-500, 5000),
    width=st.floats(2, 6000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_windows_are_those_of_pydicom(centre: float, width: float, function: str) -> None:
    tags = Dataset()
    tags.WindowCenter, tags.WindowWidth, tags.VOILUTFunction = str(round(centre, 3)), str(round(width, 3)), function
    tags.PhotometricInterpretation = "MONOCHROME2"
    tags.BitsStored, tags.PixelRepresentation = 12, 0
    with np.errstate(over="ignore"):
        expected = apply_windowing(RAMP, tags) / 4095
    assert np.allclose(
        window(RAMP.astype(np.float32), round(centre, 3), round(width, 3), function), expected, atol=5e-4
    )
    assert np.allclose(to_unit_range(RAMP, tags), expected, atol=5e-4)


def test_a_voi_table_is_applied_as_pydicom_does() -> None:
    lut = Dataset()
    lut.LUTDescriptor = [3000, 500, 10]
    lut.LUTData = list(np.linspace(1023, 0, 3000).astype(int))
    tags = dicom(RAMP, VOILUTSequence=Sequence([lut]), BitsStored=12, WindowCenter="1", WindowWidth="2")
    assert np.allclose(to_unit_range(RAMP, tags), apply_voi(RAMP, tags) / 1023, atol=1e-6)


def test_rescale_comes_before_the_window_and_inversion_last() -> None:
    tags = dicom(RAMP, RescaleSlope="2", RescaleIntercept="-100", WindowCenter="1000", WindowWidth="500")
    expected = np.clip((RAMP * 2.0 - 100 - 999.5) / 499 + 0.5, 0, 1)
    assert np.allclose(to_unit_range(RAMP, tags), expected, atol=1e-5)
    tags.PhotometricInterpretation = "MONOCHROME1"
    assert np.allclose(to_unit_range(RAMP, tags), 1 - expected, atol=1e-5)


def test_without_a_window_the_image_s_own_range_counts_and_padding_is_black() -> None:
    values = (RAMP // 4 + 100).astype(np.uint16)
    assert np.allclose(to_unit_range(values, dicom(values)), (values - 100) / 1023, atol=1e-6)
    nonsense = dicom(values, WindowCenter="0", WindowWidth="0")
    assert np.allclose(to_unit_range(values, nonsense), (values - 100) / 1023, atol=1e-6)
    padded = dicom(values, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=100, PixelPaddingRangeLimit=102)
    shown = to_unit_range(values, padded)
    assert (shown[values <= 102] == 0).all() and shown[values == 103].min() > 0.99
    assert not to_unit_range(np.full((4, 4), 7, dtype=np.uint16), dicom(values)).any()


@pytest.mark.parametrize(
    ("tags", "side", "view"),
    [
        ({"ImageLaterality": "R", "ViewPosition": "MLO"}, "right", "MLO"),
        ({"Laterality": "L", "PatientOrientation": "CC"}, "left", "CC"),
        ({"SeriesDescription": "R MLO"}, "right", "MLO"),
        ({"PatientOrientation": ["A", "R"], "ImageLaterality": "L", "SeriesDescription": "L CC Routine"}, "left", "CC"),
        ({"PatientID": "Mass-Test_P_00173_LEFT_CC"}, "left", ""),
        ({"SeriesDescription": "Mammography"}, "", ""),
        ({}, "", ""),
    ],
)
def test_side_and_view_come_from_whichever_tag_has_them(
    tags: dict[str, object], side: str, view: str, tmp_path: Path
) -> None:
    header = read_header(save(dicom(film(0), **tags), tmp_path / "a.dcm"))
    assert (header.side, header.view) == (side, view)


def test_view_codes_are_those_of_the_standard(tmp_path: Path) -> None:
    found = set()
    for name in codes.cid4014.dir():
        code = Dataset()
        code.CodeValue = getattr(codes.cid4014, name).value
        image = dicom(film(0), ViewCodeSequence=Sequence([code]), PatientOrientation=["P", "F"])
        found.add(read_header(save(image, tmp_path / "a.dcm")).view)
    assert found == VIEWS | {""}


def test_a_header_tells_intent_scanner_and_size(tmp_path: Path) -> None:
    image = dicom(film(0), PresentationIntentType="FOR PROCESSING", Manufacturer="Acme", ManufacturerModelName="One")
    header = read_header(save(image, tmp_path / "a.dcm"))
    assert (header.intent, header.scanner, header.modality) == ("processing", "Acme One", "MG")
    assert (header.rows, header.columns, header.patient) == (96, 72, "P1")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SC_rgb_rle_2frame.dcm", "holds 2 frames"),
        ("rtdose_rle.dcm", "holds 15 frames"),
        ("reportsi.dcm", "holds no image"),
        ("image_dfl.dcm", "is deflated"),
        ("JPEG-lossy.dcm", "cannot be decoded"),
        ("MR_truncated.dcm", "no DICOM file we can read"),
    ],
)
def test_files_that_are_no_single_whole_image_are_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as refusal:
        read_dicom(sample(name))
    assert name in str(refusal.value)


def test_absurd_sizes_are_refused_before_they_are_believed(tmp_path: Path) -> None:
    huge = save(dicom(film(0), Rows=65535, Columns=65535), tmp_path / "huge.dcm")
    for read in (read_dicom, read_header):
        with pytest.raises(DataError, match="65535 x 65535 pixels"):
            read(huge)
    with pytest.raises(DataError, match="is no DICOM"):
        read_dicom(save(dicom(film(0), Rows=9000, Columns=9000), tmp_path / "short.dcm"))


def test_a_folder_is_scanned_whole_and_what_is_unfit_is_set_aside(tmp_path: Path) -> None:
    save(dicom(film(0), PatientID="A"), tmp_path / "1" / "x")
    save(dicom(film(1), PatientID="B", NumberOfFrames=40), tmp_path / "2" / "y.dcm")
    (tmp_path / "notes.txt").write_text("not DICOM")
    found, refused = scan(tmp_path)
    assert {key: header.patient for key, header in found.items()} == {"1/x": "A"}
    assert list(refused) == ["2/y.dcm"] and "40 frames" in refused["2/y.dcm"]


def test_a_manifest_may_list_dicom_files(tmp_path: Path) -> None:
    for number in range(2):
        image = dicom(film(number, side=("left", "right")[number]), PatientID=str(number))
        save(image, tmp_path / f"{number}.dcm")
    table(tmp_path / "manifest.csv", [("image", "patient", "label"), ("0.dcm", "a", 1), ("1.dcm", "b", 0)])
    dataset = read_manifest(tmp_path / "manifest.csv")
    tensors = to_tensors(dataset, DataConfig(name="manifest", image_size=32, breast_crop=True))
    shown = tensors.inputs[:, 0]
    assert (shown[:, :, :16].mean(dim=(1, 2)) > shown[:, :, 16:].mean(dim=(1, 2))).all()


def blocks(pixels: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    height, width = (length // side * side for length in pixels.shape)
    whole = pixels[:height, :width].reshape(height // side, side, width // side, side)
    means: NDArray[np.float32] = whole.mean(axis=(1, 3), dtype=np.float32)
    return means


def test_the_real_original_and_its_reduced_copy_agree(real_data: Path) -> None:
    original = next((real_data / "cbis-ddsm").rglob("*.dcm"))
    reduced = next((real_data / "cbis-ddsm-quarter").rglob("*LEFT_CC*/**/*.dcm"))
    assert dcmread(original, stop_before_pixels=True).file_meta.TransferSyntaxUID.name == "RLE Lossless"
    whole, small = read_dicom(original), read_dicom(reduced)
    assert whole.shape == (4432, 2864)
    means = blocks(whole, 4)
    assert np.corrcoef(means.ravel(), small[: len(means)].ravel())[0, 1] > 0.9999
    assert read_header(original).view == read_header(reduced).view == "CC"


def test_real_views_lie_alike_after_cropping(real_data: Path) -> None:
    paths = sorted((real_data / "cbis-ddsm-quarter").rglob("*.dcm"))
    assert len(paths) == 4
    for path in paths:
        pixels = read_image(path)
        part = crop_and_turn(pixels)
        assert part.size < 0.75 * pixels.size
        third = part.shape[1] // 3
        assert part[:, :third].mean() > 2 * part[:, -third:].mean(), path.name
        # No tissue is lost: what is bright and not the burned-in label is still there.
        assert part.sum() > 0.8 * pixels.sum()
