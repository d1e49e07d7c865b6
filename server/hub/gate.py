"""What the SuperLink's one port shows to whom: hospitals' paths to everybody, all others to this machine only.

Flower authenticates hospitals, not operators: without the gate, whoever reaches the port could start and stop runs
and let sites in. The gate is a second line behind a proxy, and the only one where there is none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

FOR_HOSPITALS = "/v1/fleet/"
FOR_ALL = "/health"
HERE = ("127.0.0.1", "::1")


class Gate:
    """ASGI middleware that answers 404 to all but hospitals' requests, unless they come from this machine."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers it."""
        if scope["type"] == "lifespan" or self._may_pass(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

    def _may_pass(self, scope: Scope) -> bool:
        path = str(scope.get("path", ""))
        peer, own = ((scope.get(side) or ("",))[0] for side in ("client", "server"))
        here = peer in HERE or (bool(peer) and peer == own)
        return here or path == FOR_ALL or path.startswith(FOR_HOSPITALS)


def install() -> None:
    """Puts the gate before Flower's SuperLink; call it before the SuperLink starts (one private name of Flower)."""
    from flwr.superlink import extensions

    vars(extensions)["configure_app"] = lambda app: app.add_middleware(Gate)
