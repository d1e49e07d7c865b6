"""One round by a secure sum: all of a roster send, masked, or nothing can be read and a smaller roster tries anew.

A repeated attempt is paid again by every site of it, with a fresh batch and fresh noise. So a site that drops out
takes part in no later round: each return could cost the others another attempt.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.config.study import StudyConfig
from common.errors import ConfigError, SiteCode
from common.privacy.largest_update import largest_sum_norm
from common.privacy.shares import LEAST_HONEST, weight_of
from common.protocol.aggregation import FRACTION_BITS, Arrays, Update, difference, norm
from common.protocol.messages import MaskedAnswer, Refusal
from common.protocol.secure_sum import Roster, unmasked_sum
from common.training.largest_sums import largest_mean_norm
from common.training.summed_rounds import release_size, summed_updates
from common.trust.durable import write_durably
from server.run.rounds import Federation, QuorumLost, RoundResult, not_moved, require_quorum
from server.run.strategy import Combiner

log = logging.getLogger("oncofed")
FILE = "sums.json"
MOST_ATTEMPTS = 3
"""Of a round, as a site has few charges to spare."""
NOT_KNOWN = (
    "each site's update, its length and its influence on the model: the hub sees the sum of all updates only",
    "whether a site bends the model: only the length of the sum is limited",
    "whether each site added its share of the noise: one that did not is one of those assumed to collude",
)
"""What a run with secure sums cannot say."""


def check_summed(study: StudyConfig, sites: int) -> None:
    """Refuses a study with secure sums that has too few sites for them.

    Raises:
        ConfigError: Fewer than two would be left to share the noise.
    """
    least = study.privacy.colluders + LEAST_HONEST
    if study.privacy.distributed and sites < least:
        raise ConfigError(
            f"privacy.mode=distributed with privacy.colluders={study.privacy.colluders} needs at least {least} sites, "
            f"got {sites}: win more, or use privacy.mode=local"
        )


@dataclass(slots=True)
class Sums:
    """The secure sums of one run, in a file of its folder, so that a run that goes on repeats no attempt by mistake.

    Attributes:
        path: The file.
        tried: Number of the last attempt at each round.
        void: Attempts that could not be read, with who dropped out of them.
    """

    path: Path
    tried: dict[int, int] = field(default_factory=dict)
    void: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> Sums:
        """Returns what the run's folder has of them.

        Raises:
            ConfigError: The file is damaged.
        """
        path = folder / FILE
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"tried": {}, "void": []}
            return cls(path, {int(name): int(last) for name, last in found["tried"].items()}, list(found["void"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigError(f"{path} is damaged; delete it, then resume the run") from None

    def train_round(
        self, federation: Federation, combiner: Combiner, round_index: int, arrays: Arrays, sites: Mapping[str, int]
    ) -> RoundResult:
        """Returns the combined result of one round.

        The first attempt has the number of the last one, so that sites which were asked the same before send the same.

        Raises:
            QuorumLost: Too few sites were left to share the noise or for the quorum, or attempts are used up.
            FederationError: The global model has not moved.
        """
        started = time.monotonic()
        result = RoundResult(arrays=arrays, joined=[], failures={}, epsilon={}, update_norm=0.0)
        first = self.tried.get(round_index, 1)
        for attempt in range(first, first + MOST_ATTEMPTS):
            roster = {site: node for site, node in sites.items() if site not in result.failures}
            _require_sharers(federation, result, roster, round_index)
            self._note(round_index, attempt)
            parts, dropped = _asked(federation, round_index, attempt, arrays, roster)
            if not dropped:
                return _read(federation, combiner, round_index, arrays, parts, result, started)
            result.failures |= dropped
            result.attempts += 1
            self._note_void(round_index, attempt, len(roster), dropped)
        raise _lost(federation, result, round_index, f"{MOST_ATTEMPTS} attempts at its secure sum were void")

    def _note(self, round_index: int, attempt: int) -> None:
        self.tried[round_index] = attempt
        write_durably(self.path, json.dumps({"tried": self.tried, "void": self.void}))

    def _note_void(self, round_index: int, attempt: int, sites: int, dropped: Mapping[str, SiteCode]) -> None:
        codes = {site: code.value for site, code in sorted(dropped.items())}
        self.void.append({"round": round_index, "attempt": attempt, "sites": sites, "dropped": codes})
        self._note(round_index, attempt)
        names = ", ".join(f"{site} ({code})" for site, code in codes.items())
        log.warning("round %d: the sum of %d sites cannot be read without %s; the others pay again",
                    round_index, sites, names)  # fmt: skip

    def document(self, study: StudyConfig) -> dict[str, Any] | None:
        """Returns what ``run.json`` says of the sums; None: the study has none."""
        if not study.privacy.distributed:
            return None
        return {"colluders": study.privacy.colluders, "void": list(self.void), "not_known": list(NOT_KNOWN)}


def _asked(
    federation: Federation, round_index: int, attempt: int, arrays: Arrays, sites: Mapping[str, int]
) -> tuple[dict[str, MaskedAnswer], dict[str, SiteCode]]:
    """Returns the parts that came, and the sites whose part did not, with the code."""
    parts, dropped = dict[str, MaskedAnswer](), dict[str, SiteCode]()
    roster = _roster(federation, sites)
    size = _released(federation.study, arrays, round_index)
    fields = {"round_index": round_index, "arrays": arrays, "roster": roster, "attempt": attempt}
    for site, answer in federation.stream("train", sites, **fields):
        if isinstance(answer, Refusal):
            dropped[site] = answer.code
        elif _fits(answer, site, round_index, attempt, _weight(federation, site), size):
            parts[site] = answer
        else:
            dropped[site] = SiteCode.BAD_UPDATE
    return parts, dropped


def _roster(federation: Federation, sites: Mapping[str, int]) -> Roster:
    found = (federation.roster.cards[site].announcement for site in sorted(sites))
    return tuple(one for one in found if one is not None)


def _weight(federation: Federation, site: str) -> int:
    return weight_of(federation.study, federation.roster.cards[site].declared_patients)


def _fits(answer: object, site: str, round_index: int, attempt: int, weight: int, size: int) -> bool:
    """Returns whether an answer is exactly what was asked for, as far as a masked one can be seen."""
    return (
        isinstance(answer, MaskedAnswer)
        and (answer.site, answer.round_index, answer.attempt) == (site, round_index, attempt)
        and (answer.weight, answer.masked.shape) == (weight, (size,))
    )


def _read(
    federation: Federation, combiner: Combiner, round_index: int, arrays: Arrays, parts: Mapping[str, MaskedAnswer],
    result: RoundResult, started: float,
) -> RoundResult:  # fmt: skip
    result.joined = sorted(parts)
    require_quorum(federation, result, round_index)
    result.epsilon = {site: part.epsilon_spent for site, part in parts.items() if part.epsilon_spent is not None}
    total = unmasked_sum([part.masked for part in parts.values()])
    weight = sum(part.weight for part in parts.values())
    update = Update(weight, _tensors(federation.study, total, arrays, round_index))
    limit = _limit(federation, result.joined, arrays, round_index)
    if norm(update.mean()) > limit:
        update, result.scaled_to = _scaled(update, limit), limit
    combiner.begin(round_index, arrays)
    combiner.add("the sum", update)
    result.arrays = combiner.finish()
    result.update_norm = norm(difference(result.arrays, arrays))
    if result.update_norm == 0.0:
        raise not_moved(round_index)
    result.seconds = time.monotonic() - started
    return result


def _released(study: StudyConfig, arrays: Arrays, round_index: int) -> int:
    """Returns how many values each site's part of a round's sum has."""
    if study.training.method == "statistics":
        return release_size(arrays, round_index)
    return sum(values.size for values in arrays.values())


def _tensors(
    study: StudyConfig, total: NDArray[np.int64], arrays: Arrays, round_index: int
) -> dict[str, NDArray[np.int64]]:
    """Returns what the sum of a whole roster adds to each trained tensor."""
    if study.training.method == "statistics":
        return summed_updates(total, arrays, study, round_index)
    done, sums = 0, {}
    for name, like in arrays.items():
        sums[name] = total[done : done + like.size].reshape(like.shape)
        done += like.size
    return sums


def _limit(federation: Federation, sites: list[str], arrays: Arrays, round_index: int) -> float:
    """Returns the largest length of an honest mean update."""
    study, size = federation.study, _released(federation.study, arrays, round_index)
    sizes = [federation.roster.cards[site].declared_patients for site in sites]
    if study.training.method == "statistics":
        most = largest_mean_norm(study, sizes, round_index, size)
    else:
        most = largest_sum_norm(study, sizes, size)
    return min(most, study.strategy.max_update_norm)


def _scaled(update: Update, limit: float) -> Update:
    factor = limit / float(np.sqrt(sum(float(np.sum(np.square(v, dtype=np.float64))) for v in update.sums.values())))
    scale = factor * update.weight * 2.0**FRACTION_BITS
    return Update(update.weight, {name: np.rint(v * scale).astype(np.int64) for name, v in update.sums.items()})


def _require_sharers(federation: Federation, result: RoundResult, roster: Mapping[str, int], round_index: int) -> None:
    try:
        check_summed(federation.study, len(roster))
    except ConfigError as error:
        raise _lost(federation, result, round_index, str(error)) from None


def _lost(federation: Federation, result: RoundResult, round_index: int, why: str) -> QuorumLost:
    """Says whether those who could not be reached would have made the sum; they may be back soon."""
    codes = result.failures.values()
    others = sum(code is not SiteCode.UNAVAILABLE for code in codes)
    least = federation.study.privacy.colluders + LEAST_HONEST
    names = ", ".join(f"{site} ({code})" for site, code in sorted(result.failures.items()))
    return QuorumLost(
        f"Round {round_index} has no sum: {why}; lost: {names}",
        failures=dict(result.failures),
        by_silence=len(federation.roster.cards) - others >= least and SiteCode.UNAVAILABLE in codes,
    )
