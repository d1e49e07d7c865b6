"""One round: ask every site to train, check and combine what comes, ask every site to score the result."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from common.aggregation import Arrays, Update, difference, norm
from common.config import StudyConfig
from common.errors import DataError, FederationError, SiteCode
from common.evaluation.scores import ScoreState
from common.messages import DocumentAnswer, Purpose, Refusal, Request, TrainAnswer
from server.enrolment import Roster
from server.exchange import ask
from server.signer import Signer
from server.strategy import Combiner, missing_quorum
from server.updates import checked_update

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

    def ask_sites(self, purpose: Purpose, sites: Mapping[str, int], **fields: Any) -> dict[str, Any]:
        """Returns each site's answer or refusal to one request, by name, sorted."""
        answers = dict(self.stream(purpose, sites, **fields))
        return dict(sorted(answers.items()))

    def stream(self, purpose: Purpose, sites: Mapping[str, int], **fields: Any) -> Any:
        """Yields ``(site, answer)`` in the order of arrival."""
        request = Request(purpose=purpose, study=self.study, run=self.run, **fields)
        kind = purpose if purpose in ("train", "evaluate") else "query"
        names = {node: site for site, node in sites.items()}
        timeout = self.study.strategy.round_timeout
        for node, answer in ask(self.grid, self.signer.messages(request, names), kind, timeout):
            yield names[node], answer


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
        attempts: How often the sites were asked.
    """

    arrays: Mapping[str, NDArray[np.float32]]
    joined: list[str]
    failures: dict[str, SiteCode]
    epsilon: dict[str, float]
    update_norm: float
    seconds: float = 0.0
    attempts: int = 1


def train_round(
    federation: Federation, combiner: Combiner, round_index: int, arrays: Arrays, sites: Mapping[str, int]
) -> RoundResult:
    """Returns the combined result of one round.

    Raises:
        QuorumLost: Fewer valid updates than the quorum.
        FederationError: The global model has not moved.
    """
    started = time.monotonic()
    combiner.begin(round_index, arrays)
    result = RoundResult(arrays=arrays, joined=[], failures={}, epsilon={}, update_norm=0.0)
    for site, answer in federation.stream("train", sites, round_index=round_index, arrays=arrays):
        _take(federation, combiner, result, site, answer, round_index, arrays)
    result.joined.sort()
    _require_quorum(federation, result, round_index)
    result.arrays = combiner.finish()
    result.update_norm = norm(difference(result.arrays, arrays))
    if result.update_norm == 0.0:
        raise FederationError(f"The global model did not move in round {round_index}: no update had any effect")
    result.seconds = time.monotonic() - started
    return result


def _require_quorum(federation: Federation, result: RoundResult, round_index: int) -> None:
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


def _take(
    federation: Federation,
    combiner: Combiner,
    result: RoundResult,
    site: str,
    answer: object,
    round_index: int,
    arrays: Arrays,
) -> None:
    if isinstance(answer, Refusal):
        result.failures[site] = answer.code
        return
    strategy = federation.study.strategy
    declared = federation.roster.cards[site].declared_patients
    update = checked_update(
        answer,
        site=site,
        round_index=round_index,
        weight=declared if strategy.weighting == "declared" else 1,
        arrays=arrays,
        max_norm=strategy.max_update_norm,
    )
    if isinstance(update, Update) and isinstance(answer, TrainAnswer):
        combiner.add(site, update)
        result.joined.append(site)
        if answer.epsilon_spent is not None:
            result.epsilon[site] = answer.epsilon_spent
    else:
        result.failures[site] = SiteCode.BAD_UPDATE


def score_states(answers: Mapping[str, Any], bins: int) -> tuple[dict[str, ScoreState], dict[str, SiteCode]]:
    """Returns the valid score states by site, and the sites without one with the code."""
    states: dict[str, ScoreState] = {}
    failures: dict[str, SiteCode] = {}
    for site, answer in answers.items():
        if isinstance(answer, DocumentAnswer) and answer.site == site:
            try:
                states[site] = ScoreState.from_json(answer.document, bins)
            except DataError:
                failures[site] = SiteCode.BAD_UPDATE
            continue
        failures[site] = answer.code if isinstance(answer, Refusal) else SiteCode.BAD_UPDATE
    return states, failures
