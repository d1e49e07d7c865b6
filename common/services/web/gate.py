"""What stands before a page on this machine: who asks, by which name, from where, and what a browser may do with it.

Plain ASGI, so that it knows no web framework. It guards against other web pages in the same browser (cross-site
requests, frames, DNS rebinding) and against other users of the machine (the session).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from common.services.web.session import Session

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Answer = tuple[int, str, tuple[tuple[str, str], ...]]

SAFE_METHODS = frozenset({"GET", "HEAD"})
START = "/start"
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = (
    ("Content-Security-Policy", POLICY),
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
"""Of every answer: a patient's image is kept by no browser, loaded by no other page and sends nothing anywhere."""


class Gate:
    """Lets an application see only requests that its own pages or their reader made.

    Args:
        app: What is guarded.
        names: Values of the ``Host`` header that are answered, with the port.
        session: Of the one browser that may ask; ``START?token=...`` begins it.
        open_to_all: Paths that are answered without a session; no page with anything of a patient.
        closed: What whoever has no session is told.
    """

    def __init__(
        self, app: Application, names: Collection[str], session: Session, open_to_all: Collection[str], closed: str
    ) -> None:
        self._app, self._names, self._session = app, frozenset(names), session
        self._open, self._closed = frozenset(open_to_all), closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or hands it on."""
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        answer = self._answer(scope, headers)
        if answer is None:
            await self._app(scope, receive, _with_headers(send))
        else:
            await _send(answer, _with_headers(send))

    def _answer(self, scope: Scope, headers: dict[str, str]) -> Answer | None:
        if headers.get("host", "").lower() not in self._names:
            return 421, "This page answers to its own address only.", ()
        if scope["method"] not in SAFE_METHODS and not from_own_page(headers):
            return 403, "This came from another page than this program's, and was not done.", ()
        if scope["path"] == START and scope["method"] == "GET":
            return self._start(scope)
        if scope["path"] in self._open or self._session.holds(headers.get("cookie", "")):
            return None
        return 403, self._closed, ()

    def _start(self, scope: Scope) -> Answer:
        token = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        cookie = self._session.exchange(token)
        if cookie is None:
            return 403, f"This address was used already, or is not whole. {self._closed}", ()
        return 303, "", (("Location", "/"), ("Set-Cookie", cookie))


def from_own_page(headers: dict[str, str]) -> bool:
    """Returns whether an unsafe request came from a page of this program, or from no browser at all.

    ``Sec-Fetch-Site`` says so where a browser sends it, as all do to a loopback address; else ``Origin`` has to be the
    host that was asked. A request with neither is no browser's, so no other page made it.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _with_headers(send: Send) -> Send:
    fixed = [(name.lower().encode(), value.encode()) for name, value in HEADERS]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name for name, _ in fixed}
            kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in own]
            message["headers"] = [*kept, *fixed]
        await send(message)

    return sending


async def _send(answer: Answer, send: Send) -> None:
    status, text, extra = answer
    body = text.encode()
    headers = (("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), *extra)
    await send({
        "type": "http.response.start", "status": status,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
    })  # fmt: skip
    await send({"type": "http.response.body", "body": body})
