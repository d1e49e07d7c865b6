"""A watcher sees the figures of ``oncofed-site status`` and of the ledger, and nothing of a patient."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from client.node.metrics import site_page
from client.node.overview import overview
from client.site import egress
from client.site.pause import pause
from client.site.site_file import SiteHome
from common.errors import SiteCode
from common.privacy.accounting import Event, epsilon_of
from common.privacy.ledger import Ledger
from common.protocol.messages import Refusal, pack_answer
from common.services.supervisor import only_one

EVENT = Event(noise_multiplier=2.0, sampling_rate=0.1, steps=5)


def values(home: SiteHome, now: datetime | None = None) -> dict[tuple[str, str], float | None]:
    page = site_page(home, now)
    return {(metric.name, key): value for metric in page.metrics for key, value in metric.values.items()}


def charge(home: SiteHome, round_index: int) -> None:
    with Ledger(home.path / "ledger.sqlite") as ledger:
        cohort = ledger.register_cohort(["p1", "p2"])
        ledger.charge(cohort=cohort, event=EVENT, delta=1e-5, ceiling=10.0, accountant="prv", study="s", run="r",
                      round_index=round_index)  # fmt: skip


def refuse(home: SiteHome, code: SiteCode) -> None:
    content = pack_answer(Refusal(site="north", code=code))
    egress.append(home.egress, purpose="train", run="r", round_index=4, content=content, refusal=code)


def test_a_new_site_has_spent_nothing_and_sent_nothing(joined: SiteHome) -> None:
    found = values(joined)
    assert found["oncofed_site_epsilon_spent", ""] == 0.0 and found["oncofed_site_epsilon_ceiling", ""] == 10.0
    assert found["oncofed_site_answers_total", ""] == 0.0
    assert found["oncofed_site_seconds_since_last_answer", ""] is None
    assert not list(joined.path.glob("ledger*")), "asking makes no ledger"


def test_what_was_charged_and_refused_is_what_is_shown(joined: SiteHome) -> None:
    for rounds in (1, 2):
        charge(joined, rounds)
        spent = values(joined)["oncofed_site_epsilon_spent", ""]
        assert spent == pytest.approx(epsilon_of([EVENT] * rounds, 1e-5, "prv")), "also after it was asked before"
    for code in (SiteCode.BUDGET_REFUSED, SiteCode.UNAVAILABLE, SiteCode.UNAVAILABLE):
        refuse(joined, code)
    sent = datetime.fromisoformat(json.loads(joined.egress.read_text().splitlines()[-1])["time"])
    found = values(joined, sent + timedelta(seconds=90))
    assert found["oncofed_site_refusals_total", "unavailable"] == 2.0
    assert found["oncofed_site_refusals_total", "budget-refused"] == 1.0
    assert found["oncofed_site_round", ""] == 4.0
    assert found["oncofed_site_seconds_since_last_answer", ""] == 90.0


def test_a_ledger_that_cannot_be_read_is_not_shown_as_unspent(joined: SiteHome) -> None:
    charge(joined, 1)
    (joined.path / "ledger.sqlite.head").unlink()
    found = values(joined)
    assert found["oncofed_site_epsilon_spent", ""] is None and found["oncofed_site_budget_readable", ""] == 0.0
    assert overview(joined)["budget"]["problem"] == "LedgerError"


@pytest.mark.parametrize(
    ("written", "held", "healthy"),
    [("running", True, True), ("paused", True, True), ("reconnecting", True, False), ("running", False, False)],
)
def test_health_is_what_the_daemon_does(joined: SiteHome, written: str, held: bool, healthy: bool) -> None:
    state: dict[str, Any] = {"schema_version": 1, "status": written, "processes": {}}
    joined.state_file.write_text(json.dumps(state))
    if held:
        with only_one(joined.path / "site.lock"):
            assert site_page(joined).healthy is healthy
    else:
        assert site_page(joined).healthy is healthy and site_page(joined).facts["status"] == "dead"


def test_no_path_is_in_the_page(joined: SiteHome) -> None:
    pause(joined)
    charge(joined, 1)
    page = site_page(joined, datetime.now(UTC))
    shown = json.dumps(page.facts) + "".join(metric.text() for metric in page.metrics)
    assert str(joined.path) not in shown and "p1" not in shown


def test_after_a_study_without_privacy_the_epsilon_is_infinite(joined: SiteHome) -> None:
    charge(joined, 1)
    with Ledger(joined.path / "ledger.sqlite") as ledger:
        ledger.charge_unbounded(cohort=ledger.register_cohort(["p1", "p2"]), study="open", run="r")
    assert values(joined)["oncofed_site_epsilon_spent", ""] == math.inf
    assert overview(joined)["budget"]["epsilon"] == "unbounded"
