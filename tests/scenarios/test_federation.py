"""Whole federations: the run tells the truth about who took part, what was spent and what it found."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from common.errors import FederationError, SiteCode
from common.privacy.accounting import Event, epsilon_of
from common.privacy.ledger import Ledger
from common.protocol.messages import Refusal, TrainAnswer
from server.run import checkpoint, rounds
from server.run.exchange import ask
from tests.scenarios.conftest import Federation


def test_a_private_study_completes_and_leaves_everything(federation: Federation) -> None:
    run = federation.run()
    assert run["status"] == "COMPLETED" and run["rounds_done"] == 2
    assert [site["rounds"] for site in run["sites"]] == [2, 2, 2]
    for name in ("study.yaml", "overrides.yaml", "evaluation.json", "report.html", "model/model.safetensors"):
        assert (federation.folder / name).stat().st_size > 0
    report = (federation.folder / "report.html").read_text()
    assert "Research use only" in report and "ynthetic" in report
    for site in ("site_1", "site_2", "site_3"):
        assert (federation.folder / "privacy" / f"{site}.html").exists()
        assert (federation.folder / "sites" / site / "egress.jsonl").exists()


def test_every_round_counts_towards_the_epsilon_that_is_reported(federation: Federation) -> None:
    federation.run("training.rounds=4 privacy.epsilon=6")
    statement = federation.read("privacy/site_1.json")
    events = [Event(e["noise_multiplier"], e["sampling_rate"], e["steps"]) for e in statement["events"]]
    assert len(events) == 4
    whole = epsilon_of(events, statement["delta"], "rdp")
    assert statement["epsilon"] == pytest.approx(whole, rel=1e-6)
    assert 0.95 * 6 < whole <= 6
    assert epsilon_of(events[:1], statement["delta"], "rdp") < 0.7 * whole


def test_pooled_metrics_are_those_of_all_patients(federation: Federation) -> None:
    federation.run("privacy=none")
    block = federation.read("evaluation.json")["models"]["federated"]
    assert block["pooled"]["patients"] == sum(site["patients"] for site in block["sites"].values())
    for cell in ("tp", "fp", "tn", "fn"):
        assert block["pooled"]["confusion"][cell] == sum(s["confusion"][cell] for s in block["sites"].values())


def _poison(value: float) -> object:
    def mutate(answer: TrainAnswer) -> TrainAnswer:
        return dataclasses.replace(answer, arrays={k: np.full_like(v, value) for k, v in answer.arrays.items()})

    return mutate


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, 400.0])
def test_a_bad_update_is_left_out_and_named(federation: Federation, value: float) -> None:
    federation.mutations["site_2", 1] = _poison(value)  # type: ignore[assignment]
    run = federation.run("strategy.max_update_norm=100")
    assert run["status"] == "PARTIAL"
    assert "site_2 (bad-update)" in run["reason"]
    assert federation.rounds()[0]["joined"] == ["site_1", "site_3"]
    assert federation.rounds()[1]["joined"] == ["site_1", "site_2", "site_3"]


def test_the_prefix_of_a_wrapped_model_is_a_bad_update_not_a_quiet_nothing(federation: Federation) -> None:
    def prefix(answer: TrainAnswer) -> TrainAnswer:
        return dataclasses.replace(answer, arrays={f"_module.{k}": v for k, v in answer.arrays.items()})

    for site in ("site_1", "site_2", "site_3"):
        federation.mutations[site, 1] = prefix
    run = federation.run()
    assert run["status"] == "FAILED" and "quorum" in run["reason"]
    assert federation.error is not None and federation.error.exit_code == 8


def test_a_global_model_that_does_not_move_is_an_error(federation: Federation) -> None:
    for site in ("site_1", "site_2", "site_3"):
        federation.mutations[site, 1] = _poison(0.0)  # type: ignore[assignment]
    run = federation.run()
    assert run["status"] == "FAILED" and "did not move" in run["reason"]


def test_a_site_that_crashes_makes_the_run_partial(federation: Federation) -> None:
    federation.mutations["site_1", 2] = lambda _: RuntimeError("Mrs Smith is in /data/smith.png")
    run = federation.run()
    assert run["status"] == "PARTIAL" and "site_1 (training-failed)" in run["reason"]
    assert all(b"Smith" not in p.read_bytes() for p in federation.folder.rglob("*") if p.is_file())


def _answering(
    monkeypatch: pytest.MonkeyPatch, instead: Callable[[str, int, int], SiteCode | None], *, hub_away: bool = False
) -> list[int]:
    """Lets ``instead`` of kind, number of training requests so far and site's number refuse; returns the counts."""
    counts = [0]

    def changed(
        grid: object, requests: Mapping[int, object], kind: str, timeout: float, away: threading.Event
    ) -> object:
        counts[0] += kind == "train"
        if hub_away:
            away.set()
        for number, (node, answer) in enumerate(ask(grid, requests, kind, timeout)):  # type: ignore[arg-type]
            code = instead(kind, counts[0], number)
            yield node, Refusal(site="", code=code) if code else answer

    monkeypatch.setattr(rounds, "ask", changed)
    return counts


@pytest.mark.parametrize(("silences", "status"), [(1, "COMPLETED"), (2, "FAILED")])
def test_a_quorum_lost_by_silence_is_asked_for_once_more(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, silences: int, status: str
) -> None:
    """Two of three sites are out of reach when round 2 is trained, as after a hub that stood still for a while."""

    def silent(kind: str, asked: int, number: int) -> SiteCode | None:
        return SiteCode.UNAVAILABLE if kind == "train" and 2 <= asked < 2 + silences and number < 2 else None

    asked = _answering(monkeypatch, silent)
    run = federation.run("strategy.quorum=2 simulation.ceiling=8.0 privacy.epsilon=8.0")
    assert run["status"] == status and asked == [3]
    if status == "COMPLETED":
        seen = [(row["round"], row["failures"], row["attempts"]) for row in federation.rounds()]
        assert seen == [(1, [], 1), (2, [], 2)]
        statement = federation.read("privacy/site_1.json")
        assert len(statement["events"]) == 2, "what was trained is sent again, and not paid again"
    else:
        assert "Round 2 lost its quorum: 1 of at least 2 sites" in run["reason"]
        assert [site["code"] for site in run["sites"]] == ["unavailable", "unavailable", ""]


def test_after_an_outage_of_the_hub_itself_silent_sites_are_asked_once_more(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quorum is there without them; they are only slower to find back than the hub is to ask."""
    _answering(
        monkeypatch,
        lambda kind, asked, number: SiteCode.UNAVAILABLE if (kind, asked, number) == ("train", 1, 2) else None,
        hub_away=True,
    )
    run = federation.run("strategy.quorum=2")
    assert (run["status"], run["reason"]) == ("COMPLETED", "")
    assert [(row["joined"], row["failures"]) for row in federation.rounds()] == [
        (["site_1", "site_2", "site_3"], [])
    ] * 2
    assert len(federation.read("privacy/site_3.json")["events"]) == 2


def test_who_sent_a_bad_update_before_a_round_was_repeated_stays_lost(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = {0: SiteCode.BAD_UPDATE, 1: SiteCode.UNAVAILABLE}
    _answering(monkeypatch, lambda kind, asked, number: codes.get(number) if (kind, asked) == ("train", 2) else None)
    run = federation.run("strategy.quorum=2")
    assert (run["status"], run["reason"]) == ("PARTIAL", "lost: site_1 (bad-update)")


def test_silent_sites_that_stay_away_are_named(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> list[int]:
        raise FederationError("Only 1 of at least 2 sites connected")

    silent = {("train", 2, 0), ("train", 2, 1)}
    _answering(monkeypatch, lambda *asked: SiteCode.UNAVAILABLE if asked in silent else None)
    monkeypatch.setattr("server.run.federation.wait_for_nodes", gone)
    run = federation.run("strategy.quorum=2")
    assert run["status"] == "FAILED" and "Round 2 lost its quorum" in run["reason"] and "Only 1 of" in run["reason"]
    assert {site["name"]: site["code"] for site in run["sites"]}.items() >= {"site_1": "unavailable"}.items()


def test_a_site_that_keeps_its_scores_still_trains(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    def keeps(kind: str, asked: int, number: int) -> SiteCode | None:
        return SiteCode.POLICY_REFUSED if (kind, number) == ("evaluate", 0) else None

    _answering(monkeypatch, keeps)
    run = federation.run()
    assert run["status"] == "PARTIAL" and "site_1 (policy-refused)" in run["reason"]
    assert all("site_1" in row["joined"] for row in federation.rounds())


def test_who_trained_before_a_crash_and_is_gone_after_it_is_lost(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for site in ("site_1", "site_2"):
        federation.mutations[site, 2] = lambda _: RuntimeError("killed")
    assert federation.run("strategy.quorum=2")["status"] == "FAILED"
    federation.mutations.clear()
    monkeypatch.setattr("server.run.enrolment._connected", lambda grid, expected: sorted(grid.get_node_ids())[:2])
    run = federation.run("strategy.quorum=2", resume=True)
    assert run["status"] == "PARTIAL" and "site_3 (unavailable)" in run["reason"]
    assert next(site for site in run["sites"] if site["name"] == "site_3")["rounds"] == 1


def test_a_lost_quorum_fails_the_run(federation: Federation) -> None:
    federation.mutations["site_1", 1] = lambda _: RuntimeError("x")
    federation.mutations["site_2", 1] = lambda _: RuntimeError("x")
    run = federation.run()
    assert run["status"] == "FAILED" and "1 of at least 2" in run["reason"]
    assert "not measured" in (federation.folder / "report.html").read_text().lower()


def test_a_site_over_its_ceiling_refuses_and_the_run_goes_on_without_it(federation: Federation) -> None:
    run = federation.run("+simulation.ceilings.site_2=1.0")
    assert run["status"] == "PARTIAL" and "site_2 (budget-refused)" in run["reason"]
    assert "site_2" not in federation.rounds()[0]["joined"]


def test_a_site_without_a_certificate_does_not_join(federation: Federation) -> None:
    run = federation.run("strategy.require_readiness=true")
    assert run["status"] == "FAILED" and "site_1 (data-unfit)" in run["reason"] and run["rounds_done"] == 0


def test_a_second_run_on_the_same_patients_adds_to_the_first(federation: Federation, tmp_path: object) -> None:
    ledgers = federation.folder.parent / "ledgers"
    common = f"simulation.ledger_dir={ledgers} privacy.epsilon=4 simulation.ceiling=5 strategy.quorum=1"
    assert federation.run(common)["status"] == "COMPLETED"
    again = Federation(federation.folder.parent / "again").run(common)
    assert again["status"] == "FAILED" and "budget-refused" in again["reason"], "one agreement is one run of a study"
    second = Federation(federation.folder.parent / "second")
    run = second.run(f"{common} name=second")
    assert run["status"] == "FAILED" and "budget-refused" in run["reason"]
    assert run["rounds_done"] == 0, "a study that cannot be paid to its end is refused before anything is charged"
    first_spent = federation.read("privacy/site_1.json")["epsilon"]
    assert first_spent <= 4
    for path in ledgers.glob("*.sqlite"):
        with Ledger(path) as ledger:
            assert len(ledger.charges()) == federation.read("run.json")["rounds_done"]


def test_resume_goes_on_after_the_last_round_and_never_under_counts(federation: Federation) -> None:
    federation.run("training.rounds=3")
    whole = (federation.folder / "model" / "model.safetensors").read_bytes()
    broken = Federation(federation.folder.parent / "broken")
    for site in ("site_1", "site_2"):
        broken.mutations[site, 3] = lambda _: RuntimeError("killed")
    assert broken.run("training.rounds=3")["status"] == "FAILED"
    broken.mutations.clear()
    broken.error = None
    run = broken.run("training.rounds=3", resume=True)
    assert broken.error is None and run["rounds_done"] == 3
    assert [row["round"] for row in broken.rounds()] == [1, 2, 3]
    statement = broken.read("privacy/site_1.json")
    assert len(statement["events"]) == 3, "the round that was trained before the hub died is not paid again"
    assert _tensors(whole) == _tensors((broken.folder / "model" / "model.safetensors").read_bytes())


@pytest.mark.parametrize("broken_round", [1, 2])
def test_a_round_written_down_before_its_checkpoint_is_there_once_after_resume(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, broken_round: int
) -> None:
    def dies(folder: Path, state: checkpoint.Checkpoint) -> None:
        if state.round_index == broken_round:
            raise FederationError("killed")
        save(folder, state)

    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", dies)
    assert federation.run("training.rounds=2")["status"] == "FAILED"
    assert [row["round"] for row in federation.rounds()] == list(range(1, broken_round + 1))
    monkeypatch.setattr(checkpoint, "save", save)
    run = federation.run("training.rounds=2", resume=True)
    assert (run["status"], run["rounds_done"]) == ("COMPLETED", 2)
    assert [row["round"] for row in federation.rounds()] == [1, 2]


def test_the_same_seed_gives_the_same_weights(federation: Federation) -> None:
    federation.run()
    again = Federation(federation.folder.parent / "again")
    again.run()
    first, second = (_tensors((f.folder / "model" / "model.safetensors").read_bytes()) for f in (federation, again))
    assert first == second
    other = Federation(federation.folder.parent / "other")
    other.run("seed=1")
    assert _tensors((other.folder / "model" / "model.safetensors").read_bytes()) != first


@pytest.mark.parametrize("strategy", ["fedprox", "fedavgm", "fedadam", "fedyogi", "fedmedian", "fedtrimmedmean"])
def test_every_strategy_completes(federation: Federation, strategy: str) -> None:
    assert federation.run(f"strategy={strategy} training.rounds=1")["status"] == "COMPLETED"


def test_a_quorum_larger_than_the_sites_is_a_config_error(federation: Federation) -> None:
    run = federation.run("strategy.quorum=9 strategy.join_timeout=0.1")
    assert run["status"] == "FAILED" and "9" in run["reason"]


def _tensors(blob: bytes) -> dict[str, bytes]:
    from safetensors.numpy import load

    return {name: value.tobytes() for name, value in load(blob).items()}
