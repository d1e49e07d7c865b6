"""Whether a model's scores at a site have moved since its first quarter, from noised counts alone.

Shares of two quarters are compared under both of their chances, of who came and of the noise. With counts a of K cells,
N their sum and p the shares, noise of variance v moves the shares by ``(I - p 1') diag(v) (I - p 1')' / N^2`` to first
order, and chance by ``(diag(p) - p p') / N``. The difference d has the sum S of all these as its covariance, so without
a change ``d' S^-1 d`` is chi-square with K - 1 degrees of freedom (Wald 1943).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.monitoring.hub_report import HubReport

FALSE_ALARMS = 0.01
"""Probability of an alarm at one site in one quarter although nothing changed; the three tests share it equally."""
POWER = 0.8
SURE = 5.0
"""So many standard deviations of the noise must lie below a quarter's patients for the quarter to be judged."""
Measure = Literal["above", "abstained", "scores"]
MEASURES: tuple[Measure, ...] = ("above", "abstained", "scores")
LEVEL = FALSE_ALARMS / len(MEASURES)
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Noised counts of cells that part the patients, (K,), and the variance of the noise on each, (K,)."""

    counts: Floats
    noise: Floats

    @classmethod
    def of(cls, report: HubReport, measure: Measure) -> Cells:
        """Returns the cells that a measure looks at."""
        one = float(report.deviation) ** 2
        counts, noise = {
            "above": ([report.above, report.below], [one, one]),
            "abstained": ([report.abstained, report.above + report.below], [one, 2 * one]),
            "scores": (report.scores, [one] * len(report.scores)),
        }[measure]
        return cls(np.array(counts, np.float64), np.array(noise, np.float64))

    @property
    def total(self) -> float:
        """Patients, as far as the noise tells."""
        return float(self.counts.sum())

    @property
    def sure(self) -> bool:
        """Whether there are enough patients for the noise."""
        return self.total >= SURE * float(np.sqrt(self.noise.sum()))

    def spread(self, shares: Floats) -> Floats:
        """Returns the covariance of the shares where these are the true ones, (K, K)."""
        moved = np.eye(shares.size) - np.outer(shares, np.ones(shares.size))
        noise = moved @ np.diag(self.noise) @ moved.T / self.total**2
        chance: Floats = (np.diag(shares) - np.outer(shares, shares)) / self.total + noise
        return chance


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One comparison with the first quarter.

    Attributes:
        p: Of a difference as large, without a change.
        drifts: Whether p is below the level.
        smallest: Share of patients that, moved from any one cell to any other, is seen with a probability of 80 %.
    """

    measure: Measure
    p: float
    drifts: bool
    smallest: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QuarterRow:
    """What the hub knows of one quarter of one package at one site.

    Attributes:
        patients: About how many, from the noised counts.
        above: Share of the answered patients above the threshold; None: too few patients for the noise.
        above_error: Its standard error, of chance and noise.
        abstained: Share of all patients without an answer; None as for ``above``.
        psi: Population stability index of the scores against the first quarter; None for the first, and as above.
        psi_by_chance: What it is in the mean if nothing changed, from chance and noise.
        tests: Against the first quarter; none for it, and where a quarter has too few patients for its noise.
        note: Why it was not tested; empty where it was.
    """

    site: str
    package: str
    quarter: str
    patients: int
    deviation: int
    seeded: bool
    above: float | None
    above_error: float | None
    abstained: float | None
    psi: float | None
    psi_by_chance: float | None
    tests: tuple[Comparison, ...]
    note: str

    @property
    def drifts(self) -> bool:
        """Whether any of its tests says so."""
        return any(test.drifts for test in self.tests)

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {**dataclasses.asdict(self), "drifts": self.drifts}


def compared(first: Cells, now: Cells, measure: Measure) -> Comparison:
    """Returns the test of whether the shares of two quarters differ; both must be :attr:`Cells.sure`."""
    from scipy.stats import chi2

    spread = _spread(first, now)[:-1, :-1]
    moved = (now.counts / now.total - first.counts / first.total)[:-1]
    p = float(chi2.sf(float(moved @ np.linalg.solve(spread, moved)), moved.size))
    precision: Floats = np.asarray(np.linalg.inv(spread), np.float64)
    return Comparison(measure=measure, p=p, drifts=p < LEVEL, smallest=_smallest(precision))


def stability(first: Cells, now: Cells) -> tuple[float, float]:
    """Returns the PSI of two quarters, ``sum (q - p) ln(q / p)``, and its mean if nothing changed.

    A share below half a patient, as noise makes them, counts as half a patient. Without a change PSI is
    ``sum d^2 / p`` to second order, so its mean is ``sum S_ii / p_i``.
    """
    before, after = (_shares(one.counts) for one in (first, now))
    pooled = _shares(np.maximum(first.counts, 0) + np.maximum(now.counts, 0))
    psi = float(((after - before) * np.log(after / before)).sum())
    return psi, float((np.diag(_spread(first, now)) / pooled).sum())


def rows(reports: Sequence[HubReport]) -> list[QuarterRow]:
    """Returns a row for each report, by site, package and quarter, each against the first of its site and package."""
    found, first = [], dict[tuple[str, str], HubReport]()
    for one in sorted(reports, key=lambda report: (report.site, report.package, report.quarter)):
        found.append(_row(one, first.setdefault((one.site, one.package), one)))
    return found


def drifting(found: Sequence[QuarterRow]) -> list[QuarterRow]:
    """Returns the latest row of each site and package, where it drifts."""
    latest = {(row.site, row.package): row for row in found}
    return [row for row in latest.values() if row.drifts]


def promise(found: Sequence[QuarterRow]) -> str:
    """Returns how often these rows drift for nothing, in words."""
    tested = sum(bool(row.tests) for row in found)
    return (
        f"If nothing changed, a site drifts in a quarter with a probability of {FALSE_ALARMS:g} (three tests of "
        f"{LEVEL:.4f} each). {tested} quarters were tested: {FALSE_ALARMS * tested:.2f} false drifts in the mean"
    )


def _row(report: HubReport, first: HubReport) -> QuarterRow:
    cells = {measure: Cells.of(report, measure) for measure in MEASURES}
    start = {measure: Cells.of(first, measure) for measure in MEASURES}
    sure = all(one.sure for one in cells.values())
    judged = report is not first and sure and all(one.sure for one in start.values())
    psi = stability(start["scores"], cells["scores"]) if judged else (None, None)
    above, patients = cells["above"], cells["abstained"]
    share = above.counts[0] / above.total if sure else None
    return QuarterRow(
        site=report.site, package=report.package, quarter=report.quarter, patients=max(0, round(patients.total)),
        deviation=report.deviation, seeded=report.seeded, above=share,
        above_error=float(np.sqrt(above.spread(_shares(above.counts))[0, 0])) if sure else None,
        abstained=float(patients.counts[0] / patients.total) if sure else None, psi=psi[0], psi_by_chance=psi[1],
        tests=tuple(compared(start[m], cells[m], m) for m in MEASURES) if judged else (),
        note=_note(report is first, sure, judged),
    )  # fmt: skip


def _note(first: bool, sure: bool, judged: bool) -> str:
    if judged:
        return ""
    if not sure:
        return "too few patients for its noise: it is not judged"
    return "the first quarter: later ones are compared with it" if first else "the first quarter has too much noise"


def _shares(counts: Floats) -> Floats:
    kept = np.maximum(counts, 0.5)
    shares: Floats = kept / kept.sum()
    return shares


def _spread(first: Cells, now: Cells) -> Floats:
    pooled = _shares(np.maximum(first.counts, 0) + np.maximum(now.counts, 0))
    return first.spread(pooled) + now.spread(pooled)


def _smallest(precision: Floats) -> float:
    """Returns the share that must move between the two cells where a move is seen worst; the last cell is left out."""
    from scipy.optimize import brentq
    from scipy.stats import chi2, ncx2

    size = precision.shape[0]
    limit = chi2.isf(LEVEL, size)
    needed = float(brentq(lambda far: ncx2.sf(limit, size, far) - POWER, 1e-6, 1e3))
    own = np.append(np.diag(precision), 0.0)
    between = np.pad(precision, (0, 1))
    seen = own[:, None] + own[None, :] - 2 * between
    worst = float(seen[~np.eye(size + 1, dtype=bool)].min())
    return min(1.0, float(np.sqrt(needed / worst)))
