"""What stands before a page on this machine: only its own address, its own forms, and the browser with the token."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.services.web.gate import HEADERS, Gate, Message, Receive, Scope, Send, from_own_page
from common.services.web.session import HOURS, Session

NAMES = ("127.0.0.1:8000", "localhost:8000")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def session(clock: Clock) -> Session:
    return Session("oncofed-read-8000", clock)


async def _page(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"public")]})
    await send({"type": "http.response.body", "body": b"a patient"})


def ask(session: Session, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Returns status, headers and body of one request; ``host`` is right unless named."""
    target, _, query = path.partition("?")
    sent = {"host": NAMES[0]} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        "type": "http", "method": method, "path": target, "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
    }  # fmt: skip
    told: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        told.append(message)

    gate = Gate(_page, NAMES, session, ["/open.css"], "Closed.")
    asyncio.run(gate(scope, receive, send))
    found = {name.decode(): value.decode() for name, value in told[0]["headers"]}
    assert len(found) == len(told[0]["headers"])  # no header twice
    return told[0]["status"], found, b"".join(one.get("body", b"") for one in told[1:])


def cookie_of(session: Session) -> str:
    _, headers, _ = ask(session, f"/start?token={session.token}")
    return headers["set-cookie"].partition(";")[0]


def test_a_token_is_exchanged_once_for_a_cookie_that_no_script_and_no_other_site_gets(session: Session) -> None:
    assert ask(session)[0] == 403
    status, headers, _ = ask(session, f"/start?token={session.token}")
    assert status == 303 and headers["location"] == "/" and session.token not in headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(headers["set-cookie"].split("; "))
    assert ask(session, cookie=headers["set-cookie"].partition(";")[0])[2] == b"a patient"
    assert ask(session, f"/start?token={session.token}")[0] == 403


@given(st.text(max_size=60))
def test_no_other_token_and_no_other_cookie_opens_it(text: str) -> None:
    session = Session("oncofed-read-8000")
    assert session.exchange(text) is None
    assert not session.holds(f"oncofed-read-8000={text}")
    session.exchange(session.token)
    assert not session.holds(f"oncofed-read-8000={text}") and not session.holds(text)


def test_a_session_ends_with_the_working_day(session: Session, clock: Clock) -> None:
    cookie = cookie_of(session)
    clock.now = HOURS * 3600 - 1
    assert ask(session, cookie=cookie)[0] == 200
    clock.now += 1
    assert ask(session, cookie=cookie)[0] == 403


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:9", "localhost:8000.evil.example", ""])
def test_another_name_is_refused_even_with_the_cookie(session: Session, host: str) -> None:
    status, _, body = ask(session, cookie=cookie_of(session), host=host)
    assert status == 421 and b"patient" not in body


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "none"}, True),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site"}, False),  # another port of this machine
        ({"sec_fetch_site": "cross-site", "origin": "http://127.0.0.1:8000"}, False),
        ({"origin": "http://127.0.0.1:8000"}, True),
        ({"origin": "http://127.0.0.1:8001"}, False),
        ({"origin": "null"}, False),
        ({}, True),
    ],
)
def test_a_form_of_another_page_is_not_done(session: Session, headers: dict[str, str], allowed: bool) -> None:
    cookie = cookie_of(session)
    assert (ask(session, method="POST", cookie=cookie, **headers)[0] == 200) is allowed
    assert ask(session, cookie=cookie, **headers)[0] == 200  # a link may lead here from anywhere
    own = {name.replace("_", "-"): value for name, value in headers.items()}
    assert from_own_page(own | {"host": NAMES[0]}) is allowed


def test_every_answer_is_kept_by_nobody_and_framed_by_nobody(session: Session) -> None:
    cookie = cookie_of(session)
    for path, more in (("/", {"cookie": cookie}), ("/", {}), ("/open.css", {}), ("/", {"host": "evil.example"})):
        _, headers, _ = ask(session, path, **more)
        assert {name.lower(): value for name, value in HEADERS}.items() <= headers.items()
        assert headers["cache-control"] == "no-store" and "frame-ancestors 'none'" in headers["content-security-policy"]


def test_what_is_open_to_all_needs_no_session_and_nothing_beside_it_is_open(session: Session) -> None:
    answers: dict[str, Any] = {path: ask(session, path)[0] for path in ("/open.css", "/open.css/", "/open.cs", "//")}
    assert answers == {"/open.css": 200, "/open.css/": 403, "/open.cs": 403, "//": 403}
