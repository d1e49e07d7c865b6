"""Does the federated model help or hurt a hospital? A word for each site, and how far that word can be trusted.

The sites of a run are judged together: with many sites some differ by chance, so a word is given only where the
difference stands against all of them (Holm, Scand J Stat 6:65, 1979). Where nothing is shown, the answer says how many
test patients it would take.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from common.evaluation.comparison import SAME, Difference
from common.evaluation.intervals import z_of

Word = Literal["helps", "hurts", "no loss", "same scores", "cannot tell", "not measured"]
POWER = 0.8
"""Of the number of patients that would be needed."""
LOSS = 2.0
"""The gate's power is told for a true loss of so many margins."""
DRAWS = 20_000
_NORMAL = NormalDist()


def judged(
    differences: Mapping[str, Difference | None], *, margin: float, confidence: float
) -> dict[str, dict[str, Any]]:
    """Returns for each site what the federated less the site's own AUROC shows.

    ``verdict``: ``helps`` or ``hurts`` (a difference other than 0 is shown, and a loss is larger than the margin), ``no
    loss`` (one of the margin is ruled out), ``same scores`` (nothing differs), ``cannot tell``, or ``not measured``.
    ``p`` is adjusted by Holm over the sites; ``harm`` is true for ``hurts`` only, null where it cannot be told;
    ``patients_needed`` would show a difference of the margin with a power of 80 %.
    """
    adjusted = holm({site: p_value(one) for site, one in differences.items() if one is not None})
    known = len(adjusted)
    return {
        site: _nothing() if one is None else _judged(one, adjusted[site], known, margin, confidence)
        for site, one in differences.items()
    }


def _judged(one: Difference, p: float, sites: int, margin: float, confidence: float) -> dict[str, Any]:
    verdict = _word(one, p, sites, margin, confidence)
    harm = {"hurts": True, "helps": False, "no loss": False, "same scores": False}.get(verdict)
    return {
        "harm": harm, "verdict": verdict, "difference": one.value, "low": one.low, "high": one.high, "p": p,
        "patients": one.patients, "patients_needed": patients_needed(one, sites, margin, confidence),
    }  # fmt: skip


def _word(one: Difference, p: float, sites: int, margin: float, confidence: float) -> Word:
    if one.method == SAME:
        return "same scores"
    if p < 1 - confidence and (one.value > 0 or one.value < -margin):
        return "helps" if one.value > 0 else "hurts"
    sure = z_of(1 - (1 - confidence) / max(1, sites))
    return "no loss" if one.value - sure * math.sqrt(one.variance) > -margin else "cannot tell"


def _nothing() -> dict[str, Any]:
    return dict.fromkeys(("harm", "difference", "low", "high", "p", "patients", "patients_needed")) | {
        "verdict": "not measured"
    }


def p_value(one: Difference) -> float:
    """Returns the two-sided p of a difference of 0, from its variance; 1 where nothing differs."""
    if one.value == 0:
        return 1.0
    if one.variance == 0:
        return 0.0
    return 2 * _NORMAL.cdf(-abs(one.value) / math.sqrt(one.variance))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Returns the p-values adjusted so that all claims below a level together are wrong at most so often.

    Holm 1979: the k-th smallest of m counts m - k + 1 times, and none less than one before it.
    """
    adjusted: dict[str, float] = {}
    least = 0.0
    for index, site in enumerate(sorted(p_values, key=lambda name: (p_values[name], name))):
        least = max(least, min(1.0, (len(p_values) - index) * p_values[site]))
        adjusted[site] = least
    return adjusted


def patients_needed(one: Difference, sites: int, margin: float, confidence: float) -> int | None:
    """Returns about how many test patients, mixed as these are, would show a true difference of the margin.

    With a power of 80 % against the level of one of so many sites; a variance falls as patients are added. None where
    there is none to go by.
    """
    if not one.variance or not margin:
        return None
    wanted = margin / (z_of(1 - (1 - confidence) / max(1, sites)) + _NORMAL.inv_cdf(POWER))
    return math.ceil(one.patients * one.variance / wanted**2)


def rates(
    differences: Mapping[str, Difference | None], *, margin: float, confidence: float, seed: int
) -> dict[str, Any] | None:
    """Returns how often the gate errs and finds at this run's own sizes; None where nothing was compared.

    ``false_alarm``: share of 20,000 simulated runs in which some site is told ``hurts`` though no model differs.
    ``power``: of each site, the share in which a true loss of ``loss`` there alone is told. Differences are drawn as
    normal with the variances that were found.
    """
    spread = {site: math.sqrt(one.variance) for site, one in differences.items() if one and one.variance}
    if not spread:
        return None
    noise = np.random.default_rng(seed).normal(size=(DRAWS, len(spread))) * list(spread.values())
    found = {"loss": LOSS * margin, "false_alarm": float(_told(noise, spread, margin, confidence).any(axis=1).mean())}
    power = {}
    for column, site in enumerate(spread):
        shifted = noise.copy()
        shifted[:, column] -= LOSS * margin
        power[site] = float(_told(shifted, spread, margin, confidence)[:, column].mean())
    return found | {"power": power}


def _told(
    values: np.ndarray[Any, np.dtype[np.float64]], spread: Mapping[str, float], margin: float, confidence: float
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which sites (R, S) are told ``hurts``, by Holm's step-down written for many runs at once."""
    from scipy.special import ndtr

    p = 2 * ndtr(-np.abs(values) / list(spread.values()))
    order = np.argsort(p, axis=1, kind="stable")
    steps = np.take_along_axis(p, order, axis=1) * np.arange(len(spread), 0, -1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(steps, axis=1), axis=1)
    told: np.ndarray[Any, np.dtype[np.bool_]] = (adjusted < 1 - confidence) & (values < -margin)
    return told
