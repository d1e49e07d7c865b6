"""What a hub says of noised quarters: false alarms as promised, changes seen as promised, and what a report counts."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chi2_contingency

from common.errors import DataError, TrustError
from common.monitoring.hub_report import BINS, HubReport, counted, days_of, read_report
from common.monitoring.quarters import FALSE_ALARMS, LEVEL, POWER, Cells, compared, rows, stability
from common.monitoring.reference import one_a_patient
from common.trust.signing import SiteKey
from simulations.analysis.drift.exams import BEFORE
from tests.client.simulated import at, simulated_records

SHARES = np.array([0.22, 0.18, 0.12, 0.1, 0.08, 0.07, 0.07, 0.06, 0.05, 0.05])
RNG = np.random.default_rng


def reported(scores: Any, above: int, abstained: int, deviation: int, quarter: str, rng: Any = None) -> HubReport:
    """The report of these exact counts, with noise where there is a generator."""
    exact = np.array([*scores, above, int(sum(scores)) - above, abstained])
    noised = exact if rng is None else exact + np.rint(rng.normal(0, deviation, exact.size)).astype(int)
    found = [int(count) for count in noised]
    return HubReport(
        site="north", package="a" * 64, quarter=quarter, scores=tuple(found[:BINS]), above=found[10], below=found[11],
        abstained=found[12], deviation=deviation, delta=1e-5, seeded=True,
    )  # fmt: skip


def drawn(rng: Any, quarter: str, patients: int, deviation: int) -> HubReport:
    abstained = rng.binomial(patients, 0.06)
    scores = rng.multinomial(patients - abstained, SHARES)
    return reported(scores, int(scores[3:].sum()), abstained, deviation, quarter, rng)


@pytest.mark.parametrize(("patients", "deviation"), [(150, 2), (500, 8), (1000, 20)])
def test_without_a_change_it_drifts_as_rarely_as_it_says_and_psi_is_as_by_chance(patients: int, deviation: int) -> None:
    rng, times = RNG(patients), 300
    found = [
        rows([drawn(rng, "2026Q1", patients, deviation), drawn(rng, "2026Q2", patients, deviation)])[1]
        for _ in range(times)
    ]
    tested = [row for row in found if row.tests]
    assert len(tested) > 0.9 * times
    assert sum(row.drifts for row in tested) <= binom.isf(1e-4, times, FALSE_ALARMS)
    seen, chance = (np.median([getattr(row, name) for row in tested]) for name in ("psi", "psi_by_chance"))
    assert 0.7 < seen / chance < 1.4


def test_a_change_as_small_as_it_says_is_seen_as_often_as_it_says() -> None:
    rng, patients, deviation, times = RNG(1), 600, 6, 300

    def cells(above: float) -> Cells:
        exact = np.array([round(above * patients), patients - round(above * patients)])
        drawn_now = rng.multinomial(patients, exact / patients) + np.rint(rng.normal(0, deviation, 2))
        return Cells(drawn_now.astype(float), np.full(2, float(deviation) ** 2))

    smallest = compared(cells(0.45), cells(0.45), "above").smallest
    seen = sum(compared(cells(0.45), cells(0.45 + smallest), "above").drifts for _ in range(times))
    assert binom.ppf(1e-4, times, POWER - 0.05) <= seen <= binom.isf(1e-4, times, POWER + 0.05)


@settings(max_examples=50)
@given(counts=st.lists(st.integers(20_000, 90_000), min_size=4, max_size=4))
def test_where_noise_is_small_beside_the_patients_it_is_pearsons_test(counts: list[int]) -> None:
    first, now = (Cells(np.array(pair, float), np.full(2, 1e-9)) for pair in (counts[:2], counts[2:]))
    pearson = chi2_contingency([counts[:2], counts[2:]], correction=False)
    assert compared(first, now, "above").p == pytest.approx(pearson.pvalue, rel=1e-6, abs=1e-300)


def test_equal_quarters_have_no_psi_and_few_patients_are_not_judged() -> None:
    same = Cells(100 * SHARES, np.ones(BINS))
    assert stability(same, same)[0] == pytest.approx(0.0)
    first, few = (reported([10] * BINS, 50, 5, deviation, q) for deviation, q in ((2, "2026Q1"), (20, "2026Q2")))
    row = rows([first, few])[1]
    assert (row.tests, row.above, row.psi, row.drifts) == ((), None, None, False) and "too few" in row.note


def test_each_site_and_package_is_compared_with_its_own_first_quarter() -> None:
    low, high = reported([60] * BINS, 100, 10, 2, "2026Q1"), reported([60] * BINS, 500, 10, 2, "2026Q2")
    other = dataclasses.replace(high, package="b" * 64)
    south = dataclasses.replace(high, site="south")
    found = {(row.site, row.package[0], row.quarter): row for row in rows([south, other, high, low])}
    assert found["north", "a", "2026Q2"].drifts and found["north", "a", "2026Q2"].tests[0].p < LEVEL
    assert not found["north", "b", "2026Q2"].tests and not found["south", "a", "2026Q2"].tests


@given(day=st.dates(date(2000, 1, 1), date(2098, 12, 31)))
def test_each_day_is_in_one_quarter(day: date) -> None:
    quarters = [f"{year}Q{n}" for year in (day.year - 1, day.year, day.year + 1) if year >= 2000 for n in (1, 2, 3, 4)]
    mine = [quarter for quarter in quarters if days_of(quarter)[0] <= day < days_of(quarter)[1]]
    assert mine == [f"{day.year}Q{(day.month + 2) // 3}"]
    assert days_of(mine[0])[1] - days_of(mine[0])[0] <= timedelta(days=92)


RECORDS, _ = simulated_records(BEFORE, 40, at("2026-01-05"), "a" * 64, 3)


@given(number=st.integers(1, 40), exams=st.integers(1, 5), chance=st.randoms(use_true_random=False))
def test_a_patient_moves_one_number_of_each_count_by_one_however_many_exams_she_has(
    number: int, exams: int, chance: Any
) -> None:
    others = RECORDS[:number]
    more = [
        dataclasses.replace(one, patient="new", exam=f"new-{index}")
        for index, one in enumerate(chance.sample(RECORDS, exams))
    ]
    before, after = counted(one_a_patient(others)), counted(one_a_patient([*others, *more]))
    moved = {name: np.abs(after[name] - before[name]) for name in before}
    assert moved["sides"].sum() == 1 and moved["scores"].sum() <= 1
    assert int(after["sides"].sum()) == number + 1


@given(data=st.data())
def test_what_was_changed_on_the_way_is_no_report_or_not_the_sites(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    key = SiteKey.open(tmp_path_factory.getbasetemp() / "some.key")
    report = reported([10] * BINS, 50, 5, 2, "2026Q1").signed(key.sign)
    text = report.text().encode()
    place = data.draw(st.integers(0, len(text) - 1))
    changed = text[:place] + data.draw(st.binary(max_size=2)) + text[place + data.draw(st.integers(0, 2)) :]
    path: Path = tmp_path_factory.getbasetemp() / "changed.json"
    path.write_bytes(changed)
    try:
        found = read_report(path)
        found.check(key.public_hex)
    except (DataError, TrustError):
        return
    assert found == report
