"""Ten thousand damaged files and a few hostile ones: pixels or a DataError that names the file, nothing else.

``python -m tests.fuzz`` does the same with more mutations.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from common.config.study import DataConfig
from common.data.formats import open_dataset
from common.data.pixels.images import read_image
from common.errors import DataError
from tests.common.data.layouts import pcam
from tests.fuzz import Tally, Target, run, targets

MUTATIONS = 10_000
NAMES = (
    "PNG", "PGM", "TIFF", "DICOM", "DICOM, native decoders", "manifest", "CBIS-DDSM", "mini-MIAS", "INbreast",
    "VinDr-Mammo", "RSNA", "EMBED", "BACH", "BUS-BRA", "WBC", "BreastMNIST", "PatchCamelyon",
)  # fmt: skip


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return {target.name: target for target in targets(tmp_path_factory.mktemp("whole"))}


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_read_or_refused_by_name(name: str, known: dict[str, Target]) -> None:
    tally = Tally()
    run(known[name], int(MUTATIONS * known[name].share), 0, tally)
    assert 0 < tally.refused <= tally.mutations


def test_that_is_ten_thousand_over_all_formats(known: dict[str, Target]) -> None:
    assert tuple(known) == NAMES
    assert sum(int(MUTATIONS * target.share) for target in known.values()) >= 10_000


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_small_png_that_unpacks_to_gigabytes_is_refused_by_what_it_says(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    zeros = zlib.compress(bytes(1 << 20))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zeros) + chunk(b"IEND", b""))
    with pytest.raises(DataError, match=r"bomb\.png .*3600000000 pixels"):
        read_image(path)
    (tmp_path / "bomb.pgm").write_bytes(b"P5 4000000000 4000000000 255\n" + bytes(100))
    with pytest.raises(DataError, match=r"bomb\.pgm"):
        read_image(tmp_path / "bomb.pgm")


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "breastmnist.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_images.npy", bytes(1 << 20))
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 0xF0000000)
    path.write_bytes(data)
    with pytest.raises(DataError, match="unpacks to 4026531840 bytes"):
        open_dataset(DataConfig(name="breastmnist", root=str(path)))


def test_an_hdf5_file_of_absurd_size_is_refused(tmp_path: Path) -> None:
    pcam(tmp_path, (4, 3, 3))
    path = tmp_path / "camelyonpatch_level_2_split_valid_x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", shape=(10**9, 96, 96, 3), chunks=(1, 96, 96, 3), dtype=np.uint8)
    with pytest.raises(DataError, match=r"valid_x\.h5 holds \(1000000000, 96, 96, 3\)"):
        open_dataset(DataConfig(name="pcam", root=str(tmp_path)))
    with h5py.File(tmp_path / "camelyonpatch_level_2_split_train_x.h5", "w") as file:
        file["x"] = np.zeros((4, 96, 96, 3), dtype=np.float64)
    with pytest.raises(DataError, match=r"train_x\.h5"):
        dataset = open_dataset(DataConfig(name="pcam", root=str(pcam(tmp_path / "other", (4, 3, 3)))))
        (tmp_path / "camelyonpatch_level_2_split_train_x.h5").rename(
            tmp_path / "other" / "camelyonpatch_level_2_split_train_x.h5"
        )
        dataset.read("train/000000")
