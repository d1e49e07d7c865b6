"""What doctor says of the budget that is left, and of what runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import yaml

from client.checks import doctor
from client.checks.finding import Finding
from client.site.site_file import SiteHome
from common.privacy.accounting import epsilon_of
from common.privacy.ledger import Ledger
from common.privacy.plan import PrivacyPlan
from common.services.environment import flower_environment
from common.services.supervisor import only_one
from tests.client.conftest import STUDY

PATIENTS = tuple(f"p{number}" for number in range(100))


def findings(home: SiteHome, check: str) -> list[Finding]:
    return [finding for finding in doctor.examine(home) if finding.check == check]


def allow(home: SiteHome, ceiling: float) -> None:
    """Lets the site spend so much on a cohort of a hundred."""
    policy = home.path / "policy.yaml"
    policy.write_text(yaml.safe_dump(yaml.safe_load(policy.read_text()) | {"ceiling": ceiling}))
    home.site_file.write_text(yaml.safe_dump(yaml.safe_load(home.site_file.read_text()) | {"declared_patients": 100}))


def pay(home: SiteHome, rounds: int) -> PrivacyPlan:
    plan = PrivacyPlan.for_site(STUDY.privacy, STUDY.training, len(PATIENTS))
    with Ledger(home.path / "ledger.sqlite") as ledger:
        cohort = ledger.register_cohort(PATIENTS)
        for index in range(rounds):
            ledger.charge(
                cohort=cohort, event=plan.event(), delta=plan.delta, ceiling=100.0, accountant=plan.accountant,
                study="another", run="r", round_index=index,
            )  # fmt: skip
    return plan


@pytest.mark.parametrize(("ceiling", "status"), [(STUDY.privacy.epsilon, "ok"), (STUDY.privacy.epsilon / 2, "warn")])
def test_a_fresh_ledger_pays_what_the_ceiling_allows(joined: SiteHome, ceiling: float, status: str) -> None:
    allow(joined, ceiling)
    (found,) = findings(joined, "budget")
    assert found.status == status and f"epsilon 0.000 of {ceiling:g} is spent" in found.found


def test_what_other_studies_spent_is_counted(joined: SiteHome) -> None:
    allow(joined, STUDY.privacy.epsilon)
    plan = pay(joined, rounds=3)
    (found,) = findings(joined, "budget")
    spent = epsilon_of([plan.event()] * 3, plan.delta, plan.accountant)
    assert found.status == "warn" and f"epsilon {spent:.3f} of" in found.found and "refused" in found.found


@pytest.mark.parametrize(("device", "status"), [("auto", "ok"), ("cpu", "ok"), ("cuda:77", "fail")])
def test_where_networks_run_is_said(joined: SiteHome, device: str, status: str) -> None:
    joined.site_file.write_text(yaml.safe_dump(yaml.safe_load(joined.site_file.read_text()) | {"device": device}))
    (found,) = findings(joined, "device")
    assert found.status == status and device in found.found


def test_a_study_without_privacy_on_these_patients_is_a_warning(joined: SiteHome) -> None:
    allow(joined, STUDY.privacy.epsilon)
    with Ledger(joined.path / "ledger.sqlite") as ledger:
        ledger.charge_unbounded(cohort=ledger.register_cohort(PATIENTS), study="open", run="r")
    (found,) = findings(joined, "budget")
    assert found.status == "warn" and "unbounded" in found.found and "after_unbounded" in (found.fix or "")


@pytest.fixture
def child(joined: SiteHome, request: pytest.FixtureRequest) -> Iterator[None]:
    """A process that the daemon says it has started, with the environment that it gives, or without one variable."""
    around = flower_environment(joined.path) | {"HOME": os.environ.get("HOME", "/")}
    around.pop(request.param, None)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=around) as process:
        body = {"status": "running", "processes": {"worker": {"pid": process.pid}, "supernode": {"pid": None}}}
        joined.state_file.write_text(json.dumps(body))
        with only_one(joined.path / "site.lock"):
            yield
        process.kill()


@pytest.mark.parametrize(
    ("child", "status"),
    [("", "ok"), ("FLWR_TELEMETRY_ENABLED", "fail"), ("HF_HUB_OFFLINE", "fail")],
    indirect=["child"],
)
@pytest.mark.usefixtures("child")
def test_a_process_that_could_call_home_is_named(joined: SiteHome, status: str) -> None:
    (found,) = findings(joined, "telemetry")
    assert found.status == status and "worker" in found.found


def test_of_a_site_that_does_not_run_nothing_is_said_of_telemetry(joined: SiteHome) -> None:
    assert findings(joined, "telemetry") == []
