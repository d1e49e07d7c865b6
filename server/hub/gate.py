"""What the SuperLink's one port shows to whom, whatever stands or does not stand before it.

Flower authenticates hospitals, not operators: without the gate, whoever reaches the port could start and stop runs
and let sites in. Behind the proxy it is a second line, and it keeps the users of the hub's own machine from going
round the proxy; where there is none, it is the only one.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

FOR_HOSPITALS = "/v1/fleet/"
FOR_OPERATORS = "/v1/control/"
FOR_WORKERS = "/v1/runtime/"
FOR_ALL = "/health"
HERE = ("127.0.0.1", "::1")
OF_ROLE = {"site": FOR_HOSPITALS, "operator": FOR_OPERATORS}


class Gate:
    """ASGI middleware that answers 404 to whatever a caller should not find.

    Without a ``secret``, this machine finds all, and others find hospitals' paths. With one, callers prove themselves
    to the proxy, which alone knows it: the proxy's requests find the paths of their role, this machine those of the
    hub's own workers, others nothing.
    """

    def __init__(self, app: App, secret: str = "") -> None:
        self._app, self._secret = app, secret.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers it."""
        if scope["type"] == "lifespan" or self._may_pass(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

    def _may_pass(self, scope: Scope) -> bool:
        path = str(scope.get("path", ""))
        if path == FOR_ALL:
            return True
        if not self._secret:
            return _is_here(scope) or path.startswith(FOR_HOSPITALS)
        headers = dict(scope.get("headers") or ())
        if hmac.compare_digest(headers.get(b"x-oncofed-proxy", b""), self._secret):
            allowed = OF_ROLE.get(headers.get(b"x-oncofed-role", b"").decode("latin-1"))
            return allowed is not None and path.startswith(allowed)
        return _is_here(scope) and path.startswith(FOR_WORKERS)


def install(secret: str = "") -> None:
    """Puts the gate before Flower's SuperLink; call it before the SuperLink starts (one private name of Flower)."""
    from flwr.superlink import extensions

    vars(extensions)["configure_app"] = lambda app: app.add_middleware(Gate, secret=secret)


def _is_here(scope: Scope) -> bool:
    peer, own = ((scope.get(side) or ("",))[0] for side in ("client", "server"))
    return peer in HERE or (bool(peer) and peer == own)
