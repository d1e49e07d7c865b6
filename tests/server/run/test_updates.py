"""Every way in which an update can be wrong ends in a refusal that names the site."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from common.config.study import StudyConfig, compose
from common.errors import SiteCode
from common.privacy.ledger import Ledger
from common.privacy.plan import PrivacyPlan
from common.privacy.signature import signed
from common.privacy.statement import Account, privacy_statement
from common.protocol.messages import DocumentAnswer, Refusal, TrainAnswer
from server.run.updates import CheckedUpdate, checked_statement, checked_update

ARRAYS = {"w": np.zeros((2, 2), np.float32), "b": np.zeros(2, np.float32)}
GOOD = TrainAnswer(
    site="a", round_index=4, weight=40, epsilon_spent=1.0, arrays={k: v + np.float32(0.1) for k, v in ARRAYS.items()}
)


def _check(answer: object) -> CheckedUpdate | Refusal:
    return checked_update(answer, site="a", round_index=4, weight=40, arrays=ARRAYS, max_norm=10.0)


def test_the_update_that_was_asked_for_is_taken() -> None:
    found = _check(GOOD)
    assert isinstance(found, CheckedUpdate)
    assert found.arrays is GOOD.arrays and found.weight == 40
    assert found.norm == pytest.approx(0.1 * 6**0.5)


def _arrays(**changed: Any) -> dict[str, Any]:
    return {**GOOD.arrays, **changed}


@pytest.mark.parametrize(
    "change",
    [
        {"arrays": {f"_module.{k}": v for k, v in GOOD.arrays.items()}},
        {"arrays": {"w": GOOD.arrays["w"]}},
        {"arrays": _arrays(extra=np.zeros(1, np.float32))},
        {"arrays": _arrays(w=np.zeros((4,), np.float32))},
        {"arrays": _arrays(w=np.full((2, 2), np.nan, np.float32))},
        {"arrays": _arrays(w=np.full((2, 2), np.inf, np.float32))},
        {"arrays": _arrays(w=np.full((2, 2), 100.0, np.float32))},
        {"arrays": _arrays(w=np.full((2, 2), 0.1, np.float16))},
        {"arrays": _arrays(w=np.full((2, 2), 0.1, ">f4"))},
        {"arrays": _arrays(w=np.full((2, 2), "0.1"))},
        {"arrays": _arrays(w=np.full((2, 2), None))},
        {"weight": 4000},
        {"round_index": 3},
        {"site": "b"},
    ],
)
def test_anything_else_is_refused_by_name(change: dict[str, object]) -> None:
    assert _check(dataclasses.replace(GOOD, **change)) == Refusal(site="a", code=SiteCode.BAD_UPDATE)  # type: ignore[arg-type]


def test_another_kind_of_answer_is_refused() -> None:
    assert isinstance(_check(None), Refusal)


STUDIES = {"private": compose(["privacy.accountant=rdp"]), "not private": compose(["privacy=none"])}


@pytest.fixture(scope="module", params=STUDIES)
def study(request: pytest.FixtureRequest) -> StudyConfig:
    return STUDIES[request.param]


@pytest.fixture(scope="module")
def statement(study: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a site that has not been charged yet states of the study."""
    plan = PrivacyPlan.for_site(study.privacy, study.training, 40) if study.privacy.private else None
    facts: dict[str, Any] = {"study_digest": study.digest(), "seeded": True, "synthetic": True, "declared_patients": 40}
    with Ledger(tmp_path_factory.mktemp("site") / "ledger.sqlite") as ledger:
        account = Account.of(ledger, ledger.register_cohort(("p1", "p2")), study.digest(), plan, 8.0)
        return signed(privacy_statement(site="a", plan=plan, account=account, **facts), ledger.sign)


def _state(document: Mapping[str, Any], study: StudyConfig) -> Mapping[str, Any] | Refusal:
    return checked_statement(DocumentAnswer(site="a", document=document), site="a", study=study)


def test_a_statement_of_the_study_is_taken_as_it_came(statement: dict[str, Any], study: StudyConfig) -> None:
    assert _state(statement, study) == statement


def test_a_statement_that_lacks_anything_is_refused_by_name(statement: dict[str, Any], study: StudyConfig) -> None:
    bad = Refusal(site="a", code=SiteCode.BAD_ANSWER)
    assert _state({}, study) == bad
    for name in statement:
        assert _state({key: value for key, value in statement.items() if key != name}, study) == bad, name


@pytest.mark.parametrize(
    ("name", "value"), [("site", "b"), ("study_digest", "0" * 64), ("private", 1), ("private", [])]
)
def test_a_statement_of_something_else_is_refused(
    statement: dict[str, Any], study: StudyConfig, name: str, value: object
) -> None:
    assert isinstance(_state(statement | {name: value}, study), Refusal)
    assert isinstance(_state(statement | {"private": not study.privacy.private}, study), Refusal)


@pytest.mark.parametrize("name", ["epsilon", "delta", "lifetime_epsilon", "ceiling", "remaining"])
@pytest.mark.parametrize("value", [None, "1.0", True, -1.0, float("nan"), [1.0]])
@pytest.mark.parametrize("study", ["private"], indirect=True)
def test_a_private_statement_has_its_figures(
    statement: dict[str, Any], study: StudyConfig, name: str, value: object
) -> None:
    assert isinstance(_state(statement | {name: value}, study), Refusal)


@pytest.mark.parametrize("name", ["lifetime_epsilon", "unbounded_runs", "cohort_changes"])
def test_what_every_statement_counts_is_a_figure(statement: dict[str, Any], study: StudyConfig, name: str) -> None:
    assert isinstance(_state(statement | {name: None}, study), Refusal)
    assert isinstance(_state(statement | {name: "infinite"}, study), Refusal)
    assert _state(statement | {"lifetime_epsilon": "unbounded"}, study)["lifetime_epsilon"] == "unbounded"


@pytest.mark.parametrize("study", ["private"], indirect=True)
def test_a_site_that_refuses_to_state_keeps_its_code(study: StudyConfig) -> None:
    refusal = Refusal(site="", code=SiteCode.POLICY_REFUSED)
    assert checked_statement(refusal, site="a", study=study) == Refusal(site="a", code=SiteCode.POLICY_REFUSED)
    other = DocumentAnswer(site="b", document={})
    assert checked_statement(other, site="a", study=study) == Refusal(site="a", code=SiteCode.BAD_ANSWER)
