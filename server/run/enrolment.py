"""Who takes part: nodes are found, introduce themselves, and are compared with the hub."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from flwr.serverapp import Grid

from common.config.study import StudyConfig
from common.errors import ConfigError, FederationError, SiteCode, TrustError
from common.protocol.aggregation import MAX_TOTAL_WEIGHT
from common.protocol.messages import Request, SiteCard
from common.protocol.secure_sum import Announcement, summed_run
from common.trust.certificate import check_certificate
from common.trust.hospitals import HOSPITALS, pinned_register
from common.trust.kit import check_site_name
from server.hub.registry import Registry
from server.run.cards import Expected, card_fault
from server.run.exchange import POLL_SECONDS, ask
from server.run.heads import FILE, Heads, check_no_problem
from server.run.signer import Signer

log = logging.getLogger("oncofed")
REGISTER = "ONCOFED_HUB_SITES"
"""Names the hub's ``sites.json`` to the aggregator; set by the hub's daemon only."""


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


def enrol(
    grid: Grid, study: StudyConfig, run: str, expected: Expected, signer: Signer, *, rehearsal: bool = False
) -> Roster:
    """Returns the roster after asking every connected node once.

    Where a hub keeps a register of its sites (:func:`registered_sites`), all of them are waited for, a site may only
    speak under its own name and with the number of patients that the register has, and one that does not connect in
    time is refused as unavailable.

    Args:
        grid: Reaches the sites.
        study: The study.
        run: Identifier of the run, hex.
        expected: What a card must say of the model.
        signer: Signs the requests.
        rehearsal: Whether sites answer with synthetic patients.

    Raises:
        FederationError: Fewer nodes than the quorum connected within ``strategy.join_timeout`` seconds.
    """
    registered = registered_sites()
    nodes = wait_for_nodes(grid, study.strategy.quorum, study.strategy.join_timeout, expected=registered)
    request = Request(purpose="enrol", study=study, run=run, rehearsal=rehearsal)
    messages = signer.messages(request, {node: registered.get(node, "") for node in nodes})
    answers = ask(grid, messages, "query", study.strategy.round_timeout)
    ready = _ready(registered_keys()) if study.strategy.require_readiness else None
    expected = replace(expected, declared=registered_sizes(), ready=ready, summed=study.privacy.distributed)
    expected = replace(expected, signed=announcements_of(summed_run(run, rehearsal=rehearsal), study.digest()))
    roster = _roster(answers, registered, expected)
    if study.strategy.weighting == "declared":
        roster = _countable(roster)
    roster = _believed(roster)
    absent = {name: SiteCode.UNAVAILABLE for node, name in registered.items() if node not in nodes}
    return replace(roster, refused={**roster.refused, **absent})


def site_heads() -> Heads | None:
    """Returns the heads of the sites' ledgers beside the register; None without a register."""
    path = os.environ.get(REGISTER)
    return Heads(Path(path).with_name(FILE)) if path else None


def _believed(roster: Roster) -> Roster:
    """Refuses the sites whose ledger went back, until a person has accepted it."""
    kept = site_heads()
    if kept is None:
        return roster
    refused, heads = dict(roster.refused), kept.all()
    for name in roster.cards:
        try:
            check_no_problem(heads.get(name), name)
        except TrustError as error:
            log.warning("%s", error)
            refused[name] = SiteCode.LEDGER_WENT_BACK
    nodes = {name: node for name, node in roster.nodes.items() if name not in refused}
    return Roster(nodes=nodes, cards={name: roster.cards[name] for name in nodes}, refused=refused)


def registered_sites() -> dict[int, str]:
    """Returns node -> name of the approved sites, from the file named in ``ONCOFED_HUB_SITES``; empty without one."""
    path = os.environ.get(REGISTER)
    if not path:
        return {}
    return {site.node_id: site.name for site in Registry(Path(path)).by_status("approved") if site.node_id}


def registered_sizes() -> dict[str, int] | None:
    """Returns name -> declared patients of the approved sites; None without a register."""
    path = os.environ.get(REGISTER)
    if not path:
        return None
    return {site.name: site.declared_patients for site in Registry(Path(path)).by_status("approved")}


def announcements_of(run: str, study: str) -> Callable[[Announcement], bool] | None:
    """Returns whether an announcement for that run and study is one that the other hospitals believe.

    None where the hub has no register of their long-term keys: ``oncofed-hub trust-roster`` gives it one.

    Raises:
        TrustError: The register is damaged.
    """
    path = os.environ.get(REGISTER)
    keys = pinned_register(Path(path).with_name(HOSPITALS)) if path else {}
    return (lambda said: said.is_of(keys.get(said.site, ""), run, study)) if keys else None


def registered_keys() -> dict[str, str]:
    """Returns name -> Ed25519 key (hex) of the approved sites; empty without a register."""
    path = os.environ.get(REGISTER)
    return {site.name: site.signing_key for site in Registry(Path(path)).by_status("approved")} if path else {}


def _ready(keys: Mapping[str, str]) -> Callable[[SiteCard], bool]:
    """Returns whether a card carries its own site's certificate, unchanged and without an open error."""

    def ready(card: SiteCard) -> bool:
        found = card.readiness if isinstance(card.readiness, dict) else {}
        try:
            check_certificate(found, keys.get(card.site, "") if keys else None)
        except (TrustError, ValueError) as error:
            log.warning("%s: %s", card.site, error)
            return False
        return found.get("ready") is True and found.get("site") == card.site

    return ready


def wait_for_nodes(grid: Grid, quorum: int, timeout: float, expected: Mapping[int, str] | None = None) -> list[int]:
    """Returns the ids of the connected nodes once there are at least ``quorum`` and their number stands still.

    Flower's simulator shows its nodes one after the other, so a first look may see too few. With ``expected`` nodes
    no others count, and all of them are waited for until the time is over.

    Raises:
        FederationError: Too few connected in time.
    """
    deadline = time.monotonic() + timeout
    nodes: list[int] = []
    while (seen := _connected(grid, expected)) != nodes or len(nodes) < max(quorum, len(expected or ())):
        nodes = seen
        if time.monotonic() > deadline:
            if len(nodes) >= quorum:
                break
            raise FederationError(
                f"Only {len(nodes)} of at least {quorum} sites connected within {timeout:g} s; "
                "see that the sites' daemons run, or raise strategy.join_timeout"
            )
        time.sleep(POLL_SECONDS)
    return nodes


def _connected(grid: Grid, expected: Mapping[int, str] | None) -> list[int]:
    return sorted(node for node in grid.get_node_ids() if not expected or node in expected)


def _roster(answers: Iterable[tuple[int, object]], registered: Mapping[int, str], expected: Expected) -> Roster:
    nodes: dict[str, int] = {}
    cards: dict[str, SiteCard] = {}
    refused: dict[str, SiteCode] = {}
    for node, answer in sorted(answers, key=_cards_first):
        said = str(getattr(answer, "site", ""))
        name = registered.get(node) or _usable(said) or f"node-{node}"
        code = card_fault(answer, name, expected)
        if code is None and (name in nodes or said != name):
            code = SiteCode.BAD_REQUEST
        if isinstance(answer, SiteCard) and code is None:
            nodes[name], cards[name] = node, answer
        else:
            refused[name if name not in nodes else f"node-{node}"] = code or SiteCode.UNKNOWN
    return Roster(nodes=nodes, cards=cards, refused=refused)


def _cards_first(item: tuple[int, object]) -> tuple[bool, str]:
    """Orders answers by name, refusals last: one under a name that a card bears blames its own node."""
    return not isinstance(item[1], SiteCard), str(getattr(item[1], "site", ""))


def _countable(roster: Roster) -> Roster:
    """Refuses the largest declared cohorts until a sum of updates can hold the weights of all others."""
    cards, refused = dict(roster.cards), dict(roster.refused)
    while sum(card.declared_patients for card in cards.values()) > MAX_TOTAL_WEIGHT:
        largest = max(cards, key=lambda name: cards[name].declared_patients)
        del cards[largest]
        refused[largest] = SiteCode.BAD_REQUEST
    return Roster(nodes={name: roster.nodes[name] for name in cards}, cards=cards, refused=refused)


def _usable(said: str) -> str:
    """Returns the name that a site gives itself when files may bear it, else nothing."""
    try:
        return check_site_name(said)
    except ConfigError:
        return ""
