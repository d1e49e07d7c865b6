"""One dishonest hospital: it can neither end a run, nor move the model further than an honest one, nor blame others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, RecordDict

from common.config.overrides import split_overrides
from common.config.study import compose
from common.protocol.messages import ARRAYS, BODY, VALUES, Request
from server.hub.tickets import Tickets
from server.run.enrolment import REGISTER
from simulations.engine.emulation import build_site, site_names
from tests.scenarios.conftest import QUICK, Federation

SHORT = (
    "training.rounds=2 evaluation.local_baseline=false evaluation.resamples=20 strategy.quorum=2 "
    "partition.sites=4 data.patients=160"
)
LIAR = "site_1"
Change = Callable[[RecordDict], None]


@pytest.fixture
def liar(federation: Federation) -> Callable[..., dict[str, Any]]:
    """Runs a study in which ``site_1`` changes what it answers to the named purposes."""

    def run(change: Change, *purposes: str, overrides: str = "privacy=none") -> dict[str, Any]:
        def tamper(request: Request, site: str, content: RecordDict) -> None:
            if request.purpose in purposes and site == LIAR:
                change(content)

        federation.tamper = tamper
        return federation.run(f"{SHORT} {overrides}")

    return run


def fields(**values: Any) -> Change:
    def change(content: RecordDict) -> None:
        answer = json.loads(str(content[BODY]["answer"]))
        content[BODY]["answer"] = json.dumps(answer | values)

    return change


def nameless(**values: Any) -> Change:
    def change(content: RecordDict) -> None:
        content[BODY]["site"] = ""
        fields(site="", **values)(content)

    return change


def document(**values: Any) -> Change:
    def change(content: RecordDict) -> None:
        answer = json.loads(str(content[BODY]["answer"]))
        content[BODY]["answer"] = json.dumps(answer | {"document": answer["document"] | values})

    return change


def update(make: Callable[[np.ndarray], np.ndarray], **facts: Any) -> Change:
    def change(content: RecordDict) -> None:
        values = make(content[ARRAYS][VALUES].numpy())
        content[ARRAYS] = ArrayRecord({VALUES: Array(values.astype(np.float32))})
        fields(**facts)(content)

    return change


def others(federation: Federation) -> set[str]:
    return {site["name"] for site in federation.read("run.json")["sites"] if site["status"] == "ok"}


HONEST = {"site_2", "site_3", "site_4"}
CARDS: dict[str, Change] = {
    "another shape, sorted first": nameless(input_shape=[1, 28, 28]),
    "another shape": fields(input_shape=[1, 28, 28]),
    "other frozen weights": fields(frozen_digest="0" * 64),
    "other mathematics": fields(mathematics_digest="0" * 64),
    "another protocol": fields(protocol=1),
    "more patients than declared": fields(counts={"test": {"patients": 10**6, "malignant": 10**6, "benign": None}}),
    "a text without end": fields(dataset={"name": "x" * 3_900_000}),
    "texts without end": fields(dataset={f"note {number}": "x" for number in range(10_000)}),
}


@pytest.mark.parametrize("card", CARDS)
def test_a_card_that_does_not_fit_costs_its_own_site_only(
    federation: Federation, liar: Callable[..., dict[str, Any]], card: str
) -> None:
    run = liar(CARDS[card], "enrol")
    assert run["status"] == "PARTIAL" and others(federation) == HONEST
    assert all(row["joined"] == sorted(HONEST) for row in federation.rounds())
    assert all(path.stat().st_size < 2_000_000 for path in federation.folder.glob("*.*"))


SCORES: dict[str, Change] = {
    "a thousand million patients": document(positives=[[10], [10**9]], negatives=[[10], [1]], groups={}),
    "nine hundred million": document(positives=[[200], [9 * 10**8]], negatives=[[10], [9 * 10**8]], groups={}),
    "one malignant patient more": document(positives=[[200], [99]], negatives=[[10], [1]], groups={}),
}


@pytest.mark.parametrize("scores", SCORES)
def test_scores_of_patients_that_a_site_has_not_are_its_own_bad_answer(
    federation: Federation, liar: Callable[..., dict[str, Any]], scores: str
) -> None:
    run = liar(SCORES[scores], "evaluate")
    assert run["status"] == "PARTIAL" and federation.error is None
    assert run["reason"] == f"lost: {LIAR} (bad-answer)"
    assert set(federation.read("evaluation.json")["models"]["federated"]["sites"]) == HONEST


@pytest.mark.parametrize("tiny", [0.0, 1e-12, 1e-30], ids=["zeros", "below fixed point", "below float32"])
@pytest.mark.parametrize("rule", ["krum", "fedavg", "fedmedian"])
def test_an_update_of_nothing_is_its_own_sites_bad_update(
    liar: Callable[..., dict[str, Any]], rule: str, tiny: float
) -> None:
    """Before, Krum chose it, for under noise it is nearest to all, and the run FAILED with nobody named."""
    nothing = update(lambda values: np.full_like(values, tiny))
    run = liar(
        nothing, "train",
        overrides=f"privacy.epsilon=8 strategy.name={rule} strategy.malicious=1 partition.sites=5 data.patients=200 "
        "training.rounds=1",
    )  # fmt: skip
    assert run["status"] == "PARTIAL" and run["reason"] == f"lost: {LIAR} (bad-update)"


def _direction(values: np.ndarray) -> np.ndarray:
    """A vector of norm 1,500, drawn at random."""
    drawn = np.random.default_rng(0).standard_normal(values.shape)
    return 1500 * drawn / np.linalg.norm(drawn)


@pytest.mark.parametrize("privacy", ["privacy=none", "privacy.accountant=rdp"])
def test_a_site_moves_the_model_no_further_than_an_honest_one_could(
    federation: Federation, liar: Callable[..., dict[str, Any]], privacy: str
) -> None:
    liar(update(_direction), "train", overrides=privacy)
    for row in federation.rounds():
        assert set(row["clipped"]) == {LIAR} and row["norms"][LIAR] > 1499
        honest = [row["norms"][site] for site in HONEST]
        if privacy == "privacy=none":
            assert row["clipped"][LIAR] <= 3 * max(honest)
        assert row["clipped"][LIAR] >= max(honest)
        assert row["update_norm"] <= row["clipped"][LIAR]


def test_honest_sites_are_never_scaled_down(federation: Federation) -> None:
    for overrides in ("privacy=none", "privacy.accountant=rdp", "privacy.accountant=rdp training.optimizer=adam"):
        fresh = Federation(federation.folder.parent / overrides.replace("=", "-").replace(" ", "-"))
        fresh.run(f"{SHORT} {overrides}")
        assert [row["clipped"] for row in fresh.rounds()] == [{}, {}]


@pytest.fixture
def registered(tmp_path: Path, federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub's register that agreed with each of four sites on the patients that it has."""
    study = compose(split_overrides(f"{QUICK} {SHORT} privacy=none"))
    sizes = [build_site(study, name, tmp_path / name).declared_patients for name in site_names(study)]
    rows = {
        f"site_{node}": {"status": "approved", "changed": "", "node_id": node, "declared_patients": size}
        for node, size in enumerate(sizes, start=1)
    }
    (tmp_path / "sites.json").write_text(json.dumps({"schema_version": 1, "sites": rows}))
    monkeypatch.setenv(REGISTER, str(tmp_path / "sites.json"))
    federation.ticket = Tickets.of(tmp_path).issue(federation.folder)


def _many(content: RecordDict) -> None:
    if ARRAYS in content:
        update(lambda values: -100 * values, weight=10**6)(content)
    else:
        fields(declared_patients=10**6)(content)


@pytest.mark.usefixtures("registered")
def test_a_site_weighs_what_the_register_agreed_on(federation: Federation, liar: Callable[..., dict[str, Any]]) -> None:
    run = liar(_many, "enrol", "train", overrides="privacy=none strategy.weighting=declared")
    assert run["reason"] == f"lost: {LIAR} (bad-answer)"
    assert all(row["joined"] == sorted(HONEST) for row in federation.rounds())


def test_a_refusal_in_anothers_name_blames_nobody_else(
    federation: Federation, liar: Callable[..., dict[str, Any]]
) -> None:
    def refuse(content: RecordDict) -> None:
        content[BODY].update({"status": "refused", "site": "site_2", "code": "policy-refused"})

    run = liar(refuse, "enrol")
    assert run["reason"] == "lost: node-1 (policy-refused)"
    assert others(federation) == HONEST
