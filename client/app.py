"""The hospital's Flower ClientApp: each handler opens the site, answers, journals what leaves.

Whatever goes wrong at a site leaves it as a code. The text stays in the site's log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client import egress
from client.opening import open_site
from client.site import Site
from common.errors import OncoFedError, SiteCode
from common.messages import Answer, Refusal, Request, pack_answer, unpack_request

log = logging.getLogger("oncofed.site")
app = ClientApp()
Handler = Callable[[Site, Request], Answer]


@app.query()
def query(message: Message, context: Context) -> Message:
    """Answers an enrolment, baseline or statement request."""
    handlers: dict[str, Handler] = {"enrol": Site.enrol, "baseline": Site.baseline, "statement": Site.statement}
    return _respond(message, context, handlers)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Trains one round and answers with the update."""
    return _respond(message, context, {"train": Site.train})


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Answers with the score state of the global model."""
    return _respond(message, context, {"evaluate": Site.evaluate})


def _respond(message: Message, context: Context, handlers: dict[str, Handler]) -> Message:
    try:
        content = _answer(message.content, context, handlers)
    except Exception:
        log.exception("The answer could not be journalled, so nothing left")
        content = pack_answer(Refusal(site="", code=SiteCode.UNKNOWN))
    return Message(content=content, reply_to=message)


def _answer(content: RecordDict, context: Context, handlers: dict[str, Handler]) -> RecordDict:
    try:
        site = open_site(context)
    except OncoFedError as error:
        log.warning("This node has no site (%s): %s", error.code, error)
        return pack_answer(Refusal(site="", code=error.code))
    purpose, run, round_index = "unread", "", 0
    try:
        request = unpack_request(content)
        purpose, run, round_index = request.purpose, request.run, request.round_index
        answer: Answer | Refusal = handlers[purpose](site, request)
    except OncoFedError as error:
        log.warning("%s refused (%s): %s", site.name, error.code, error)
        answer = Refusal(site=site.name, code=error.code)
    except Exception:
        log.exception("%s failed while answering", site.name)
        answer = Refusal(site=site.name, code=SiteCode.TRAINING_FAILED)
    packed = pack_answer(answer)
    egress.append(site.home / "egress.jsonl", purpose=purpose, run=run, round_index=round_index, content=packed)
    return packed
