"""What the hub checks before it believes an update or takes a privacy statement down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.config.study import StudyConfig
from common.errors import SiteCode
from common.privacy.exposure import UNBOUNDED
from common.protocol.aggregation import MAX_ABS_DELTA, MAX_TOTAL_WEIGHT, Arrays, Update, apply, norm
from common.protocol.messages import DocumentAnswer, Refusal, TrainAnswer
from common.protocol.received import is_figure

STATED = frozenset({
    "schema_version", "site", "study_digest", "synthetic", "declared_patients", "private", "seeded", "epsilon", "delta",
    "not_covered", "lifetime_epsilon", "unbounded_runs", "cohort_changes", "ledger_key", "ledger_head", "ledger_rows",
    "evaluation_account", "signature",
})  # fmt: skip
"""What every privacy statement says, that of a study without a guarantee too."""
STATED_IF_PRIVATE = STATED | {
    "setting", "unit", "neighbouring_relation", "sampling", "mechanism", "clip_norm", "noise_multiplier", "steps",
    "rounds", "rounds_planned", "charges_allowed", "target_epsilon", "accountant", "cross_check", "lifetime_events",
    "lifetime_in_words", "ceiling", "remaining", "by_round", "events", "released", "noise", "randomness", "overlap",
    "empirical_audit", "plain_words", "releases", "secure_sum",
}  # fmt: skip
_FIGURES = ("epsilon", "delta", "ceiling", "remaining")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedUpdate:
    """An update that is exactly what was asked for.

    Attributes:
        arrays: The difference of each trained tensor, float32, finite.
        weight: Of the site in the mean.
        norm: L2 norm over all tensors.
    """

    arrays: Arrays
    weight: int
    norm: float


def checked_update(
    answer: object, *, site: str, round_index: int, weight: int, arrays: Arrays, max_norm: float
) -> CheckedUpdate | Refusal:
    """Returns the update when it is exactly what was asked for, else a refusal that names the site.

    Exactly the expected keys and shapes, float32, finite, an L2 norm of at most ``max_norm``, this round, and the
    weight that the site declared when it enrolled.
    """
    bad = Refusal(site=site, code=SiteCode.BAD_UPDATE)
    if not isinstance(answer, TrainAnswer) or answer.site != site or answer.round_index != round_index:
        return bad
    if answer.weight != weight or not 0 < answer.weight <= MAX_TOTAL_WEIGHT:
        return bad
    if answer.arrays.keys() != arrays.keys():
        return bad
    if any(_kind(answer.arrays[name]) != _kind(arrays[name]) for name in arrays):
        return bad
    size = norm(answer.arrays)
    if not size <= max_norm or any(np.abs(values).max(initial=0) > MAX_ABS_DELTA for values in answer.arrays.values()):
        return bad
    return CheckedUpdate(arrays=answer.arrays, weight=answer.weight, norm=size)


def moves(old: Arrays, delta: Arrays) -> bool:
    """Returns whether weights are others once the difference was added, in fixed point as all updates are."""
    for name, values in delta.items():
        added = apply({name: old[name]}, Update.of({name: values}, 1).mean())
        if not np.array_equal(added[name], old[name]):
            return True
    return False


def checked_statement(answer: object, *, site: str, study: StudyConfig) -> Mapping[str, Any] | Refusal:
    """Returns the statement when it says all that a statement of this study must, else a refusal that names the site.

    Under the site's name and the study's digest, private exactly when the study is, and then with its figures.
    Whether they are right is for its signature and an accountant to say: :mod:`common.privacy.verification`.
    """
    if isinstance(answer, Refusal):
        return Refusal(site=site, code=answer.code)
    private = study.privacy.private
    stated = answer.document if isinstance(answer, DocumentAnswer) and answer.site == site else {}
    complete = stated.keys() >= (STATED_IF_PRIVATE if private else STATED)
    complete = complete and bool(stated.get("secure_sum")) == study.privacy.distributed
    figures = _FIGURES if private else ()
    if not complete or not all(is_figure(stated[name]) for name in figures) or not _is_lifetime(stated):
        return Refusal(site=site, code=SiteCode.BAD_ANSWER)
    own = stated["site"] == site and stated["study_digest"] == study.digest() and stated["private"] is private
    return stated if own else Refusal(site=site, code=SiteCode.BAD_ANSWER)


def _is_lifetime(stated: Mapping[str, Any]) -> bool:
    """Returns whether epsilon over all studies is a figure or ``unbounded``, and the counts are counts."""
    counts = (stated["unbounded_runs"], stated["cohort_changes"])
    lifetime = stated["lifetime_epsilon"]
    return (lifetime == UNBOUNDED or is_figure(lifetime)) and all(type(n) is int and n >= 0 for n in counts)


def _kind(values: NDArray[np.float32]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    return values.dtype, values.shape
