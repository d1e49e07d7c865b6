"""systemd hears what sd_notify(3) promises it, and nobody else is spoken to."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.services.notify import Notifier, credential


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.setblocking(False)
        yield end


def heard(manager: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(manager.recv(4096).decode())
        except BlockingIOError:
            return found


def environment(manager: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.getsockname(), **more}


def test_up_alive_and_ending_are_told_in_this_order(manager: socket.socket) -> None:
    service = Notifier(environment(manager, WATCHDOG_USEC="60000000", WATCHDOG_PID=str(os.getpid())))
    service.ready()
    service.ready()
    service.alive("running")
    service.alive("running")
    service.stopping()
    assert heard(manager) == ["READY=1", "WATCHDOG=1\nSTATUS=running", "STOPPING=1"]


def test_the_watchdog_is_fed_as_often_as_it_asks(manager: socket.socket) -> None:
    service = Notifier(environment(manager, WATCHDOG_USEC="1"))
    for _ in range(3):
        service.alive()
    assert heard(manager) == ["WATCHDOG=1"] * 3


@pytest.mark.parametrize("more", [{}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}])
def test_a_watchdog_of_nobody_or_of_another_process_is_not_fed(manager: socket.socket, more: dict[str, str]) -> None:
    Notifier(environment(manager, **more)).alive()
    assert heard(manager) == []


def test_an_abstract_socket_is_reached() -> None:
    name = f"oncofed-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0{name}")
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert end.recv(64) == b"READY=1"


@pytest.mark.parametrize("found", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/no/such/socket"}])
def test_without_a_manager_nothing_happens(found: dict[str, str]) -> None:
    service = Notifier(found | {"WATCHDOG_USEC": "1"})
    service.ready()
    service.alive()
    service.stopping()


def test_a_credential_is_used_only_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "node").write_text("key")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert credential("node") is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert credential("node") == str(tmp_path / "node") and credential("other") is None
