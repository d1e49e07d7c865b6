"""Whole studies of the statistics training: charged, stated, verified, repeated, bounded, and refused by name."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from common.config.study import compose
from common.errors import ConfigError, SiteCode
from common.models import zoo
from common.privacy.accounting import Event, epsilon_of
from common.privacy.verification import verify_statement
from common.protocol.messages import TrainAnswer
from tests import public_axes
from tests.scenarios.conftest import Federation

STATISTICS = (
    "training.method=statistics training.rounds=4 model.name=public_axes model.part=head model.width=24 "
    "model.prior=0.4 training.statistics.spread_axes=16 "
    "strategy.weighting=equal evaluation.select_by=last evaluation.local_baseline=false privacy.accountant=prv "
    "training.statistics.patients=84 training.statistics.axes=16 training.statistics.release=steps"
)


@pytest.fixture(autouse=True)
def public_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "ARCHITECTURES", public_axes.register(images=True))


def test_a_study_completes_and_its_statement_holds_for_another_accountant(federation: Federation) -> None:
    run = federation.run(f"{STATISTICS} privacy.epsilon=5")
    assert run["status"] == "COMPLETED" and run["rounds_done"] == 4
    for site in ("site_1", "site_2", "site_3"):
        statement = federation.read(f"privacy/{site}.json")
        events = [Event(e["noise_multiplier"], e["sampling_rate"], e["steps"]) for e in statement["events"]]
        assert {(event.sampling_rate, event.steps) for event in events} == {(1.0, 1)} and len(events) == 4
        assert 5 * (1 - 1e-6) < statement["epsilon"] <= 5
        assert statement["epsilon"] == pytest.approx(epsilon_of(events, statement["delta"]), rel=1e-12)
        assert verify_statement(statement) == pytest.approx(statement["epsilon"], rel=2e-3)
        assert statement["cross_check"]["epsilon"] > statement["epsilon"]
        assert "Gaussian noise, full batch, exact composition" in statement["mechanism"]
        assert [row["sensitivity"] for row in statement["releases"]] == [1.5, 0.6]
        assert statement["noise"]["sampler"] == "discrete Gaussian"
        assert "analytic Gaussian" in (federation.folder / "privacy" / f"{site}.html").read_text()


def test_the_last_round_is_the_one_tested_since_earlier_ones_hold_a_part_of_the_estimate(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    falling = iter([0.9, 0.8, 0.7, 0.6])
    monkeypatch.setattr("server.run.federation.auroc", lambda state: next(falling))
    run = federation.run(f"{STATISTICS} privacy.epsilon=5")
    last = load_file(federation.folder / "checkpoints" / "round-00004" / "arrays.safetensors")
    model = load_file(federation.folder / "model" / "model.safetensors")
    assert run["best_round"] == 4 and np.array_equal(model["head.average"], last["head.average"])
    assert "is the last and is the one tested" in (federation.folder / "report.html").read_text().replace("\n", " ")


def test_the_first_round_fills_the_moments_and_the_others_the_weights(federation: Federation) -> None:
    federation.run(f"{STATISTICS} privacy.epsilon=8")
    model = load_file(federation.folder / "model" / "model.safetensors")
    assert model["head.moments"].shape == (33,) and model["head.weight"].shape == (16,)
    counts = [row["update_norm"] for row in federation.rounds()]
    assert len(counts) == 4 and all(count > 0 for count in counts)


def test_no_honest_update_is_scaled_down_and_a_longer_one_is(federation: Federation) -> None:
    def longer(answer: TrainAnswer) -> TrainAnswer:
        return dataclasses.replace(answer, arrays={name: 100 * values for name, values in answer.arrays.items()})

    federation.mutations = {("site_2", 3): longer}
    federation.run(f"{STATISTICS} privacy.epsilon=2")
    clipped = [set(row["clipped"]) for row in federation.rounds()]
    assert clipped == [set(), set(), {"site_2"}, set()]


def test_without_privacy_there_is_no_noise_and_sites_of_any_size_count_in_full(federation: Federation) -> None:
    federation.run(f"{STATISTICS} privacy=none partition=quantity partition.alpha=0.5 partition.min_patients=25")
    assert [row["clipped"] for row in federation.rounds()] == [{}] * 4
    moments = load_file(federation.folder / "model" / "model.safetensors")["head.moments"]
    run = federation.read("run.json")
    trained = sum(site["counts"]["train"][label] for site in run["sites"] for label in ("malignant", "benign"))
    assert moments[-1] * 1024 * 2 * 3 == pytest.approx(trained, rel=1e-5)


def test_a_repeated_round_gives_the_same_update_at_no_new_charge(federation: Federation) -> None:
    federation.run(f"{STATISTICS} privacy.epsilon=5")
    before = federation.read("privacy/site_1.json")
    weights = load_file(federation.folder / "model" / "model.safetensors")
    rows = federation.rounds()
    (federation.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]))
    for path in sorted((federation.folder / "checkpoints").glob("*4*")):
        shutil.rmtree(path)
    federation.run(f"{STATISTICS} privacy.epsilon=5", resume=True)
    after, again = federation.read("privacy/site_1.json"), load_file(federation.folder / "model" / "model.safetensors")
    assert after["rounds"] == before["rounds"] == 4 and after["epsilon"] == before["epsilon"]
    assert all(np.array_equal(weights[name], again[name]) for name in weights)


def test_a_site_whose_ceiling_is_lower_refuses_and_the_others_go_on(federation: Federation) -> None:
    run = federation.run(f"{STATISTICS} privacy.epsilon=5 +simulation.ceilings.site_3=4.0")
    assert run["status"] == "PARTIAL"
    assert {site["name"]: site["code"] for site in run["sites"]}["site_3"] == SiteCode.BUDGET_REFUSED.value


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("strategy.weighting=declared", "weighting=equal"),
        ("strategy=fedmedian strategy.weighting=equal", "fedavg"),
        ("strategy=krum strategy.weighting=equal", "fedavg"),
        ("strategy.server_lr=0.5", "server_lr=1"),
        ("strategy.averaging=0.5", "averaging=0"),
        ("training.augment=true", "augment=false"),
        ("training.rounds=1", "rounds of at least 2"),
        ("training.positive_weight=2", "positive_weight"),
        ("model.part=all", "part=head"),
        ("model.dropout=0.1", "dropout=0"),
        ("training.statistics.residual=1.5", "residual"),
        ("training.statistics.axes=-1", "axes"),
    ],
)
def test_what_does_not_go_with_it_is_refused_by_name(override: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([*STATISTICS.split(), *override.split()])
    assert named in str(caught.value) and "\n" not in str(caught.value)


def test_a_home_model_is_made_in_the_public_coordinates_and_added_to_the_federated(federation: Federation) -> None:
    federation.run(f"{STATISTICS} evaluation.local_baseline=true privacy.epsilon=5")
    document = federation.read("evaluation.json")
    assert {"local", "personalised"} <= set(document["models"]) and document["joining"]["sites"]
    assert all(row["auroc"]["value"] is not None for row in document["models"]["local"]["sites"].values())


def test_a_network_without_public_axes_is_refused_before_anything_is_charged(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    federation.run(f"{STATISTICS} model.name=small_cnn")
    assert federation.error is not None and "eigenvalues" in str(federation.error)
    assert not list(Path(federation.folder).glob("sites/*/ledger.sqlite"))


SHARED = f"{STATISTICS} privacy.mode=distributed partition.sites=4 data.patients=160 simulation.ceiling=100000"


def test_the_sums_go_through_a_secure_sum_with_shared_noise(federation: Federation) -> None:
    run = federation.run(f"{SHARED} privacy.epsilon=5 evaluation.local_baseline=false")
    assert (run["status"], run["rounds_done"], run["secure_sum"]["void"]) == ("COMPLETED", 4, [])
    for site in ("site_1", "site_4"):
        said = federation.read(f"privacy/{site}.json")
        assert said["epsilon"] <= 5 < said["secure_sum"]["alone"]["epsilon"]
        assert (said["secure_sum"]["sites"], said["secure_sum"]["honest"]) == (4, 3)
        assert verify_statement(said) == pytest.approx(said["epsilon"], rel=2e-3)
    assert all("scaled_to" not in row or row["scaled_to"] is None for row in federation.rounds())


def test_with_next_to_no_noise_a_secure_sum_gives_the_weights_of_local_updates(federation: Federation) -> None:
    quiet = f"{SHARED} privacy.epsilon=90000"
    federation.run(quiet)
    other = Federation(federation.folder.parent / "local")
    other.run(f"{quiet} privacy.mode=local")
    summed, local = (load_file(one.folder / "model" / "model.safetensors") for one in (federation, other))
    for name in ("head.moments", "head.weight", "head.average"):
        assert np.allclose(summed[name], local[name], rtol=0.05, atol=0.02 * np.abs(local[name]).max()), name
