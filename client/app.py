"""The hospital's Flower ClientApp: each handler opens the site, answers, journals what leaves.

Whatever goes wrong at a site leaves it as a code. The text stays in the site's log.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client.site import egress
from client.site.hospital import Site
from client.site.opening import open_site
from client.site.pause import check_answers
from client.site.proof import check_proof
from client.site.rehearsal import twin
from client.site.site_file import HOME_VARIABLE, SiteHome, site_home
from common.errors import OncoFedError, SiteCode
from common.protocol.messages import Answer, Refusal, Request, pack_answer, unpack_request
from common.protocol.signed_request import bind, claims_digest

log = logging.getLogger("oncofed.site")
app = ClientApp()
Handler = Callable[[Site, Request], Answer]


@app.query()
def query(message: Message, context: Context) -> Message:
    """Answers an enrolment, baseline, attention or statement request."""
    handlers: dict[str, Handler] = {
        "enrol": Site.enrol, "baseline": Site.baseline, "attention": Site.attention, "statement": Site.statement,
    }  # fmt: skip
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
    asked = message.content if message.has_content() else RecordDict()  # a hub can send an error in place of it
    try:
        content = _answer(asked, context, handlers)
    except Exception:
        log.exception("The answer could not be journalled, so nothing left")
        content = bind(pack_answer(Refusal(site="", code=SiteCode.UNKNOWN)), claims_digest(asked))
    return Message(content=content, reply_to=message)


def _answer(content: RecordDict, context: Context, handlers: dict[str, Handler]) -> RecordDict:
    try:
        site = open_site(context)
    except OncoFedError as error:
        log.warning("This node has no site (%s): %s", error.code, error)
        return _journalled(_hospital(), Refusal(site="", code=error.code), claims_digest(content))
    except Exception:
        log.exception("This node's site cannot be opened")
        return _journalled(_hospital(), Refusal(site="", code=SiteCode.UNKNOWN), claims_digest(content))
    request: Request | None = None
    try:
        request = unpack_request(content)
        check_answers(SiteHome(site.home))
        if site.hub_key:
            check_proof(site.home, site.name, site.hub_key, request, content)
        answering = twin(site, request) if request.rehearsal else site
        answer: Answer | Refusal = handlers[request.purpose](answering, request)
    except OncoFedError as error:
        log.warning("%s refused (%s): %s", site.name, error.code, error)
        answer = Refusal(site=site.name, code=error.code)
    except Exception:
        log.exception("%s failed while answering", site.name)
        answer = Refusal(site=site.name, code=SiteCode.TRAINING_FAILED)
    return _journalled(SiteHome(site.home), answer, claims_digest(content), request)


def _journalled(
    home: SiteHome | None, answer: Answer | Refusal, claims: str, request: Request | None = None
) -> RecordDict:
    """Returns the answer as it leaves, bound to its request, once the journal has it; a node that is no site has none.

    Args:
        home: Where the journal is.
        answer: What the site says.
        claims: Digest of the claims of the request.
        request: What was asked, where it could be read.
    """
    packed = bind(pack_answer(answer), claims)
    if home is not None:
        egress.append(
            home.egress,
            purpose=_purpose(request),
            run=request.run if request else "",
            round_index=request.round_index if request else 0,
            content=packed,
            refusal=answer.code if isinstance(answer, Refusal) else None,
        )
    return packed


def _purpose(request: Request | None) -> str:
    """Returns what the journal says of a request; a rehearsal told nothing of a patient."""
    if request is None:
        return "unread"
    return f"rehearsal of {request.purpose}" if request.rehearsal else request.purpose


def _hospital() -> SiteHome | None:
    """Returns the home of this node's hospital, whatever is wrong with it; None in a simulation."""
    home = site_home()
    return home if os.environ.get(HOME_VARIABLE) and home.path.is_dir() else None
