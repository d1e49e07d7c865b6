"""Damages files of every format we read; a reader must answer with pixels, or with a DataError that names the file.

    python -m tests.fuzz --mutations 100000 --seed 1

prints a line a format: mutations, refused, slowest. The first file that does otherwise is kept and named.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import random
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.data import get_testdata_file

from common.config.study import DataConfig
from common.data.formats import open_dataset
from common.data.pixels.images import read_image
from common.errors import DataError
from tests.common.data import layouts
from tests.common.data.layouts_screening import embed, embed_file, finding, rsna, rsna_row

Reader = Callable[[Path], object]
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
TEXTS = (
    b"",
    b"0",
    b"-1",
    b"1e999",
    b"99999999999",
    b'"',
    b",",
    b";",
    b"\n",
    b"\0",
    b"../x",
    b"NaN",
    b"\xff\xfe",
    b"A" * 200_000,
)
NATIVE = (
    "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_gdcm.dcm", "JPEGLSNearLossless_16.dcm", "JPEG2000.dcm", "JPGExtended.dcm",
    "MR_small_jp2klossless.dcm",
)  # fmt: skip

RSNA_ROWS = [rsna_row("10006", "1", "L", 0, 0), rsna_row("10011", "2", "R", 1, 1), rsna_row("10025", "3", "L", 0, 1)]
EMBED_ROWS = (
    [finding("1", "10", "L", "S", "0", "L"), finding("2", "20", "R", "S", "4", "R"), finding("3", "30", "B", "N")],
    [embed_file("1", "10", "L", "a"), embed_file("2", "20", "R", "b"), embed_file("3", "30", "L", "c")],
)


@dataclasses.dataclass(frozen=True)
class Target:
    """A format: whole files to damage by their path below a folder, and how the folder or file is read.

    Args:
        name: Of the format.
        share: Of all mutations.
        folder: Where the whole files are; the damaged file is put back after each try.
        files: Those to damage.
        read: Given the damaged file.
        text: Whether words are swapped too.
    """

    name: str
    share: float
    folder: Path
    files: tuple[Path, ...]
    read: Reader
    text: bool = False


@dataclasses.dataclass
class Tally:
    """What came of a target's mutations."""

    mutations: int = 0
    refused: int = 0
    slowest: float = 0.0


def mutated(data: bytes, rng: random.Random, *, text: bool) -> bytes:
    """Returns the bytes truncated, overwritten, shuffled or, for text, with cells that nobody expects."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        _hurt(out, rng, text=text)
    if out[:4] == b"\x89PNG" and rng.random() < 0.7:
        return _with_checksums(bytes(out))
    return bytes(out)


def _hurt(out: bytearray, rng: random.Random, *, text: bool) -> None:
    # Headers steer the readers, so half of the damage lies at the beginning.
    at = rng.randrange(len(out) + 1 if rng.random() < 0.5 else min(len(out), 700) + 1)
    kind = rng.randrange(7 if text else 6)
    if kind == 0:
        del out[at:]
    elif kind == 1 and at < len(out):
        out[at] ^= 1 << rng.randrange(8)
    elif kind == 2:
        size = rng.choice((1, 2, 4))
        number = rng.choice(INTERESTING) & ((1 << 8 * size) - 1)
        out[at : at + size] = number.to_bytes(size, rng.choice(("big", "little")))  # type: ignore[arg-type]
    elif kind == 3:
        out[at:at] = rng.randbytes(rng.choice((1, 4, 64)))
    elif kind == 4:
        del out[at : at + rng.choice((1, 2, 8, 100))]
    elif kind == 5:
        start = rng.randrange(len(out) + 1)
        out[at:at] = out[start : start + rng.choice((4, 40, 400))]
    else:
        out[at : at + rng.choice((0, 1, 5))] = rng.choice(TEXTS)


def _with_checksums(data: bytes) -> bytes:
    """Returns the PNG with the checksums its chunks should have, so that damage reaches the decoder."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + length]
        out += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(out) + data[at:]


def run(target: Target, mutations: int, seed: int, tally: Tally) -> None:
    """Damages the target's files ``mutations`` times.

    Raises:
        AssertionError: A reader raised something else, or a DataError that names neither file nor set.
    """
    rng = random.Random(f"{target.name} {seed}")
    whole = {path: path.read_bytes() for path in target.files}
    for _ in range(mutations):
        path = rng.choice(target.files)
        _put(path, mutated(whole[path], rng, text=target.text))
        started = time.monotonic()
        tally.mutations += 1
        try:
            target.read(path)
        except DataError as error:
            tally.refused += 1
            assert any(word in str(error) for word in (path.name, path.stem, target.name)), f"{path}: {error}"
        except Exception as error:
            raise AssertionError(f"{path} of {target.name} led to {error!r}") from error
        tally.slowest = max(tally.slowest, time.monotonic() - started)
        _put(path, whole[path])


def _put(path: Path, data: bytes) -> None:
    """Overwrites in place: ext4 waits for the disk after a file was cut to nothing."""
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def targets(folder: Path) -> Iterator[Target]:
    """Writes whole files of each format below the folder and yields what to do with them."""
    yield Target("PNG", 0.22, folder, tuple(_pictures(folder / "png", "png")), _image)
    yield Target("PGM", 0.2, folder, tuple(_pictures(folder / "pgm", "pgm")), _image)
    yield Target("TIFF", 0.05, folder, tuple(_pictures(folder / "tiff", "tif")), _image)
    yield Target("DICOM", 0.2, folder, tuple(_dicoms(folder / "dicom")), _image)
    yield Target("DICOM, native decoders", 0.02, folder, tuple(_samples(folder / "native", NATIVE)), _image)
    yield from _tables(folder)
    yield _published("breastmnist", _npz(folder / "npz"), 0.04, "*.npz", "BreastMNIST")
    yield _published("pcam", layouts.pcam(folder / "h5", (4, 3, 3)), 0.015, "*.h5", "PatchCamelyon")


def _tables(folder: Path) -> Iterator[Target]:
    yield _published("manifest", _manifest(folder / "manifest"), 0.08, "manifest.csv", "manifest", text=True)
    yield _published("cbis_ddsm", layouts.cbis(folder / "cbis", 4), 0.05, "*.csv", "CBIS-DDSM", text=True)
    yield _published("mias", _small_mias(folder / "mias"), 0.05, "Info.txt", "mini-MIAS", text=True)
    yield _published("inbreast", layouts.inbreast(folder / "inbreast"), 0.05, "*.csv", "INbreast", text=True)
    yield _published("vindr_mammo", layouts.vindr(folder / "vindr"), 0.05, "*.csv", "VinDr-Mammo", text=True)
    yield _published("rsna", rsna(folder / "rsna", RSNA_ROWS), 0.05, "*.csv", "RSNA", text=True)
    yield _published("embed", embed(folder / "embed", *EMBED_ROWS), 0.05, "tables/*.csv", "EMBED", text=True)
    yield _published("bach", layouts.bach(folder / "bach"), 0.05, "Photos/*.csv", "BACH", text=True)
    yield _published("bus_bra", _bus_bra(folder / "busbra"), 0.05, "*.csv", "BUS-BRA", text=True)
    yield _published("wbc", _wbc(folder / "wbc"), 0.05, "*.data", "WBC", text=True)


def _image(path: Path) -> object:
    pixels = read_image(path)
    assert pixels.dtype == np.float32 and pixels.ndim in (2, 3)
    assert np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1, (pixels.min(), pixels.max())
    return pixels


def _published(name: str, root: Path, share: float, glob: str, spoken: str, *, text: bool = False) -> Target:
    def read(path: Path) -> object:
        data = DataConfig(name=name, root=str(root), include_normal=True)
        dataset = open_dataset(data)
        return None if text else [dataset.read(record.image) for record in dataset.records[:3]]

    return Target(spoken, share, root, tuple(sorted(root.glob(glob))), read, text)


def _pictures(folder: Path, suffix: str) -> Iterator[Path]:
    grey = np.random.default_rng(0).integers(0, 256, (12, 17), dtype=np.uint8)
    modes = {"L": grey, "1": grey > 99, "I;16": grey.astype(np.uint16) * 200}
    if suffix != "pgm":
        modes |= {"RGB": np.repeat(grey[..., None], 3, axis=2), "LA": np.repeat(grey[..., None], 2, axis=2)}
    folder.mkdir(parents=True, exist_ok=True)
    for number, values in enumerate(modes.values()):
        if suffix == "pgm" and values.dtype == np.bool_:
            (folder / "ascii.pgm").write_text("P2\n# a word\n3 2\n255\n0 1 2\n3 4 255\n")
            yield folder / "ascii.pgm"
            continue
        path = folder / f"{number}.{suffix}"
        Image.fromarray(values).save(path)
        yield path


def _dicoms(folder: Path) -> Iterator[Path]:
    inverse = {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 3}
    yield layouts.save(layouts.dicom(layouts.film(0, shape=(16, 12))), folder / "plain.dcm")
    windowed = layouts.dicom(layouts.film(1, shape=(16, 12)), WindowCenter="20000", WindowWidth="9000", **inverse)
    windowed.RescaleSlope, windowed.RescaleIntercept, windowed.VOILUTFunction = "1", "-5", "SIGMOID"
    windowed.Laterality, windowed.SeriesDescription, windowed.NumberOfFrames = "L", "L CC", 1
    yield layouts.save(windowed, folder / "windowed.dcm")
    yield from _samples(folder, ("MR_small_RLE.dcm", "SC_rgb_small_odd.dcm", "MR_small_implicit.dcm"))


def _samples(folder: Path, names: tuple[str, ...]) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(Path(str(get_testdata_file(name, download=False))).read_bytes())
        yield folder / name


def _npz(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}  # type: ignore[type-arg]
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
        arrays[f"{split}_labels"] = np.array([[0], [1], [1], [0]], dtype=np.uint8)
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
    (folder / "breastmnist.npz").write_bytes(packed.getvalue())
    return folder


def _manifest(folder: Path) -> Path:
    rows: list[list[object]] = [["image", "patient", "label", "site", "mask", "split", "age"]]
    for number in range(4):
        layouts.picture(folder / f"{number}.png", number, (4, 4))
        rows.append([f"{number}.png", f"p{number}", ("malignant", "benign")[number % 2], "north", "", "", 50 + number])
    layouts.table(folder / "manifest.csv", rows)
    return folder


def _small_mias(folder: Path) -> Path:
    for number in range(1, 11):
        layouts.picture(folder / f"mdb{number:03d}.pgm", number, (4, 4))
    (folder / "Info.txt").write_text(layouts.MIAS_INFO)
    return folder


def _bus_bra(folder: Path) -> Path:
    rows: list[list[object]] = [["ID", "Case", "Histology", "Pathology", "BIRADS", "Device", "Side"]]
    for number in range(1, 5):
        rows.append([f"bus_{number:04d}-l", number, "x", ("benign", "malignant")[number % 2], 4, "GE Logiq 7", "left"])
        layouts.picture(folder / "Images" / f"bus_{number:04d}-l.png", number, (4, 4))
    layouts.table(folder / "bus_data.csv", rows)
    return folder


def _wbc(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["1000025,5,1,1,1,2,1,3,1,1,2", "1002945,5,4,4,5,7,10,3,2,1,4", "1015425,3,1,1,1,2,?,3,1,1,2"]
    (folder / "breast-cancer-wisconsin.data").write_text("\n".join(lines) + "\n")
    return folder


def main(arguments: list[str] | None = None) -> int:
    """Runs all targets and prints a line each; returns 0, or 1 at the first file that broke a reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a format's name")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="oncofed-fuzz-"))
    for target in targets(folder):
        if options.only and options.only != target.name:
            continue
        tally, count = Tally(), max(1, int(options.mutations * target.share))
        try:
            run(target, count, options.seed, tally)
        except AssertionError as error:
            print(f"{target.name:24} mutation {tally.mutations}: {error}", file=sys.stderr)
            return 1
        print(
            f"{target.name:24} {tally.mutations:7} mutations {tally.refused:7} refused  {tally.slowest:6.2f} s slowest"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
