"""The in-process Grid: Flower's own strategy runs on it, failures look like Flower's, its private footing holds."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given
from hypothesis import strategies as st

from simulations.engine.grid import APP_RAISED, NODE_UNAVAILABLE, InProcessGrid

UPGRADE = "Flower has moved a private name that simulations/engine/grid.py uses; adapt it before raising the flwr pin"


def _site_app() -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        arrays = message.content["arrays"].to_numpy_ndarrays()
        before = context.state["seen"]["messages"] if "seen" in context.state else 0
        context.state["seen"] = MetricRecord({"messages": before + 1})
        metrics = MetricRecord({"num-examples": 1, "calls": before + 1})
        moved = [array + context.node_config["partition-id"] for array in arrays]
        return Message(RecordDict({"arrays": ArrayRecord(moved), "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": 1, "nodes": context.node_config["num-partitions"]})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    @app.query()
    def query(message: Message, context: Context) -> Message:
        if context.run_config.get("fail") == context.node_id:
            raise ValueError("Mrs Smith has no images")
        return Message(RecordDict(), reply_to=message)

    return app


def _ask(grid: InProcessGrid, nodes: list[int]) -> list[str]:
    requests = [Message(RecordDict(), dst_node_id=node, message_type="query") for node in nodes]
    return list(grid.push_messages(requests))


def test_flowers_private_names_are_where_the_grid_expects_them() -> None:
    for name in ("run_id", "node_id", "task_id"):
        assert isinstance(getattr(type(TaskIdentity), name, None), property), UPGRADE
    grid = InProcessGrid(_site_app(), num_nodes=1, run_id=77)
    message = Message(RecordDict(), dst_node_id=1, message_type="query")
    assert message.metadata.run_id == 77, UPGRADE
    assert hasattr(message.metadata, "_message_id"), UPGRADE
    (message_id,) = grid.push_messages([message])
    assert message.metadata.message_id == message_id, UPGRADE
    (reply,) = grid.pull_messages([message_id])
    assert reply.metadata.reply_to_message_id == message_id, UPGRADE


def test_the_grid_leaves_nothing_of_flowers_interface_open() -> None:
    assert not InProcessGrid.__abstractmethods__


@given(nodes=st.integers(1, 6), rounds=st.integers(1, 3))
def test_flowers_fedavg_runs_on_it_and_sites_keep_their_state(nodes: int, rounds: int) -> None:
    logging.getLogger("flwr").setLevel(logging.ERROR)
    grid = InProcessGrid(_site_app(), num_nodes=nodes)
    strategy = FedAvg(min_available_nodes=1, min_train_nodes=1, min_evaluate_nodes=1)
    result = strategy.start(grid=grid, initial_arrays=ArrayRecord([np.zeros(3)]), num_rounds=rounds)
    mean_step = (nodes - 1) / 2  # site i adds i
    np.testing.assert_allclose(result.arrays.to_numpy_ndarrays()[0], np.full(3, rounds * mean_step))
    assert result.train_metrics_clientapp[rounds]["calls"] == pytest.approx(rounds)
    assert result.evaluate_metrics_clientapp[rounds]["nodes"] == pytest.approx(nodes)


def test_a_client_app_that_raises_is_an_error_reply_without_its_text() -> None:
    grid = InProcessGrid(_site_app(), num_nodes=2, run_config={"fail": 2})
    ids = _ask(grid, [1, 2])
    good, bad = grid.pull_messages(ids) + grid.pull_messages(ids)
    assert not good.has_error()
    assert bad.has_error() and bad.error.code == APP_RAISED
    assert bad.error.reason == "ValueError"
    assert bad.metadata.reply_to_message_id == ids[1]


def test_an_unknown_node_is_unavailable() -> None:
    grid = InProcessGrid(_site_app(), num_nodes=1)
    (reply,) = grid.pull_messages(_ask(grid, [9]))
    assert reply.error.code == NODE_UNAVAILABLE


def test_a_site_works_only_when_its_answer_is_pulled() -> None:
    asked: list[int] = []

    def app(message: Message, context: Context) -> Message:
        asked.append(context.node_id)
        return Message(RecordDict(), reply_to=message)

    grid = InProcessGrid(app, num_nodes=3)
    ids = _ask(grid, [1, 2, 3])
    assert asked == []
    grid.pull_messages(ids)
    assert asked == [1]
    assert len(grid.pull_messages(ids) + grid.pull_messages(ids)) == 2
    assert grid.pull_messages(ids) == []


def test_an_interrupt_is_not_an_answer() -> None:
    def app(message: Message, context: Context) -> Message:
        raise KeyboardInterrupt

    grid = InProcessGrid(app, num_nodes=1)
    with pytest.raises(KeyboardInterrupt):
        grid.pull_messages(_ask(grid, [1]))


def test_a_grid_without_nodes_does_not_construct() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        InProcessGrid(_site_app(), num_nodes=0)
