"""One round: ask every site to train, check and combine what comes, ask every site to score the result."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from common.config.study import EvaluationConfig, StudyConfig
from common.errors import DataError, FederationError, SiteCode
from common.evaluation.scores import ScoreState
from common.protocol.aggregation import Arrays, difference, norm
from common.protocol.messages import DocumentAnswer, Purpose, Refusal, Request, SiteCard, TrainAnswer
from common.training.honest_sums import is_honest
from server.run.cards import scores_fit
from server.run.clipping import Limits, Waiting, clipped, common_limit
from server.run.enrolment import Roster, wait_for_nodes
from server.run.exchange import ask
from server.run.signer import Signer
from server.run.strategy import Combiner, missing_quorum
from server.run.updates import CheckedUpdate, checked_update, moves

log = logging.getLogger("oncofed")
FINAL = frozenset({SiteCode.BUDGET_REFUSED, SiteCode.POLICY_REFUSED})
"""Refusals that later rounds would only repeat."""


@dataclass(frozen=True, slots=True)
class Federation:
    """What stays the same over a run: whom to reach and what for."""

    grid: Grid
    study: StudyConfig
    run: str
    roster: Roster
    signer: Signer
    rehearsal: bool = False

    def limits(self, parameters: int, round_index: int) -> Limits:
        """Returns the largest norms of the sites' updates of ``parameters`` trained coordinates in a round."""
        declared = {site: card.declared_patients for site, card in self.roster.cards.items()}
        return Limits(self.study, declared, parameters, round_index)

    def ask_sites(self, purpose: Purpose, sites: Mapping[str, int], **fields: Any) -> dict[str, Any]:
        """Returns each site's answer or refusal to one request, by name, sorted."""
        answers = dict(self.stream(purpose, sites, **fields))
        return dict(sorted(answers.items()))

    def stream(self, purpose: Purpose, sites: Mapping[str, int], **fields: Any) -> Any:
        """Yields ``(site, answer)`` in the order of arrival, those who are out of reach last.

        After an outage of the hub itself these are waited for, ``strategy.join_timeout`` at most, and asked once more.
        """
        request = Request(purpose=purpose, study=self.study, run=self.run, rehearsal=self.rehearsal, **fields)
        names, away = {node: site for site, node in sites.items()}, threading.Event()
        silent: dict[int, Refusal] = {}
        for node, answer in self._ask(request, names, away):
            if isinstance(answer, Refusal) and answer.code is SiteCode.UNAVAILABLE:
                silent[node] = answer
            else:
                yield names[node], answer
        again: Iterable[tuple[int, Any]] = silent.items()
        if silent and away.is_set():
            log.warning("The hub was out of reach itself; it asks once more: %s", ", ".join(names[n] for n in silent))
            wait_for_nodes(self.grid, 0, self.study.strategy.join_timeout, expected={n: names[n] for n in silent})
            again = self._ask(request, {node: names[node] for node in silent}, away)
        for node, answer in again:
            yield names[node], answer

    def _ask(self, request: Request, names: Mapping[int, str], away: threading.Event) -> Any:
        kind: Any = request.purpose if request.purpose in ("train", "evaluate") else "query"
        timeout = self.study.strategy.round_timeout
        return ask(self.grid, self.signer.messages(request, names), kind, timeout, away)


class QuorumLost(FederationError):
    """Too few valid updates came.

    Attributes:
        failures: Sites whose update did not come or count, with the code.
        by_silence: Whether the sites that could not be reached would have made the quorum; they may be back soon.
    """

    def __init__(self, text: str, *, failures: Mapping[str, SiteCode], by_silence: bool) -> None:
        super().__init__(text)
        self.failures, self.by_silence = failures, by_silence


@dataclass(slots=True)
class RoundResult:
    """What a round brought.

    Attributes:
        arrays: New global weights.
        joined: Sites whose update counted.
        failures: Sites whose update did not, with the code.
        epsilon: Epsilon that each private site has spent on this study.
        update_norm: L2 norm of the global model's movement.
        norms: L2 norm of each update that counted, as it came.
        clipped: The limit to which an update was scaled down, for sites whose update was longer.
        attempts: How often the sites were asked.
        scaled_to: The length to which a secure sum was scaled down, where it was longer than an honest one can be.
    """

    arrays: Mapping[str, NDArray[np.float32]]
    joined: list[str]
    failures: dict[str, SiteCode]
    epsilon: dict[str, float]
    update_norm: float
    norms: dict[str, float] = field(default_factory=dict)
    clipped: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    attempts: int = 1
    scaled_to: float | None = None


def train_round(
    federation: Federation, combiner: Combiner, round_index: int, arrays: Arrays, sites: Mapping[str, int]
) -> RoundResult:
    """Returns the combined result of one round.

    Raises:
        QuorumLost: Fewer valid updates than the quorum.
        FederationError: The global model has not moved, though no site in particular is to blame.
    """
    started = time.monotonic()
    combiner.begin(round_index, arrays)
    taking = _Taking(federation, combiner, round_index, arrays)
    try:
        for site, answer in federation.stream("train", sites, round_index=round_index, arrays=arrays):
            taking.take(site, answer)
        taking.require_movement()
        require_quorum(federation, taking.result, round_index)
        result = taking.finish()
    finally:
        taking.waiting.close()
    if result.update_norm == 0.0:
        raise not_moved(round_index)
    result.seconds = time.monotonic() - started
    return result


def not_moved(round_index: int) -> FederationError:
    """Returns the error of a round that left the model where it was."""
    return FederationError(f"The global model did not move in round {round_index}: no update had any effect")


def require_quorum(federation: Federation, result: RoundResult, round_index: int) -> None:
    """Refuses a round that too few sites joined.

    Raises:
        QuorumLost: Says who was lost and by which code.
    """
    strategy, cards = federation.study.strategy, federation.roster.cards
    joined = {site: cards[site].declared_patients for site in result.joined}
    if not (missing := missing_quorum(strategy, joined)):
        return
    silent = {s: cards[s].declared_patients for s, code in result.failures.items() if code is SiteCode.UNAVAILABLE}
    lost = ", ".join(f"{site} ({code})" for site, code in sorted(result.failures.items()))
    raise QuorumLost(
        f"Round {round_index} lost its quorum: {missing}; lost: {lost}",
        failures=result.failures,
        by_silence=not missing_quorum(strategy, joined | silent),
    )


class _Taking:
    """Checks and combines the updates of one round as they come."""

    def __init__(self, federation: Federation, combiner: Combiner, round_index: int, arrays: Arrays) -> None:
        self._federation, self._combiner, self._round, self._arrays = federation, combiner, round_index, arrays
        self._start_norm = norm(arrays)
        self._limits = federation.limits(sum(values.size for values in arrays.values()), round_index)
        self.waiting = Waiting()
        self._still: list[str] = []
        self.result = RoundResult(arrays=arrays, joined=[], failures={}, epsilon={}, update_norm=0.0)

    def take(self, site: str, answer: object) -> None:
        """Counts one site's answer, or says why it does not count."""
        update = self._checked(site, answer)
        if isinstance(update, Refusal):
            self.result.failures[site] = update.code
            return
        if not moves(self._arrays, update.arrays):
            return self._still.append(site)
        self.result.joined.append(site)
        self.result.norms[site] = update.norm
        if isinstance(answer, TrainAnswer) and answer.epsilon_spent is not None:
            self.result.epsilon[site] = answer.epsilon_spent
        if self._limits.known_before:
            self._add(site, update, self._limits.of_update(site, self._start_norm, update))
        else:
            self.waiting.put(site, update)

    def require_movement(self) -> None:
        """Names the sites whose update would leave the model as it is, where those of others move it.

        Krum can choose such an update, which nobody needs patients for, and the run would end for it.

        Raises:
            FederationError: No update moves the model, so the study is to blame.
        """
        if self._still and not self.result.joined:
            raise not_moved(self._round)
        self.result.failures |= dict.fromkeys(self._still, SiteCode.BAD_UPDATE)

    def finish(self) -> RoundResult:
        """Returns the round's result, with the new global weights."""
        norms = self.waiting.norms
        limit = common_limit(norms)
        for site in sorted(norms):
            self._add(site, self.waiting.take(site), limit)
        self.result.joined.sort()
        self.result.arrays = self._combiner.finish()
        self.result.update_norm = norm(difference(self.result.arrays, self._arrays))
        return self.result

    def _checked(self, site: str, answer: object) -> CheckedUpdate | Refusal:
        if isinstance(answer, Refusal):
            return answer
        strategy = self._federation.study.strategy
        study, declared = self._federation.study, self._federation.roster.cards[site].declared_patients
        update = checked_update(
            answer,
            site=site,
            round_index=self._round,
            weight=declared if strategy.weighting == "declared" else 1,
            arrays=self._arrays,
            max_norm=strategy.max_update_norm,
        )
        honest = isinstance(update, Refusal) or is_honest(study, declared, self._round, self._arrays, update.arrays)
        return update if honest else Refusal(site=site, code=SiteCode.BAD_UPDATE)

    def _add(self, site: str, update: CheckedUpdate, limit: float) -> None:
        if update.norm > limit:
            self.result.clipped[site] = limit
        self._combiner.add(site, clipped(update, limit))


def score_states(
    answers: Mapping[str, Any], rules: EvaluationConfig, cards: Mapping[str, SiteCard], split: str
) -> tuple[dict[str, ScoreState], dict[str, SiteCode]]:
    """Returns the valid score states of ``split`` by site, and the sites without one with the code.

    A state is valid if its counts could be those of the cohort that the site's card describes.
    """
    states: dict[str, ScoreState] = {}
    failures: dict[str, SiteCode] = {}
    for site, answer in answers.items():
        if isinstance(answer, Refusal):
            failures[site] = answer.code
            continue
        state = _state(answer, site, rules.bins)
        if state is None or not scores_fit(cards[site], split, state, noise=rules.noise):
            failures[site] = SiteCode.BAD_ANSWER
        else:
            states[site] = state
    return states, failures


def _state(answer: object, site: str, bins: int) -> ScoreState | None:
    if not isinstance(answer, DocumentAnswer) or answer.site != site:
        return None
    try:
        return ScoreState.from_json(answer.document, bins)
    except DataError:
        return None
