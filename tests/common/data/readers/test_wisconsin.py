"""What ``data.root`` names is what is read: the Wisconsin tables as they are published and copied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config.study import DataConfig
from common.data.formats import open_dataset
from common.data.manifest import Dataset
from common.data.readers.wisconsin import WDBC_FEATURES
from common.errors import ConfigError, DataError
from simulations.data.sources import open_any

KINDS = ("mean", "se", "worst")
NAMED = [f"{feature.replace(' ', '_')}_{kind}" for kind in KINDS for feature in WDBC_FEATURES]
SCORES = ("Clump_thickness", "Uniformity_of_cell_size", "Uniformity_of_cell_shape", "Marginal_adhesion",
          "Single_epithelial_cell_size", "Bare_nuclei", "Bland_chromatin", "Normal_nucleoli", "Mitoses")  # fmt: skip


def opened(name: str, path: Path) -> Dataset:
    return open_dataset(DataConfig(name=name, root=str(path), image_size=0))


def write(path: Path, lines: list[list[str]], sep: str = ",") -> Path:
    path.write_text("\n".join(sep.join(line) for line in lines) + "\n")
    return path


def wdbc_lines(count: int, seed: int = 0) -> tuple[list[list[str]], np.ndarray]:
    values = np.round(np.random.default_rng(seed).uniform(0.01, 0.05, (count, 30)), 4)
    lines = [[f"{n:05d}", "MB"[n % 2], *map(str, row)] for n, row in enumerate(values)]
    return lines, values


@given(st.permutations(range(30)), st.booleans(), st.sampled_from([",", ";"]), st.integers(0, 9))
def test_columns_are_told_by_name_in_any_order_with_an_empty_last_one(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], empty: bool, sep: str, seed: int
) -> None:
    lines, values = wdbc_lines(7, seed)
    end = [""] if empty else []
    shuffled = [["id", "diagnosis", *(NAMED[at] for at in order), *end]]
    shuffled += [[*line[:2], *(line[2 + at] for at in order), *end] for line in lines]
    if sep == ";":
        shuffled = [[cell.replace(".", ",") for cell in line] for line in shuffled]
    dataset = opened("wdbc", write(tmp_path_factory.mktemp("t") / "data.csv", shuffled, sep))
    plain = opened("wdbc", write(tmp_path_factory.mktemp("t") / "wdbc.data", [[*line, *end] for line in lines]))
    for got in (dataset, plain):
        assert [(r.patient, r.label) for r in got.records] == [(f"{n:05d}", 1 - n % 2) for n in range(7)]
    rows = np.stack([dataset.read(r.image) for r in dataset.records])
    np.testing.assert_array_equal(rows, np.stack([plain.read(r.image) for r in plain.records]))
    assert rows.shape == (7, 30) and rows[0, 0] == np.float32(np.float32(values[0, 0]) / np.float32(30))


@pytest.mark.parametrize("change", [
    lambda lines: [line[:-1] for line in lines],
    lambda lines: [["id", "diagnosis", *NAMED[:-1], "other"], *lines],
    lambda lines: [[*line[:2], "x", *line[3:]] for line in lines],
    lambda lines: [[line[0], "?", *line[2:]] for line in lines],
    lambda lines: [[line[0], str(n % 2), *line[2:]] for n, line in enumerate(lines)],
    lambda lines: [],
])  # fmt: skip
def test_another_table_is_refused(tmp_path: Path, change: object) -> None:
    lines = change(wdbc_lines(4)[0])  # type: ignore[operator]
    with pytest.raises(DataError):
        opened("wdbc", write(tmp_path / "data.csv", lines))


def test_rows_of_one_patient_and_of_both_classes_are_said(tmp_path: Path) -> None:
    lines, _ = wdbc_lines(8)
    lines[1][0] = lines[0][0]  # both classes
    lines[4][0] = lines[2][0]
    dataset = opened("wdbc", write(tmp_path / "data.csv", [["id", "diagnosis", *NAMED], *lines]))
    assert len(dataset.records) == 6 and len(dataset.patients()) == 5
    assert any("1 patients (2 rows)" in note for note in dataset.notes)


def test_a_folder_must_hold_one_file_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 0 of"):
        opened("wdbc", tmp_path)
    with pytest.raises(DataError, match="nothing at"):
        opened("wdbc", tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="reads no file"):
        open_any(DataConfig(name="phantom", root=str(tmp_path)), 0)


@pytest.mark.parametrize("form", ["plain", "trailing", "header", "words"])
def test_wbc_is_read_in_the_forms_of_public_archives(tmp_path: Path, form: str) -> None:
    body = [
        ["1000025", *map(str, range(1, 10)), "2"],
        ["1002945", "5", "?", *"1234567", "4"],
        ["1000025", *"111111111", "2"],
    ]
    lines = [[*line, ""] for line in body] if form in ("trailing", "header") else body
    if form == "words":
        lines = [[*line[:-1], {"2": "benign", "4": "malignant"}[line[-1]]] for line in body]
    if form in ("header", "words"):
        lines = [["Sample_code_number", *SCORES, "Class", *([""] if form == "header" else [])], *lines]
    dataset = opened("wbc", write(tmp_path / "breast-cancer-wisconsin.data", lines))
    assert [(r.patient, r.label) for r in dataset.records] == [("1000025", 0), ("1002945", 1), ("1000025", 0)]
    np.testing.assert_allclose(dataset.read("0000"), np.arange(1, 10) / 10, rtol=1e-6)
    assert dataset.read("0001")[1] == np.float32(0.1) and any(
        "1 rows have an unknown" in note for note in dataset.notes
    )
