"""The table of docs/results.md: equal effort, the best local model as comparator, cells that are kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from simulations.analysis.markdown import inserted
from simulations.analysis.results import measure
from simulations.analysis.results.measure import Cell, measured
from simulations.analysis.results.page import BEGIN, END, MARKS, page
from simulations.analysis.results.plan import STUDIES, Study
from tests.scenarios.conftest import QUICK

TINY = Study(
    name="tiny", title="Tiny", data="phantom", root="", overrides=tuple(QUICK.split()), rates=(0.05, 0.1),
    own_rates=(1e-3, 3e-3), seeds=(17,),
)  # fmt: skip


def cell(study: str, seed: int, federated: float, local: float) -> Cell:
    areas = {"federated": federated, "local": local, "personalised": local}
    return Cell(study, seed, areas, 1.0, 0.1, 3.0, "digest")


def test_both_sides_get_as_many_candidates() -> None:
    assert all(len(study.rates) == len(study.own_rates) for study in STUDIES)
    with pytest.raises(ValueError, match="same number"):
        dataclasses.replace(TINY, own_rates=(1e-3,))


def test_the_best_local_model_of_the_same_data_is_the_comparator() -> None:
    weak, strong = TINY, dataclasses.replace(TINY, name="strong", title="Strong")
    cells = {
        "tiny": [cell("tiny", seed, 0.70 + seed / 100, 0.60) for seed in range(3)],
        "strong": [cell("strong", seed, 0.90, 0.80 + seed / 100) for seed in range(3)],
    }
    text = page([weak, strong], cells, "command")
    (row,) = [line for line in text.splitlines() if line.startswith("| Tiny |")]
    assert "0.710 +- 0.010" in row and "-0.100 (-0.100 to -0.100)" in row and "0.600" in row


def test_hospitals_that_took_no_part_have_a_table_of_their_own() -> None:
    cells = [
        dataclasses.replace(cell("tiny", seed, 0.7, 0.6), outside={"north": (0.8, 0.7 + seed / 100)})
        for seed in range(3)
    ]
    text = page([TINY], {"tiny": cells}, "command")
    (row,) = [line for line in text.splitlines() if "| north |" in line]
    assert "0.800 +- 0.000" in row and "0.710 +- 0.010" in row and "+0.090 (" in row


def test_the_generated_part_takes_the_place_of_the_old_one() -> None:
    part = page([TINY], {"tiny": [cell("tiny", 17, 0.7, 0.6)]}, "command")
    text = inserted(f"before\n{BEGIN}\nold\n{END}\nafter", part, MARKS)
    assert text.startswith("before\n") and text.endswith("\nafter") and "\nold\n" not in text and "+0.100" in text
    assert inserted(text, part, MARKS) == text
    with pytest.raises(ValueError, match="results: begin"):
        inserted("no place", part, MARKS)


def test_a_cell_is_measured_once_and_anew_when_the_code_or_the_study_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measured(TINY, 17, tmp_path, tmp_path / "out")
    assert first.rate in TINY.rates and first.own_rate in TINY.own_rates
    assert all(0 <= area <= 1 for area in first.areas.values()) and first.epsilon is not None
    monkeypatch.setattr(measure, "_measure", lambda *arguments: pytest.fail("measured again"))
    assert measured(TINY, 17, tmp_path, tmp_path / "out") == first
    monkeypatch.setattr(measure, "_measure", lambda study, seed, *rest: cell("tiny", seed, 0.5, 0.5))
    assert measured(dataclasses.replace(TINY, title="Other"), 17, tmp_path, tmp_path / "out") != first
    monkeypatch.setattr(measure, "measured_code", lambda: "other code")
    assert measured(TINY, 17, tmp_path, tmp_path / "out") != first
    monkeypatch.setattr(measure, "measured_code", lambda: "newer code")
    monkeypatch.setattr(measure, "_measure", lambda *arguments: pytest.fail("measured again"))
    assert measured(TINY, 17, tmp_path, tmp_path / "out", keep=True).areas["federated"] == 0.5
