"""What the deployment's benchmark counts: every byte both ways, and what the workers say of themselves."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from simulations.bench.deployment_benchmark import _answered
from simulations.engine.deployment import surroundings
from simulations.engine.meter import Meter


def _echo(listener: socket.socket) -> None:
    """Answers one caller with twice what he sends, until he ends."""
    near, _ = listener.accept()
    with near:
        while piece := near.recv(65_536):
            near.sendall(piece + piece)


@pytest.mark.parametrize("size", [1, 70_000, 3_000_000])
def test_a_meter_carries_and_counts_every_byte_both_ways(size: int) -> None:
    sent = os.urandom(size)
    with socket.create_server(("127.0.0.1", 0)) as listener, Meter() as meter:
        meter.hub_port = listener.getsockname()[1]
        thread = threading.Thread(target=_echo, args=(listener,))
        thread.start()
        with socket.create_connection(("127.0.0.1", meter.port), timeout=20) as caller:
            writer = threading.Thread(target=lambda: (caller.sendall(sent), caller.shutdown(socket.SHUT_WR)))
            writer.start()
            got = b""
            while piece := caller.recv(65_536):
                got += piece
            writer.join()
        thread.join()
        assert len(got) == 2 * size and (meter.up, meter.down) == (size, 2 * size)


def test_a_meter_without_a_hub_ends_the_call() -> None:
    with Meter() as meter, socket.create_server(("127.0.0.1", 0)) as closed:
        meter.hub_port = closed.getsockname()[1]
        closed.close()
        with socket.create_connection(("127.0.0.1", meter.port), timeout=20) as caller:
            assert caller.recv(1) == b""


def test_the_workers_words_are_read_by_purpose() -> None:
    log = (
        "2026-11-24 12:29:50,505 INFO train answered in 1.5 s\n"
        "2026-11-24 12:29:51,505 INFO evaluate answered in 0.1 s\n"
        "2026-11-24 12:29:52,505 INFO train answered in 2.0 s\n"
        "2026-11-24 12:29:52,786 INFO A request took 2.2 s (exit 0)\n"
    )
    assert _answered(log, "train") == [1.5, 2.0] and _answered(log, "evaluate") == [0.1]


def test_a_scenarios_path_comes_before_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    assert surroundings({"PYTHONPATH": "/theirs", "A": "b"})["PYTHONPATH"] == os.pathsep.join(["/theirs", "/ours"])
    assert surroundings({})["PYTHONPATH"] == "/ours"
    monkeypatch.delenv("PYTHONPATH")
    assert "PYTHONPATH" not in surroundings({"A": "b"}) and surroundings({"A": "b"})["A"] == "b"
