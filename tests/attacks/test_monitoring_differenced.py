"""Who has a site's files from before and after one patient: nothing on one quarter, a bounded guess on neighbours."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

import client.site.monitor.hub_report as module
from common.errors import BudgetExceeded
from common.inference.record import InferenceRecord
from common.monitoring.hub_report import counted
from common.monitoring.reference import one_a_patient
from common.privacy.ledger import Ledger
from common.privacy.monitoring_account import Report, accounts
from common.privacy.randomness import Randomness
from server.hub.home import HubHome
from simulations.analysis.drift.exams import BEFORE
from tests.monitored import PACKAGE, Pair, in_quarter, keep, make_hub, make_pair

QUARTER, TIMES = "2026Q1", 1500
PATIENTS = in_quarter(60, QUARTER, 1, BEFORE)


def drawn(patients: list[InferenceRecord], deviation: int, draw: int) -> Any:
    site: Any = SimpleNamespace(name="north", randomness=lambda purpose, index: Randomness.from_seed(draw, purpose))
    charged = Report(quarter=QUARTER, package=PACKAGE, deviation=deviation, delta=1e-5, ceiling=8.0)
    report = module._drawn(site, patients, charged)
    return np.array([*report.scores, report.above, report.below, report.abstained])


def advantage(deviation: int) -> float:
    """True less false positives of the best guess of whether the last patient is in, who knows all the others."""
    here, gone = (
        np.concatenate([counted(one_a_patient(some))[name] for name in ("scores", "sides")])
        for some in (PATIENTS, PATIENTS[:-1])
    )
    middle, way = (here + gone) / 2, here - gone
    guesses = [
        float(((drawn(some, deviation, 2 * draw + side) - middle) @ way) > 0)
        for side, some in enumerate((PATIENTS, PATIENTS[:-1]))
        for draw in range(TIMES)
    ]
    return float(np.mean(guesses[:TIMES]) - np.mean(guesses[TIMES:]))


@pytest.mark.parametrize("deviation", [2, 8])
def test_the_best_guess_is_no_better_than_the_mechanism_allows(deviation: int) -> None:
    """Two counts with a step of one each: total variation of Gaussians that lie sqrt(2) / deviation apart."""
    allowed = 2 * norm.cdf(math.sqrt(2) / (2 * deviation)) - 1
    assert abs(advantage(deviation) - allowed) < 4.5 * math.sqrt(0.5 / TIMES)


def test_the_guess_is_certain_where_the_noise_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.privacy.discrete.discrete_gaussian", lambda count, *_: np.zeros(count, np.int64))
    assert advantage(2) == 1.0


@pytest.fixture
def north(tmp_path: Path) -> Pair:
    hub: HubHome = make_hub(tmp_path / "hub")
    return make_pair(hub, "north", tmp_path / "north")


def test_a_patient_who_comes_between_two_questions_moves_nothing(north: Pair) -> None:
    keep(north.site, PATIENTS[:-1])
    before = north.report(QUARTER).read_bytes()
    keep(north.site, PATIENTS[-1:])
    assert north.report(QUARTER, name="after").read_bytes() == before
    assert north.report(QUARTER, "--noise", "1", name="other").read_bytes() == before


def test_it_is_charged_before_it_is_drawn_and_a_crash_between_ends_the_quarter(
    north: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(north.site, PATIENTS)
    ledger = north.site.path / "ledger.sqlite"
    seen: list[Any] = []

    def dying(*_: Any) -> Any:
        with Ledger(ledger) as found:
            seen.extend(accounts(found.rows()))
        raise KeyboardInterrupt

    words = ("monitor", "report", "--quarter", QUARTER, "--out", str(north.site.path / "out.json"))
    with monkeypatch.context() as patch:
        patch.setattr("common.privacy.discrete.discrete_gaussian", dying)
        assert north.at_site(*words).exit_code != 0
    assert [year["reports"] for year in seen] == [1]
    again = north.at_site(*words)
    assert again.exit_code == BudgetExceeded.exit_code and not (north.site.path / "out.json").exists()


def test_nothing_of_a_case_is_in_the_file(north: Pair) -> None:
    keep(north.site, PATIENTS)
    text = north.report(QUARTER).read_text()
    names = {value for one in PATIENTS for value in (one.patient, one.exam, one.record, one.made.isoformat())}
    assert not [name for name in names if name in text]
