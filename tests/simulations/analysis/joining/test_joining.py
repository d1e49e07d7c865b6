"""Consortia tried on rows of features: dealt apart, trained by the product's sums, and told by the nearest row."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from client.site.forecast import forecast
from client.site.joining import Measured, joining, joining_text, measured, nearest
from common.config.study import StudyConfig, compose
from common.data.loading import PatientTensors
from common.training.recipes import network_scorer
from simulations.analysis.joining.consortium import divide, federated, gains, homes
from simulations.analysis.joining.embedding import Embedded
from simulations.analysis.joining.grid import Source, asked
from simulations.analysis.joining.grid import measured as cells_of
from simulations.analysis.joining.page import MARKS, tables
from simulations.analysis.markdown import inserted

AXES = 12


@pytest.fixture(scope="module")
def study() -> StudyConfig:
    return compose(["experiment=statistics", "privacy.epsilon=8", "model.weights=null"])


@pytest.fixture(scope="module")
def patients() -> Embedded:
    """Three hundred patients, a third malignant, whose first axes carry the label; the checkpoint knows half of it."""
    drawn = np.random.default_rng(0)
    spread = np.linspace(1.0, 0.3, AXES)
    labels = np.arange(300) % 3 == 0
    rows = drawn.normal(size=(300, AXES)) * spread + 0.5 * labels[:, None] * (np.arange(AXES) < 4)
    names = tuple(f"p{index}" for index in range(300))
    data = PatientTensors(torch.tensor(rows).float(), torch.tensor(labels).float(), torch.arange(300), names)
    public = dict(zip(names, (rows[:, 0] + drawn.normal(size=300)).tolist(), strict=True))
    return Embedded(data, torch.tensor(spread**2), public)


@settings(max_examples=20, deadline=None)
@given(sites=st.integers(1, 6), size=st.integers(8, 40), seed=st.integers(0, 99))
def test_nobody_is_in_two_hospitals_or_in_a_hospital_and_the_test(
    patients: Embedded, sites: int, size: int, seed: int
) -> None:
    division = divide(patients, sites, size, 60, seed)
    parts = [set(part.patients) for part in (*division.hospitals, division.test)]
    assert all(not one & other for one, other in combinations(parts, 2)) and len(set().union(*parts)) == 300
    assert all(part.num_patients == size for part in division.hospitals)
    assert all(2 <= part.patient_labels().sum() <= size - 2 for part in division.hospitals)


def test_a_division_that_leaves_too_few_for_the_test_is_not_made(patients: Embedded) -> None:
    with pytest.raises(ValueError, match="fewer than 210"):
        divide(patients, 10, 10, 210, 0)


def test_the_sum_is_what_one_hospital_with_all_patients_would_have_made(patients: Embedded, study: StudyConfig) -> None:
    plain = dataclasses.replace(study, privacy=dataclasses.replace(study.privacy, epsilon=1e4, mode="distributed"))
    division = divide(patients, 4, 40, 100, 0)
    apart = federated(patients, division, asked(plain, 40, 4, 1e4, "distributed"), 0)
    score = network_scorer(apart)(division.test)
    labels = division.test.patient_labels().numpy()
    assert roc_auc_score(labels, score) > 0.7, "the noise of epsilon ten thousand is nothing"


def test_less_epsilon_and_local_noise_teach_less(patients: Embedded, study: StudyConfig) -> None:
    def area(epsilon: float, mode: str) -> float:
        found = []
        for seed in range(6):
            division = divide(patients, 4, 40, 100, seed)
            model = federated(patients, division, asked(study, 40, 4, epsilon, mode), seed)  # type: ignore[arg-type]
            found.append(roc_auc_score(division.test.patient_labels(), network_scorer(model)(division.test)))
        return float(np.mean(found))

    assert area(8.0, "distributed") > area(0.3, "distributed")
    assert area(3.0, "distributed") > area(3.0, "local")


def test_a_table_has_a_row_for_each_size_that_fits(patients: Embedded, study: StudyConfig) -> None:
    source = Source(name="x", title="X", overrides=(), root="", sizes=(20, 60), sites=(3, 6), least_test=100)
    cells = list(cells_of(source, patients, study, 2, lambda text: None))
    assert {(cell.patients, cell.sites) for cell in cells} == {(20, 3), (20, 6), (60, 3)}
    assert len(cells) == 3 * 6 and all(cell.low <= cell.gain <= cell.high for cell in cells)
    document = {"made_by": "here", "sources": [
        {"name": "x", "title": "X", "checkpoint": "ab" * 32, "cells": [dataclasses.asdict(cell) for cell in cells]}
    ]}  # fmt: skip
    text = tables(document)
    assert text.count("\n| 20 |") == 12 and inserted(f"a {text} b", text, MARKS) == f"a {text} b"
    with pytest.raises(ValueError, match="Expected"):
        inserted("no marks", text, MARKS)


def test_what_a_home_gains_is_both_less_home_on_the_same_patients(patients: Embedded, study: StudyConfig) -> None:
    division = divide(patients, 3, 40, 100, 0)
    wanted = asked(study, 40, 3, 8.0, "distributed")
    made = homes(patients, division, wanted, 0)
    found = list(gains(patients, division, wanted, made, 0))
    assert len(found) == len(made) == 3
    labels = division.test.patient_labels()
    for one, home in zip(found, made, strict=True):
        assert one.home == pytest.approx(roc_auc_score(labels, home.score(division.test)))
        assert one.public == pytest.approx(roc_auc_score(labels, [patients.public[p] for p in division.test.patients]))


class TestForecast:
    def test_the_table_of_this_package_can_be_read_and_holds_shares(self) -> None:
        for source in measured().sources:
            for cell in source.cells:
                shares = (cell.public, cell.home, cell.federated, cell.both, cell.lost)
                assert all(0 <= share <= 1 for share in shares) and cell.low <= cell.high and cell.hospitals > 1

    @settings(max_examples=30, deadline=None)
    @given(patients=st.integers(1, 5000), sites=st.integers(2, 200), epsilon=st.floats(0.1, 50))
    def test_the_nearest_row_is_of_the_nearest_size(self, patients: int, sites: int, epsilon: float) -> None:
        cells: list[Measured] = [cell for cell in measured().sources[0].cells if cell.mode == "local"]
        found = nearest(cells, patients, sites, epsilon)
        exact = nearest(cells, found.patients, found.sites, found.epsilon)
        assert exact == found

    def test_a_forecast_tells_it_for_the_training_that_was_tried_and_says_so_for_others(
        self, study: StudyConfig
    ) -> None:
        rows = joining(study, 40)
        assert rows is not None and len(rows) == len(measured().sources)
        assert all(f"{row['both']:.2f} with both" in joining_text(rows) for row in rows)
        told = forecast(study, 40, None)
        assert told["joining"] == rows and "What joining gave on public data" in told["text"]
        other = compose([])
        assert forecast(other, 40, None)["joining"] is None
        assert "was not measured for this kind of training" in forecast(other, 40, None)["text"]


def test_the_page_of_the_docs_is_of_the_table_that_is_shipped() -> None:
    page = Path(__file__).parents[4] / "docs" / "joining.md"
    document = {"made_by": measured().made_by, "sources": [dataclasses.asdict(one) for one in measured().sources]}
    assert tables(document) in page.read_text(encoding="utf-8")
