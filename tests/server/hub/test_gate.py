"""Who finds which path of the SuperLink, with a proxy before it and without."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import MutableMapping
from typing import Any

import pytest

from server.hub.gate import Gate

SECRET = "b" * 64


def _status(
    path: str,
    peer: str,
    own: str = "10.0.0.5",
    kind: str = "http",
    secret: str = "",
    shown: dict[bytes, bytes] | None = None,
) -> int | None:
    sent: list[MutableMapping[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def receive() -> MutableMapping[str, Any]:
        return {}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": kind, "path": path, "client": (peer, 1) if peer else None, "server": (own, 443)}
    scope["headers"] = list((shown or {}).items())
    asyncio.run(Gate(app, secret)(scope, receive, send))
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


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        (b"site", "/v1/fleet/pull-messages", 200),
        (b"site", "/v1/control/start-run", 404),
        (b"site", "/v1/runtime/acquire-task", 404),
        (b"operator", "/v1/control/start-run", 200),
        (b"operator", "/v1/fleet/pull-messages", 404),
        (b"operator", "/v1/runtime/acquire-task", 404),
        (b"", "/v1/fleet/pull-messages", 404),
        (b"Site", "/v1/fleet/pull-messages", 404),
        (b"site", "/docs", 404),
    ],
)
def test_what_the_proxy_passes_on_finds_the_paths_of_its_role(role: bytes, path: str, status: int) -> None:
    shown = {b"x-oncofed-proxy": SECRET.encode(), b"x-oncofed-role": role}
    assert _status(path, "127.0.0.1", secret=SECRET, shown=shown) == status


@pytest.mark.parametrize("claimed", [b"", b"a" * 64, SECRET[:-1].encode()])
@pytest.mark.parametrize("peer", ["127.0.0.1", "10.0.0.9"])
def test_with_a_secret_nobody_goes_round_the_proxy(peer: str, claimed: bytes) -> None:
    shown = {b"x-oncofed-proxy": claimed, b"x-oncofed-role": b"operator"}
    for path in ("/v1/control/start-run", "/v1/fleet/pull-messages", "/docs"):
        assert _status(path, peer, secret=SECRET, shown=shown) == 404
    workers = _status("/v1/runtime/acquire-task", peer, secret=SECRET, shown=shown)
    assert workers == (200 if peer == "127.0.0.1" else 404)


def test_flower_still_has_the_hook_that_the_gate_is_put_in() -> None:
    from flwr.superlink import extensions, main

    assert list(inspect.signature(extensions.configure_app).parameters) == ["app"]
    assert "extensions.configure_app(fastapi_app)" in inspect.getsource(main.create_app)
