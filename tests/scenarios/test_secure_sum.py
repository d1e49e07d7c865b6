"""Whole federations whose sites share their noise in secure sums: they complete, lose sites, and say what they paid."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from flwr.app import RecordDict

from common.errors import SiteCode
from common.privacy.statement import verify_statement
from common.protocol.messages import BODY, MaskedAnswer, Refusal, Request
from server.run import rounds
from server.run.exchange import ask
from tests.scenarios.conftest import Federation

SUMMED = (
    "privacy.mode=distributed training.local_steps=1 training.batch_patients=100 partition.sites=4 data.patients=160 "
    "evaluation.local_baseline=false simulation.ceiling=100"
)
NAMES = ["site_1", "site_2", "site_3", "site_4"]


def _crash(answer: object) -> Exception:
    return RuntimeError("down")


def statement(federation: Federation, site: str) -> dict[str, Any]:
    return federation.read(f"privacy/{site}.json")


def test_a_study_with_shared_noise_completes_and_says_what_holds_against_whom(federation: Federation) -> None:
    run = federation.run(SUMMED)
    assert run["status"] == "COMPLETED" and [row["attempts"] for row in federation.rounds()] == [1, 1]
    assert run["secure_sum"]["void"] == [] and "sum of all updates only" in run["secure_sum"]["not_known"][0]
    assert all(row["norms"] == {} and row["clipped"] == {} for row in federation.rounds())
    for site in NAMES:
        said = statement(federation, site)
        assert (said["secure_sum"]["sites"], said["secure_sum"]["honest"]) == (4, 3)
        assert said["epsilon"] <= 8 < said["secure_sum"]["alone"]["epsilon"]
        verify_statement(said)
        page = (federation.folder / "privacy" / f"{site}.html").read_text()
        assert "holds against the hub with 1 of them" in page
    report = (federation.folder / "report.html").read_text()
    assert "the hub sees the sum of all updates only" in report


def test_the_sum_moves_the_model_like_the_mean_of_local_updates(federation: Federation) -> None:
    """With next to no noise both ways are one step of gradient descent from the same weights on all patients."""
    quiet = "privacy.epsilon=2000 simulation.ceiling=100000 training.rounds=1"
    federation.run(f"{SUMMED} {quiet}")
    (summed,) = federation.rounds()
    other = Federation(federation.folder.parent / "local")
    other.run(f"{SUMMED} {quiet} privacy.mode=local")
    (local,) = other.rounds()
    assert summed["update_norm"] == pytest.approx(local["update_norm"], rel=0.05)


def test_a_site_that_drops_out_voids_the_attempt_and_stays_out(federation: Federation) -> None:
    federation.mutations["site_2", 1] = _crash
    run = federation.run(SUMMED)
    assert run["status"] == "PARTIAL" and "site_2 (training-failed)" in run["reason"]
    left = ["site_1", "site_3", "site_4"]
    assert [row["joined"] for row in federation.rounds()] == [left, left]
    assert [row["attempts"] for row in federation.rounds()] == [2, 1]
    assert run["secure_sum"]["void"] == [
        {"round": 1, "attempt": 1, "sites": 4, "dropped": {"site_2": "training-failed"}}
    ]
    said = statement(federation, "site_1")
    assert [row["share"]["attempt"] for row in said["events"]] == [1, 2, 1]
    assert [row["share"]["roster"] for row in said["events"]] == [4, 3, 3]
    assert said["secure_sum"]["void_attempts"] == 1
    verify_statement(said)


def test_the_last_site_that_can_be_missed_is_not_missed_twice(federation: Federation) -> None:
    """Of four sites three can share noise against one; two cannot."""
    federation.mutations["site_2", 1] = _crash
    federation.mutations["site_3", 2] = _crash
    run = federation.run(SUMMED)
    assert run["status"] == "FAILED" and "Round 2 has no sum" in run["reason"] and "needs at least 3" in run["reason"]
    assert run["rounds_done"] == 1 and federation.error is not None and federation.error.exit_code == 8


def _other_words(answer: MaskedAnswer) -> MaskedAnswer:
    return dataclasses.replace(answer, masked=answer.masked[:-1])


def _other_attempt(answer: MaskedAnswer) -> MaskedAnswer:
    return dataclasses.replace(answer, attempt=answer.attempt + 1)


def _other_weight(answer: MaskedAnswer) -> MaskedAnswer:
    return dataclasses.replace(answer, weight=answer.weight + 1)


def _other_site(answer: MaskedAnswer) -> MaskedAnswer:
    return dataclasses.replace(answer, site="site_1")


@pytest.mark.parametrize("change", [_other_words, _other_attempt, _other_weight, _other_site])
def test_a_part_that_is_not_what_was_asked_for_is_left_out_and_named(
    change: Callable[[MaskedAnswer], MaskedAnswer], federation: Federation
) -> None:
    federation.mutations["site_2", 1] = change
    run = federation.run(f"{SUMMED} training.rounds=1")
    assert run["status"] == "PARTIAL" and "site_2 (bad-update)" in run["reason"]
    assert federation.rounds()[0]["joined"] == ["site_1", "site_3", "site_4"]


def test_garbage_moves_the_model_no_further_than_an_honest_sum_could(federation: Federation) -> None:
    def garbage(answer: MaskedAnswer) -> MaskedAnswer:
        return dataclasses.replace(answer, masked=answer.masked + np.uint64(2**61))

    federation.mutations["site_2", 1] = garbage
    federation.run(f"{SUMMED} training.rounds=1")
    (row,) = federation.rounds()
    assert row["sum_scaled_to"] is not None
    assert row["update_norm"] == pytest.approx(row["sum_scaled_to"], rel=1e-3)


def test_a_void_attempt_that_the_ceilings_do_not_allow_ends_the_run(federation: Federation) -> None:
    federation.mutations["site_2", 2] = _crash
    run = federation.run(f"{SUMMED} simulation.ceiling=8")
    assert run["status"] == "FAILED" and "site_1 (budget-refused)" in run["reason"] and run["rounds_done"] == 1


def test_three_sites_are_the_fewest_and_two_are_told_so(federation: Federation) -> None:
    run = federation.run(f"{SUMMED} partition.sites=2")
    assert run["status"] == "FAILED" and "needs at least 3 sites, got 2" in run["reason"]


def _silent(monkeypatch: pytest.MonkeyPatch, silent: Callable[[Request | None, int, int], bool]) -> list[int]:
    """Lets sites answer, and the hub not hear them; returns how often training was asked for."""
    asked = [0]

    def changed(grid: object, requests: Mapping[int, object], kind: str, timeout: float, away: object) -> object:
        asked[0] += kind == "train"
        for number, (node, answer) in enumerate(ask(grid, requests, kind, timeout)):  # type: ignore[arg-type]
            lost = kind == "train" and silent(None, asked[0], number)
            yield node, Refusal(site="", code=SiteCode.UNAVAILABLE) if lost else answer

    monkeypatch.setattr(rounds, "ask", changed)
    return asked


def test_a_hub_that_heard_nobody_asks_the_same_again_and_nobody_pays_twice(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _silent(monkeypatch, lambda _, asked, number: asked == 1)
    run = federation.run(f"{SUMMED} training.rounds=1")
    assert run["status"] == "COMPLETED" and asked == [2]
    assert len(statement(federation, "site_1")["events"]) == 1


def test_a_hub_that_lost_one_answer_pays_for_a_smaller_sum(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _silent(monkeypatch, lambda _, asked, number: (asked, number) == (1, 0))
    run = federation.run(f"{SUMMED} training.rounds=1")
    assert run["status"] == "PARTIAL" and asked == [2]
    assert len(statement(federation, "site_1")["events"]) == 1, "it answered the void attempt"
    assert len(statement(federation, "site_2")["events"]) == 2


def test_a_rehearsal_sums_too_and_charges_nothing(federation: Federation) -> None:
    run = federation.run(SUMMED, rehearsal=True)
    assert run["status"] == "COMPLETED" and run["rehearsal"] is True


def test_a_run_that_goes_on_after_a_crash_sums_on(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the hub's power is cut")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.run.federation.checkpoint.save", broken)
        with pytest.raises(RuntimeError):
            federation.run(SUMMED)
    run = federation.run(SUMMED, resume=True)
    assert run["status"] == "COMPLETED"
    said = statement(federation, "site_1")
    assert len(said["events"]) == 2, "round 1 was asked again and answered by what was kept"


def test_a_key_of_low_order_keeps_its_own_site_out_and_nobody_else(federation: Federation) -> None:
    """Before: the others refused to sum with it, so the run ended and named them."""

    def low_order(request: Request, site: str, content: RecordDict) -> None:
        if request.purpose == "enrol" and site == "site_2":
            answer = json.loads(str(content[BODY]["answer"]))
            answer["announcement"]["key"] = "00" * 32
            content[BODY]["answer"] = json.dumps(answer)

    federation.tamper = low_order
    run = federation.run(f"{SUMMED} training.rounds=1")
    assert run["status"] == "PARTIAL" and run["reason"] == "lost: site_2 (bad-answer)"
    assert federation.rounds()[0]["joined"] == ["site_1", "site_3", "site_4"]
