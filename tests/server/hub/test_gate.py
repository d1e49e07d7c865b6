"""Hospitals see their paths, this machine sees all, nobody else sees anything."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import MutableMapping
from typing import Any

import pytest

from server.hub.gate import Gate


def _status(path: str, peer: str, own: str = "10.0.0.5", kind: str = "http") -> int | None:
    sent: list[MutableMapping[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def receive() -> MutableMapping[str, Any]:
        return {}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": kind, "path": path, "client": (peer, 1) if peer else None, "server": (own, 443)}
    asyncio.run(Gate(app)(scope, receive, send))
    return sent[0]["status"] if sent else None


@pytest.mark.parametrize("peer", ["10.0.0.9", "192.0.2.1", "127.0.0.2", "::2", ""])
@pytest.mark.parametrize(
    "path",
    ["/v1/control/start-run", "/v1/runtime/acquire-task", "/docs", "/", "//v1/fleet/x", "/v1/fleet", "/V1/fleet/x"],
)
def test_others_find_nothing_but_hospitals_paths(peer: str, path: str) -> None:
    assert _status(path, peer) == 404
    assert _status("/v1/fleet/pull-messages", peer) == 200
    assert _status("/health", peer) == 200


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "10.0.0.5"])
def test_this_machine_finds_everything(peer: str) -> None:
    assert _status("/v1/control/start-run", peer) == 200


def test_a_web_socket_of_others_is_not_answered() -> None:
    assert _status("/v1/control/start-run", "10.0.0.9", kind="websocket") is None


def test_flower_still_has_the_hook_that_the_gate_is_put_in() -> None:
    from flwr.superlink import extensions, main

    assert list(inspect.signature(extensions.configure_app).parameters) == ["app"]
    assert "extensions.configure_app(fastapi_app)" in inspect.getsource(main.create_app)
