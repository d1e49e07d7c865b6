"""Flower's strategies, driven by our rounds, against their definitions in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from common.config.study import StrategyConfig
from common.errors import ConfigError, FederationError
from common.protocol.aggregation import Update
from server.run.strategy import Combiner, check_strategy

ALL = ["fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "fedmedian", "fedtrimmedmean", "krum"]
OLD = {"a": np.ones((3, 2), np.float32), "b": np.zeros(4, np.float32)}


def _deltas(seed: int = 0, sites: int = 5) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{k: rng.normal(scale=0.01, size=v.shape).astype(np.float32) for k, v in OLD.items()} for _ in range(sites)]


def _config(name: str) -> StrategyConfig:
    return StrategyConfig(name=name, malicious=1, server_lr=0.1, proximal_mu=0.1)  # type: ignore[arg-type]


def _round(combiner: Combiner, index: int, arrays: dict, deltas: list, order: list[int] | None = None) -> dict:
    combiner.begin(index, arrays)
    for i in order or range(len(deltas)):
        combiner.add(f"site_{i}", Update.of(deltas[i], 10 * (i + 1)))
    return combiner.finish()


def test_fedavg_is_the_weighted_mean() -> None:
    deltas = _deltas()
    got = _round(Combiner(StrategyConfig()), 1, OLD, deltas)
    for name in OLD:
        mean = np.average([d[name] for d in deltas], axis=0, weights=[10, 20, 30, 40, 50])
        np.testing.assert_allclose(got[name], OLD[name] + mean, atol=1e-6)


@pytest.mark.parametrize(("name", "reference"), [("fedmedian", np.median), ("fedtrimmedmean", None)])
def test_the_robust_rules_are_numpys(name: str, reference: object) -> None:
    deltas = _deltas()
    got = _round(Combiner(_config(name)), 1, OLD, deltas)
    for key in OLD:
        stacked = np.sort(np.stack([OLD[key] + d[key] for d in deltas]), axis=0)
        expected = np.median(stacked, axis=0) if reference else stacked[1:-1].mean(axis=0)
        np.testing.assert_allclose(got[key], expected, atol=1e-6)


@pytest.mark.parametrize("name", ["fedmedian", "fedtrimmedmean", "krum"])
def test_one_poisoned_update_does_not_move_a_robust_rule(name: str) -> None:
    deltas = _deltas()
    deltas[2] = {key: np.full_like(value, 100.0) for key, value in OLD.items()}
    got = _round(Combiner(_config(name)), 1, OLD, deltas)
    assert max(float(np.abs(got[key] - OLD[key]).max()) for key in OLD) < 0.1


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_arrival_does_not_change_a_bit(name: str) -> None:
    deltas = _deltas()
    first = _round(Combiner(_config(name)), 1, OLD, deltas)
    second = _round(Combiner(_config(name)), 1, OLD, deltas, order=[4, 2, 0, 3, 1])
    assert all(np.array_equal(first[key], second[key]) for key in OLD)


@pytest.mark.parametrize("name", ALL)
def test_a_restored_strategy_goes_on_where_it_stopped(name: str) -> None:
    whole = Combiner(_config(name))
    arrays = _round(whole, 2, _round(whole, 1, OLD, _deltas(1)), _deltas(2))
    resumed = Combiner(_config(name))
    resumed.restore(whole.state(), tuple(OLD))
    first, second = (_round(combiner, 3, arrays, _deltas(3)) for combiner in (whole, resumed))
    assert all(np.array_equal(first[key], second[key]) for key in OLD)


def test_a_round_without_updates_is_an_error() -> None:
    combiner = Combiner(StrategyConfig())
    combiner.begin(1, OLD)
    with pytest.raises(FederationError, match="no update"):
        combiner.finish()


def test_a_quorum_larger_than_the_sites_is_refused() -> None:
    with pytest.raises(ConfigError, match="quorum=5"):
        check_strategy(StrategyConfig(quorum=5), 4)


def test_krum_with_too_few_sites_is_refused() -> None:
    check_strategy(StrategyConfig(name="krum", malicious=1), 5)
    with pytest.raises(ConfigError, match="2f\\+3"):
        check_strategy(StrategyConfig(name="krum", malicious=1), 4)
