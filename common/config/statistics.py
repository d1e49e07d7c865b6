"""The settings of the private statistics training, and what of a study does not go with it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field

if TYPE_CHECKING:
    from common.config.study import StudyConfig

Release = Literal["auto", "steps", "moment"]
LEAST_RESIDUAL = 1e-3
"""A sum of far smaller residuals has a grid without an inverse in float64, and leaves without its noise."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsConfig:
    """A linear model from full-batch noisy sums in a public basis; what is left open follows a public rule."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    axes: Annotated[int, Field(ge=0, le=4096)] = 0
    """Public axes that the model uses; 0: by the rule. Never more than the basis has."""
    spread_axes: Annotated[int, Field(ge=0, le=4096)] = 0
    """Leading axes whose centre and spread the first round releases, the others keep the public centre; 0: by the
    rule."""
    gamma: Annotated[float, Field(ge=0, le=4)] | None = None
    """Power of the public variances that weighs the axes: 0 weighs them alike; None: by the rule."""
    release: Release = "auto"
    """What the rounds after the first release: ``steps`` logistic steps, ``moment`` the first of them again and again,
    so that its noise averages out; ``auto``: by the rule."""
    residual: Annotated[float, Field(ge=LEAST_RESIDUAL, le=1)] = 0.6
    """Largest size of one patient's residual, and so the sensitivity of a round after the first."""
    scale: Annotated[float, Field(gt=0, le=100)] = 0.5
    """Norm of a patient's coordinates that counts in full; longer ones are clipped to it."""
    step: Annotated[float, Field(gt=0, le=100)] | None = None
    """Length of a logistic step, over that which suits one axis; None: by the rule."""
    patients: Annotated[int, Field(ge=1, le=10_000_000)] = 700
    """Training patients of all sites together, as the consortium expects. The rule reads it; it costs no privacy."""
    sites: Annotated[int, Field(ge=1, le=1000)] = 3
    """Sites that the consortium expects, for the rule."""


def problem_of_statistics(study: StudyConfig) -> str:
    """Returns what of the study does not go with ``training.method=statistics``, in words; empty where all does."""
    training, strategy = study.training, study.strategy
    plain = strategy.name == "fedavg" and strategy.server_lr == 1 and strategy.averaging == 0
    reasons = {
        "model.part=head: the basis is public and stays as it is": study.model.part == "head",
        "training.augment=false: the basis is a fixed function of an image": not training.augment,
        "model.dropout=0: the basis is a fixed function of an image": study.model.dropout == 0,
        "training.rounds of at least 2: the first releases centre and spread": training.rounds >= 2,
        "strategy.weighting=equal: each site's update is a sum over its patients already": strategy.weighting
        == "equal",
        "strategy.name=fedavg with server_lr=1 and averaging=0: sums add, nothing else is defined": plain,
        "training.positive_weight=null: every patient's residual has the same bound": training.positive_weight is None,
        "evaluation.select_by=last: an earlier round holds a part of the estimate": study.evaluation.select_by
        == "last",
    }
    wanted = [reason for reason, holds in reasons.items() if not holds]
    return "" if not wanted else f"training.method=statistics needs {'; and '.join(wanted)}"
