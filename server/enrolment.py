"""Who takes part: nodes are found, introduce themselves, and are compared with the hub."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flwr.serverapp import Grid

from common.config import StudyConfig
from common.errors import FederationError, SiteCode
from common.messages import Refusal, Request, SiteCard, pack_request
from common.provenance import code_digest
from server.exchange import POLL_SECONDS, ask


@dataclass(frozen=True, slots=True)
class Roster:
    """The sites of a run, in the order of their names.

    Attributes:
        nodes: Flower's node id of each site that takes part.
        cards: Its card.
        refused: Sites (or nodes, when they gave no name) that do not take part, with the code.
    """

    nodes: Mapping[str, int]
    cards: Mapping[str, SiteCard]
    refused: Mapping[str, SiteCode]


def enrol(grid: Grid, study: StudyConfig, run: str) -> Roster:
    """Returns the roster after asking every connected node once.

    Raises:
        FederationError: Fewer nodes than the quorum connected within ``strategy.join_timeout`` seconds.
    """
    nodes = wait_for_nodes(grid, study.strategy.quorum, study.strategy.join_timeout)
    content = pack_request(Request(purpose="enrol", study=study, run=run))
    answers = ask(grid, dict.fromkeys(nodes, content), "query", study.strategy.round_timeout)
    return _roster(answers, study)


def wait_for_nodes(grid: Grid, quorum: int, timeout: float) -> list[int]:
    """Returns the ids of the connected nodes once there are at least ``quorum`` and their number stands still.

    Flower's simulator shows its nodes one after the other, so a first look may see too few.

    Raises:
        FederationError: Too few connected in time.
    """
    deadline = time.monotonic() + timeout
    nodes: list[int] = []
    while (seen := sorted(grid.get_node_ids())) != nodes or len(nodes) < quorum:
        nodes = seen
        if len(nodes) < quorum and time.monotonic() > deadline:
            raise FederationError(
                f"Only {len(nodes)} of at least {quorum} sites connected within {timeout:g} s; "
                "see that the sites' daemons run, or raise strategy.join_timeout"
            )
        time.sleep(POLL_SECONDS)
    return nodes


def _roster(answers: Iterable[tuple[int, object]], study: StudyConfig) -> Roster:
    nodes: dict[str, int] = {}
    cards: dict[str, SiteCard] = {}
    refused: dict[str, SiteCode] = {}
    for node, answer in sorted(answers, key=lambda item: str(getattr(item[1], "site", ""))):
        name = str(getattr(answer, "site", "")) or f"node-{node}"
        code = _verdict(answer, name in nodes, next(iter(cards.values()), None))
        if isinstance(answer, SiteCard) and code is None:
            nodes[name], cards[name] = node, answer
        else:
            refused[name if name not in nodes else f"{name}-{node}"] = code or SiteCode.UNKNOWN
    return Roster(nodes=nodes, cards=cards, refused=refused)


def _verdict(answer: object, name_taken: bool, first: SiteCard | None) -> SiteCode | None:
    if isinstance(answer, Refusal):
        return answer.code
    if not isinstance(answer, SiteCard) or name_taken or answer.declared_patients < 1:
        return SiteCode.BAD_REQUEST
    if answer.code_digest != code_digest():
        return SiteCode.MODEL_MISMATCH
    same = first is None or (answer.input_shape, answer.frozen_digest) == (first.input_shape, first.frozen_digest)
    return None if same else SiteCode.MODEL_MISMATCH
