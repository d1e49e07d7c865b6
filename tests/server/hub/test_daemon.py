"""The daemon follows the register: whatever is changed, whenever, and while one of Flower's commands runs."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.trust.client_certificate import proxy_fingerprint
from server.hub import control
from server.hub.daemon import HubDaemon
from server.hub.home import HubConfig, HubHome, create
from server.hub.registry import Registry
from server.hub.tickets import Tickets
from tests.server.hub.asking import asked


@dataclass
class Flower:
    """Flower's command line: knows nodes, and lets a test do something while a command runs.

    As Flower does, it lists a node that was unregistered for ever, and refuses to unregister it again.
    """

    nodes: dict[int, str] = field(default_factory=dict)
    meanwhile: dict[str, Callable[[], object]] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    commands: list[str] = field(default_factory=list)

    def __call__(self, command: list[str], **_: object) -> _Command:
        verb = command[command.index("flwr") + 2]
        self.commands.append(verb)
        return _Command(self.meanwhile.pop(verb, None), json.dumps(self._answer(verb, command)))

    def _answer(self, verb: str, command: list[str]) -> dict[str, Any]:
        if verb == "register":
            node = max([*self.nodes, *self.gone], default=100) + 1
            self.nodes[node] = command[command.index("--name") + 1]
            return {"success": True, "node-id": node}
        if verb == "unregister":
            node = int(command[command.index("unregister") + 1])
            if self.nodes.pop(node, None) is None:
                return {"success": False, "error-message": "Node ID not found for account."}
            self.gone.add(node)
        listed = dict.fromkeys(self.nodes, "online") | dict.fromkeys(self.gone, "unregistered")
        return {"success": True, "nodes": [{"node-id": node, "status": status} for node, status in listed.items()]}


@dataclass
class _Command:
    """Ends with its second look where something happens meanwhile, else with the first."""

    meanwhile: Callable[[], object] | None
    answer: str

    def __enter__(self) -> _Command:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""

    def kill(self) -> None:
        """Nothing to kill."""

    def communicate(self, timeout: float) -> tuple[str, str]:
        if self.meanwhile is None:
            return self.answer, ""
        event, self.meanwhile = self.meanwhile, None
        event()
        raise subprocess.TimeoutExpired("flwr", timeout)


@dataclass
class Hub:
    """A daemon whose processes are none, and who may do what in its home."""

    home: HubHome
    daemon: HubDaemon
    flower: Flower
    folder: Path

    @property
    def registry(self) -> Registry:
        return Registry(self.home.sites_file)

    def admit(self, name: str) -> None:
        self.registry.invite(name)
        self.registry.approve(asked(self.registry, name, self.folder / name))

    def listed(self) -> set[str]:
        """The sites whose certificate nginx would take."""
        text = (self.home.proxy / "nginx.conf").read_text()
        return {s.name for s in self.registry.sites().values() if proxy_fingerprint(s.certificate) in text}

    def turn(self, times: int = 3) -> None:
        """So many turns of the daemon's loop."""
        for _ in range(times):
            self.daemon._tend()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    home, flower = HubHome(tmp_path / "hub"), Flower()
    create(home, HubConfig())
    monkeypatch.setattr("common.services.supervisor.Child.tend", lambda self: False)
    monkeypatch.setattr(control.subprocess, "Popen", flower)
    daemon = HubDaemon(home)
    monkeypatch.setattr(daemon, "_ready", True)
    return Hub(home, daemon, flower, tmp_path)


def test_flower_is_left_alone_once_it_has_followed_a_revocation(hub: Hub) -> None:
    hub.admit("north")
    hub.turn()
    hub.registry.revoke("north")
    hub.turn()
    assert hub.flower.gone and not hub.flower.nodes
    hub.flower.commands.clear()
    hub.turn()
    assert not hub.flower.commands


def test_a_site_that_is_revoked_while_another_is_registered_is_out_with_the_next_turn(hub: Hub) -> None:
    hub.admit("a")
    hub.turn()
    assert set(hub.flower.nodes.values()) == hub.listed() == {"a"}
    hub.admit("b")
    hub.flower.meanwhile["register"] = lambda: hub.registry.revoke("a")
    hub.turn()
    assert set(hub.flower.nodes.values()) == hub.listed() == {"b"}


def test_two_sites_that_are_approved_one_after_the_other_are_both_registered(hub: Hub) -> None:
    hub.admit("a")
    hub.flower.meanwhile["register"] = lambda: hub.admit("b")
    hub.turn()
    assert set(hub.flower.nodes.values()) == {"a", "b"}


def test_the_proxy_does_not_wait_for_flowers_command(hub: Hub) -> None:
    hub.admit("a")
    hub.turn()
    hub.admit("b")
    seen: list[set[str]] = []
    hub.flower.meanwhile["list"] = lambda: hub.registry.revoke("a")
    hub.flower.meanwhile["register"] = lambda: seen.append(hub.listed())
    hub.turn(1)
    assert seen == [{"b"}], "nginx knew it before the next command began"


def test_an_approval_does_not_cut_the_command_that_runs(hub: Hub) -> None:
    hub.admit("a")
    seen: list[set[str]] = []
    hub.flower.meanwhile["list"] = lambda: hub.admit("b")
    hub.flower.meanwhile["register"] = lambda: seen.append(hub.listed())
    hub.turn(1)
    assert seen == [{"a"}]
    hub.turn(1)
    assert hub.listed() == {"a", "b"}


def test_a_change_counts_though_the_clock_was_set_back(hub: Hub) -> None:
    hub.admit("a")
    hub.turn()
    hub.registry.revoke("a")
    os.utime(hub.home.sites_file, (1.0, 1.0))
    hub.turn(1)
    assert not hub.listed() and not hub.flower.nodes


def test_a_register_that_cannot_be_read_is_complained_of_once_and_ends_nothing(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.admit("a")
    hub.turn()
    whole = hub.home.sites_file.read_bytes()
    hub.home.sites_file.unlink()
    with caplog.at_level(logging.WARNING, "oncofed.hub"):
        hub.turn(4)
    assert sum("nginx keeps its list" in record.message for record in caplog.records) == 1
    hub.home.sites_file.write_bytes(whole)
    hub.registry.revoke("a")
    hub.turn()
    assert not hub.listed() and not hub.flower.nodes


def test_a_lost_secret_does_not_end_a_running_hub(hub: Hub) -> None:
    hub.admit("a")
    hub.turn()
    secret = hub.home.proxy_secret.read_bytes()
    hub.home.proxy_secret.unlink()
    hub.registry.revoke("a")
    hub.turn()
    assert hub.listed() == {"a"} and not hub.flower.nodes
    hub.home.proxy_secret.write_bytes(secret)
    hub.turn(1)
    assert not hub.listed()


def test_a_hub_that_starts_anew_honours_no_ticket_of_before(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    Tickets.of(hub.home.path).issue(hub.home.runs / "x")
    monkeypatch.setattr("server.hub.daemon.Stop", lambda: SimpleNamespace(asked=True))
    hub.daemon.run()
    assert Tickets.of(hub.home.path).awaited() == set()
