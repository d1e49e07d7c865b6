"""Public layouts read the same through links to folders, and with what a Mac leaves beside files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from common.config.study import DataConfig
from common.data.formats import open_dataset
from common.data.pixels.dicom import scan
from tests.common.data import layouts
from tests.common.data.layouts_screening import bus_uc, embed, embed_file, finding, rsna, rsna_row

WOMEN = range(6)
LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "cbis_ddsm": lambda root: layouts.cbis(root, 6),
    "inbreast": layouts.inbreast,
    "idc": layouts.idc,
    "vindr_mammo": layouts.vindr,
    "rsna": lambda root: rsna(root, [rsna_row(str(100 + n), str(n), "L", n % 2, 1) for n in WOMEN]),
    "embed": lambda root: embed(
        root,
        [finding(str(100 + n), str(n), "L", "S", str(n % 2 * 4), "L") for n in WOMEN],
        [embed_file(str(100 + n), str(n), "L", str(n)) for n in WOMEN],
    ),
    "bus_uc": lambda root: bus_uc(root, 3, 3) / "BUS_UC",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_links_are_followed_and_leftovers_are_not_read(tmp_path: Path, name: str) -> None:
    root = LAYOUTS[name](tmp_path / "archive")
    plain = open_dataset(DataConfig(name=name, root=str(root)))
    linked = tmp_path / "linked"
    linked.mkdir()
    for entry in root.iterdir():
        os.symlink(entry, linked / entry.name)
    for record in plain.records:
        image = root / record.image
        (image.parent / f"._{image.name}").write_bytes(b"\0\5\x16\7")
    again = open_dataset(DataConfig(name=name, root=str(linked)))
    assert again.records == plain.records and again.notes == plain.notes


def test_a_scan_of_headers_follows_links_too(tmp_path: Path) -> None:
    layouts.save(layouts.dicom(layouts.film(1)), tmp_path / "archive" / "1.dcm")
    (tmp_path / "study").mkdir()
    os.symlink("../archive", tmp_path / "study" / "in")
    assert list(scan(tmp_path / "study")[0]) == ["in/1.dcm"]
