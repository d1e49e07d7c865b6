"""Flower sends the text of an exception that leaves a ClientApp to the hub, so none may leave it, whatever is wrong.

On the code before, three ways led there: a message that holds an error in place of a request, a kind of message that
no handler is for, and a request that passed its deadline at a site whose settings or journal could not be used; the
text then named the site's folder, and no journal had it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Error, Message, RecordDict

from client.app import app
from client.node.worker import bounded, wordless
from common.protocol.messages import Refusal, unpack_answer
from simulations.engine.grid import InProcessGrid


def as_it_came(message: Message) -> Message:
    return message


def an_error_in_its_place(message: Message) -> Message:
    return Message(Error(code=0, reason="none"), reply_to=message)


def asked(answers: Any, seconds: float, kind: str = "query", change: Callable[[Message], Message] = as_it_came) -> Any:
    """Returns what leaves a worker that gets a message of that kind, changed on its way."""

    def worker(message: Message, context: Context) -> Message:
        return bounded(answers, seconds)(change(message), context)  # type: ignore[no-any-return]

    (reply,) = InProcessGrid(worker, num_nodes=1).send_and_receive([Message(RecordDict(), 1, kind)])
    return reply.content


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a site whose settings cannot be read."""
    monkeypatch.setenv("ONCOFED_SITE_HOME", str(tmp_path))
    (tmp_path / "site.yaml").write_text("name: [")
    return tmp_path


def never(message: Message, context: Context) -> Message:
    """Does not end before the test has."""
    threading.Event().wait()
    return message


@pytest.mark.parametrize(
    ("answers", "seconds", "kind", "change"),
    [
        (app, 60.0, "query", an_error_in_its_place),
        (app, 60.0, "query.of_no_handler", as_it_came),
        (never, 0.01, "query", as_it_came),
    ],
    ids=["an error", "no handler", "too late"],
)
@pytest.mark.parametrize("journal", [True, False])
def test_what_leaves_is_a_code_and_no_exception(
    home: Path, answers: Any, seconds: float, kind: str, change: Callable[[Message], Message], journal: bool
) -> None:
    if not journal:
        (home / "egress.jsonl").mkdir()
    content = asked(answers, seconds, kind, change)
    assert isinstance(unpack_answer(content), Refusal)
    assert str(home) not in str(content)


def test_where_flower_itself_breaks_off_its_error_has_no_text() -> None:
    """A hub names the app bundle, and Flower looks for its folder before it calls the app."""
    error = wordless(code=2, reason="<class 'OSError'>:<'/srv/north/.flwr/apps'>")
    assert (error.code, error.reason) == (2, "")
