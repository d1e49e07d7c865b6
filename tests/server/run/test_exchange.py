"""Whatever a site sends, or holds back, ends in a code for that site; what the others sent is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from flwr.app import Error, Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from common.errors import SiteCode
from common.protocol.messages import DocumentAnswer, Refusal, pack_answer
from server.run import exchange
from server.run.exchange import ask

TIMEOUT = 600.0
Pull = Callable[[Message], list[Message]]


def answered(request: Message) -> list[Message]:
    answer = DocumentAnswer(site=f"site_{request.metadata.dst_node_id}", document={})
    return [Message(pack_answer(answer), reply_to=request)]


def raising(error: Exception) -> Pull:
    def pull(request: Message) -> list[Message]:
        raise error

    return pull


class Link:
    """Stands in for the grid of a SuperLink: each node's pull does what the test says, whoever else is asked for."""

    def __init__(self, pulls: dict[int, Pull]) -> None:
        self._pulls = pulls
        self._requests: dict[str, Message] = {}

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        for message in messages:
            self._requests[f"m{message.metadata.dst_node_id}"] = message
        return list(self._requests)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        requests = [self._requests[message_id] for message_id in message_ids]
        return [reply for request in requests for reply in self._pulls[request.metadata.dst_node_id](request)]


def asked(pulls: dict[int, Pull]) -> Iterator[tuple[int, Any]]:
    return ask(Link(pulls), {node: RecordDict() for node in pulls}, "query", TIMEOUT)  # type: ignore[arg-type]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The exchange's clock, which stands still until a test sets ``now``."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(exchange, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def dripping() -> Iterator[Pull]:
    """A pull that does not return before the test has ended, as of a site that sends its objects drop by drop."""
    ended = threading.Event()

    def pull(request: Message) -> list[Message]:
        ended.wait(60)
        return []

    yield pull
    ended.set()


def test_a_site_for_which_the_hub_takes_no_message_is_out_of_reach() -> None:
    class Full(Link):
        def push_messages(self, messages: Iterable[Message]) -> list[str | None]:  # type: ignore[override]
            return [name if name == "m2" else None for name in super().push_messages(messages)]

    answers = dict(
        ask(Full({1: answered, 2: answered, 3: answered}), dict.fromkeys((1, 2, 3), RecordDict()), "query", TIMEOUT)
    )  # type: ignore[arg-type]
    assert isinstance(answers[2], DocumentAnswer)
    assert [answers[node] for node in (1, 3)] == [Refusal(site="", code=SiteCode.UNAVAILABLE)] * 2


def test_a_site_that_never_finishes_sending_holds_up_nobody(clock: SimpleNamespace, dripping: Pull) -> None:
    answers = asked({1: dripping, 2: answered, 3: answered})
    arrived = dict([next(answers), next(answers)])
    assert {node: answer.site for node, answer in arrived.items()} == {2: "site_2", 3: "site_3"}
    clock.now = TIMEOUT + 1
    assert list(answers) == [(1, Refusal(site="", code=SiteCode.NO_ANSWER))]


@pytest.mark.parametrize(("seconds", "seen"), [(1.0, False), (30.0, True)])
def test_a_hub_that_could_not_look_is_noticed(clock: SimpleNamespace, seconds: float, seen: bool) -> None:
    def slow(request: Message) -> list[Message]:
        clock.now += seconds
        return answered(request)

    away = threading.Event()
    assert len(list(ask(Link({1: slow}), {1: RecordDict()}, "query", TIMEOUT, away))) == 1  # type: ignore[arg-type]
    assert away.is_set() is seen


def test_what_arrived_in_time_is_kept_however_long_the_hub_was_busy_with_another(clock: SimpleNamespace) -> None:
    pulling: list[threading.Thread] = []
    both = threading.Barrier(2)

    def together(request: Message) -> list[Message]:
        pulling.append(threading.current_thread())
        both.wait(60)
        return answered(request)

    answers = asked({1: together, 2: together})
    arrived = dict([next(answers)])
    for thread in pulling:
        thread.join(60)
    clock.now = TIMEOUT + 1
    arrived |= dict(answers)
    assert {node: answer.site for node, answer in arrived.items()} == {1: "site_1", 2: "site_2"}


@given(passed=st.floats(0, 1e5), replies=st.integers(1, 1000))
def test_looks_are_quick_at_first_and_never_too_many(passed: float, replies: int) -> None:
    pause = exchange.pause_seconds(passed, replies)
    assert 0.02 <= pause <= max(0.2, replies / 10)
    assert replies / pause <= 50.001 or pause <= 0.1 * passed or pause == 0.02
    assert pause <= max(0.02, replies / 50, 0.1 * passed) and exchange.pause_seconds(passed + 1, replies) >= pause


def test_nobody_is_asked_any_more_once_the_answers_are_not_wanted() -> None:
    pulling: list[threading.Thread] = []

    def silent(request: Message) -> list[Message]:
        pulling.append(threading.current_thread())
        return []

    answers = asked({1: silent, 2: answered})
    assert next(answers)[0] == 2
    answers.close()  # type: ignore[attr-defined]
    for thread in pulling:
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize("error", [ValueError("no array"), RecursionError(), MemoryError(), KeyError("class")])
def test_a_reply_that_cannot_be_put_together_is_its_senders_failure(error: Exception) -> None:
    answers = dict(asked({1: raising(error), 2: answered}))
    assert answers == {1: Refusal(site="", code=SiteCode.BAD_UPDATE), 2: DocumentAnswer(site="site_2", document={})}


@pytest.mark.parametrize("error", [RecursionError(), MemoryError(), UnicodeError(), ArithmeticError()])
def test_no_error_of_reading_gets_past_the_site(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def unpack(content: RecordDict) -> None:
        raise error

    monkeypatch.setattr(exchange, "unpack_answer", unpack)
    assert dict(asked({1: answered})) == {1: Refusal(site="", code=SiteCode.BAD_UPDATE)}


def test_a_superlink_that_is_gone_is_no_sites_failure() -> None:
    with pytest.raises(httpx.ConnectError):
        list(asked({1: raising(httpx.ConnectError("gone")), 2: raising(httpx.ConnectError("gone"))}))


@pytest.mark.parametrize("status", [400, 413, 500])
def test_a_reply_that_the_superlink_cannot_hand_out_is_its_senders_failure(status: int) -> None:
    request = httpx.Request("POST", "http://hub")
    error = httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))
    answers = dict(asked({1: raising(error), 2: answered}))
    assert answers == {1: Refusal(site="", code=SiteCode.BAD_UPDATE), 2: DocumentAnswer(site="site_2", document={})}


@pytest.mark.parametrize(("code", "means"), [(3, SiteCode.UNAVAILABLE), (2, SiteCode.TRAINING_FAILED)])
def test_an_error_that_flower_reports_has_its_code(code: int, means: SiteCode) -> None:
    def failed(request: Message) -> list[Message]:
        return [Message(Error(code, "x"), reply_to=request)]

    assert dict(asked({1: failed})) == {1: Refusal(site="", code=means)}
