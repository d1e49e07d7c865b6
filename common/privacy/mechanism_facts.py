"""What a statement says of the mechanism: releases, noise, accountant, randomness. All follows from the plan."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any

from common.config.study import StudyConfig
from common.privacy.accounting import Event, is_exact
from common.privacy.noise import ARITHMETIC, GridNoise, sampler_of
from common.privacy.plan import PrivacyPlan
from common.privacy.shares import GRID as SUM_GRID
from common.privacy.shares import reach
from common.provenance import release


def mechanism(plan: PrivacyPlan) -> str:
    """Returns what adds the noise to what, in words."""
    if plan.sensitivities:
        return (
            "Gaussian noise, full batch, exact composition: on one sum over all patients a round, each patient's part "
            "clipped"
        )
    return "Gaussian noise on the sum of clipped per-patient mean gradients; empty batches included"


def releases(plan: PrivacyPlan) -> list[dict[str, Any]]:
    """Returns each kind of sum that leaves: of what, in how many rounds, its sensitivity and noise; [] for DP-SGD."""
    if not plan.sensitivities:
        return []
    kinds = (
        ("sum of each patient's public coordinates, their squares and one half", 1, plan.sensitivities[0]),
        ("sum of each patient's coordinates times the residual", plan.rounds - 1, plan.sensitivities[-1]),
    )
    return [
        {
            "of": of, "rounds": rounds, "sensitivity": sensitivity,
            "standard_deviation": GridNoise(sensitivity, plan.noise_multiplier).std,
        }
        for of, rounds, sensitivity in kinds
    ]  # fmt: skip


def accountant_facts(plan: PrivacyPlan, events: Sequence[Event]) -> dict[str, Any]:
    """Returns which accountant composed the events and the plan's own, of which library and version."""
    if is_exact([*events, plan.event()], plan.accountant):
        method = "exact: analytic Gaussian mechanism (Balle and Wang 2018, theorem 8); no sampling, squares of mu add"
        return {"name": plan.accountant, "library": "oncofed", "version": release(), "method": method}
    return {"name": plan.accountant, "library": "opacus", "version": metadata.version("opacus")}


def noise_facts(plan: PrivacyPlan, trained_values: int | None) -> dict[str, Any]:
    """Returns what was added to each sum (of the first kind where there are several), the sampler by a step's size."""
    noise = GridNoise(plan.sensitivities[0], plan.noise_multiplier) if plan.sensitivities else plan.noise
    return {
        "sampler": None if trained_values is None else noise.sampler(trained_values),
        "trained_values": trained_values,
        "grid": noise.grid,
        "sensitivity": noise.sensitivity,
        "standard_deviation": noise.std,
        "covers": _covers(plan),
    }


def summed_noise_facts(
    plan: PrivacyPlan, study: StudyConfig, declared_patients: int, trained_values: int | None
) -> dict[str, Any]:
    """Returns what all sites that do not collude added to each sum, in the unit of this site's own clipped sum."""
    factor, sensitivity = reach(study, declared_patients)
    factor = abs(factor)
    return {
        "sampler": None if trained_values is None else sampler_of(trained_values),
        "trained_values": trained_values,
        "grid": SUM_GRID / factor,
        "sensitivity": sensitivity / factor,
        "standard_deviation": plan.noise_multiplier * sensitivity / factor,
        "covers": f"{_covers(plan)}; the deviation is that of all sites which do not collude, at least",
    }


def _covers(plan: PrivacyPlan) -> str:
    """Says of the first kind of sum, where there are several, how far one patient moves it."""
    most = f"{plan.sensitivities[0]:g} (round 1)" if plan.sensitivities else "the clipping norm"
    return (
        f"one patient moves a sum by at most {most}, {ARITHMETIC:.2%} of it for arithmetic in floating point "
        "(measured, not proven), and what rounding to the grid adds"
    )


def randomness_words(seeded: bool) -> str:
    """Returns where sampling and noise come from."""
    source = "a seed of the simulation" if seeded else "the operating system's entropy"
    warning = (
        " Whoever knows the seed can take the noise off: this run demonstrates and protects nobody." if seeded else ""
    )
    return (
        "AES-256 in counter mode, a cryptographic generator, under a key for each purpose of each round, derived by "
        f"HKDF (SHA-256) from {source} and forgotten. Sum and noise are whole numbers of steps of a public grid, so "
        f"floating point shows nothing of the sum (Mironov 2012).{warning}"
    )
