"""Flower's own strategies, driven by the hub's own rounds.

Strategies that only need the mean get one synthetic reply made from the running sum, so the hub's memory does not
grow with the number of sites; the robust ones (median, trimmed mean, Krum) must see every update and keep them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import (
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedYogi,
    Krum,
)
from numpy.typing import NDArray

from common.config.study import ROBUST, StrategyConfig
from common.errors import ConfigError, FederationError
from common.protocol.aggregation import Arrays, Update, apply

WEIGHT = "num-examples"
_STATE = ("m_t", "v_t", "momentum_vector")
_ONE_NODE: dict[str, Any] = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": 1}

logging.getLogger("flwr").setLevel(logging.WARNING)


def build_strategy(config: StrategyConfig) -> FedAvg:
    """Returns Flower's strategy for the study."""
    optimizer: dict[str, Any] = {"eta": config.server_lr, "tau": config.tau, "beta_1": config.server_momentum}
    makers: dict[str, Callable[[], FedAvg]] = {
        "fedavg": lambda: FedAvg(**_ONE_NODE),
        "fedprox": lambda: FedProx(proximal_mu=config.proximal_mu, **_ONE_NODE),
        "fedavgm": lambda: FedAvgM(
            server_learning_rate=config.server_lr, server_momentum=config.server_momentum, **_ONE_NODE
        ),
        "fedadam": lambda: FedAdam(**optimizer, **_ONE_NODE),
        "fedyogi": lambda: FedYogi(**optimizer, **_ONE_NODE),
        "fedmedian": lambda: FedMedian(**_ONE_NODE),
        "fedtrimmedmean": lambda: FedTrimmedAvg(beta=config.trim, **_ONE_NODE),
        "krum": lambda: Krum(num_malicious_nodes=config.malicious, **_ONE_NODE),
    }
    return makers[config.name]()


def check_strategy(config: StrategyConfig, sites: int) -> None:
    """Refuses a strategy that cannot work with this many sites.

    Raises:
        ConfigError: The quorum or the signatures for a release exceed the sites, or Krum has too few sites for its
            assumption.
    """
    if not sites:
        raise ConfigError("No site takes part")
    for name in ("quorum", "release_signatures"):
        if (wanted := getattr(config, name)) > sites:
            raise ConfigError(
                f"strategy.{name}={wanted} is larger than the {sites} sites that take part; win more sites, or "
                f"lower it to at most {sites}"
            )
    if config.name == "krum" and sites < 2 * config.malicious + 3:
        raise ConfigError(
            f"Krum tolerates f malicious sites only among 2f+3 or more (Blanchard 2017, prop. 4.2): got {sites} sites "
            f"and strategy.malicious={config.malicious}; lower it or use fedmedian"
        )


def missing_quorum(config: StrategyConfig, declared: Mapping[str, int]) -> str:
    """Returns what sites with so many declared patients lack of the quorum, in words; empty when they have it."""
    if len(declared) < config.quorum:
        return f"{len(declared)} of at least {config.quorum} sites"
    patients = sum(declared.values())
    if patients < config.quorum_patients:
        return f"{patients} of at least {config.quorum_patients} declared patients"
    return ""


class Combiner:
    """Combines the updates of one round after another with a Flower strategy."""

    def __init__(self, config: StrategyConfig) -> None:
        self._strategy = build_strategy(config)
        self._robust = config.name in ROBUST
        self._arrays: Arrays = {}
        self._request: Message | None = None
        self._round = 0
        self._sum: Update | None = None
        self._kept: list[tuple[str, Update]] = []

    def begin(self, round_index: int, arrays: Arrays) -> None:
        """Starts a round from the global weights ``arrays``."""
        record = _record(arrays)
        grid = cast(Grid, _OneNode())
        (self._request,) = self._strategy.configure_train(round_index, record, ConfigRecord(), grid)
        self._arrays, self._round, self._sum, self._kept = arrays, round_index, None, []

    def add(self, site: str, update: Update) -> None:
        """Takes one site's checked update, which is used up."""
        if self._robust:
            self._kept.append((site, update))
        elif self._sum is None:
            self._sum = update
        else:
            self._sum += update

    def finish(self) -> dict[str, NDArray[np.float32]]:
        """Returns the new global weights.

        Raises:
            FederationError: There was no update, or the strategy could not combine them.
        """
        updates = [u for _, u in sorted(self._kept, key=lambda item: item[0])] if self._robust else [self._sum]
        replies = [self._reply(update) for update in updates if update is not None]
        arrays, _ = self._strategy.aggregate_train(self._round, replies)
        if arrays is None:
            raise FederationError(f"Round {self._round} brought no update to combine")
        return {name: np.asarray(array.numpy(), dtype=np.float32) for name, array in arrays.items()}

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Returns what the strategy remembers between rounds, flat, for a checkpoint."""
        flat: dict[str, NDArray[np.float32]] = {}
        for attribute in _STATE:
            value = getattr(self._strategy, attribute, None)
            if value is not None:
                named = value.items() if isinstance(value, Mapping) else zip(self._arrays, value, strict=True)
                flat |= {f"{attribute}/{name}": np.asarray(array, dtype=np.float32) for name, array in named}
        return flat

    def restore(self, flat: Mapping[str, NDArray[np.float32]], names: tuple[str, ...]) -> None:
        """Puts back what :meth:`state` returned; ``names`` are the trained tensors in order."""
        for attribute in _STATE:
            found = {name: flat[f"{attribute}/{name}"] for name in names if f"{attribute}/{name}" in flat}
            if found:
                setattr(self._strategy, attribute, list(found.values()) if attribute == "momentum_vector" else found)

    def _reply(self, update: Update) -> Message:
        if self._request is None:
            raise RuntimeError("begin() was not called")
        content = RecordDict(
            {"arrays": _record(apply(self._arrays, update.mean())), "metrics": MetricRecord({WEIGHT: update.weight})}
        )
        return Message(content=content, reply_to=self._request)


class _OneNode:
    """Stands in for a Grid while a strategy prepares its round; the hub sends its own messages."""

    def get_node_ids(self) -> list[int]:
        return [1]


def _record(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord({name: Array(np.ascontiguousarray(values)) for name, values in arrays.items()})
