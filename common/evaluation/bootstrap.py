"""Bootstrap over patients, from score counts alone and many resamples at a time.

A patient is one count of a histogram, so resampling patients is resampling counts (``docs/metrics.md``). Patients are
drawn within each site, and a site's draws depend on the seed and its name only: the replicates of a federation are the
sums of the replicates of its sites.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from common.evaluation.intervals import Floats
from common.evaluation.metrics import allowed_alarms
from common.evaluation.scores import Counts, ScoreState, bin_edges

ROWS = 64
"""Resamples held at once; a part of what the seed means, so it must not change."""
_DENSE = 8
"""With more patients a cell than this, drawing cell counts is cheaper than drawing patients."""
MIN_CLASS = 10
"""Fewest patients of either class for limits."""
MOST_UNDEFINED = 0.05
"""A larger share of resamples without a value leaves no interval."""


@dataclasses.dataclass(frozen=True, slots=True)
class Replicates:
    """Resampled counts of the occupied bins.

    Attributes:
        bins: Which bins, rising, (K,).
        positives: Malignant patients, (R, K); ``negatives``: benign ones.
    """

    bins: NDArray[np.intp]
    positives: Counts
    negatives: Counts


Statistic = Callable[[Replicates], Floats]
"""Replicates -> one value a resample (R,), or several (R, S); NaN where not defined."""


def replicates(strata: Mapping[str, ScoreState], resamples: int, seed: int) -> Iterator[Replicates]:
    """Yields ``resamples`` resamples of the sum of the strata, at most :data:`ROWS` at once.

    Args:
        strata: Score states by site; every resample has as many patients of each as there are.
        resamples: How many in all.
        seed: Not negative; the same seed gives the same resamples.
    """
    occupied = np.flatnonzero(sum(state.positives + state.negatives for state in strata.values()))
    draws = [_Stratum(name, strata[name], occupied, seed) for name in sorted(strata)]
    for start in range(0, resamples, ROWS):
        rows = min(ROWS, resamples - start)
        counts = np.zeros((rows, 2 * occupied.size), np.int64)
        for stratum in draws:
            stratum.add_to(counts)
        yield Replicates(occupied, counts[:, occupied.size :], counts[:, : occupied.size])


def distribution(
    strata: Mapping[str, ScoreState], statistics: Sequence[Statistic], resamples: int, seed: int
) -> list[Floats]:
    """Returns the values of each statistic over all resamples, (R,) or (R, S)."""
    parts: list[list[Floats]] = [[] for _ in statistics]
    for chunk in replicates(strata, resamples, seed):
        for kept, statistic in zip(parts, statistics, strict=True):
            kept.append(statistic(chunk))
    return [np.concatenate(kept) for kept in parts]


def percentiles(values: Floats, confidence: float, fewest: int) -> tuple[Floats, Floats]:
    """Returns the expanded percentile limits over axis 0; NaN where over 5 % of the resamples are not defined.

    Plain percentiles are too narrow for few patients. Expanded ones (Hesterberg, Am Stat 69:371, 2015) take the
    quantile ``Phi(-sqrt(n / (n - 1)) t)`` with t of n - 1 degrees of freedom; n is the smaller class.

    Args:
        values: A statistic's values, (R,) or (R, S).
        confidence: Nominal.
        fewest: Patients of the smaller class, at least 2.
    """
    from scipy.special import ndtr, stdtrit

    tail = float(ndtr(-np.sqrt(fewest / (fewest - 1)) * stdtrit(fewest - 1, (1 + confidence) / 2)))
    undefined = np.isnan(values).mean(axis=0) > MOST_UNDEFINED
    # A column without any value would make numpy warn.
    filled = np.where(undefined, 0.0, values)
    low, high = np.nanquantile(filled, [tail, 1 - tail], axis=0)
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)


def areas(chunk: Replicates) -> Floats:
    """Returns the AUROC of each resample, (R,); NaN with one class."""
    return area_of(chunk.positives, chunk.negatives)


def area_of(positives: Counts, negatives: Counts) -> Floats:
    """Returns the AUROC of histograms (R, K), ties one half; NaN with one class."""
    below = np.cumsum(negatives, -1)
    pairs = 2 * positives.sum(-1) * below[..., -1]
    with np.errstate(invalid="ignore"):
        area: Floats = np.einsum("...k,...k->...", positives, 2 * below - negatives) / pairs
    return area


def average_precisions(chunk: Replicates) -> Floats:
    """Returns the average precision of each resample, (R,); NaN with one class."""
    hits, calls = _from_top(chunk.positives), _from_top(chunk.positives + chunk.negatives)
    total = hits[:, -1].astype(np.float64)
    total[(total == 0) | (total == calls[:, -1])] = np.nan
    return np.asarray((chunk.positives[:, ::-1] * (hits / np.maximum(calls, 1))).sum(-1) / total)


def brier_scores(bins: int) -> Statistic:
    """Returns the statistic "Brier score with every patient in the middle of her bin"."""
    edges = bin_edges(bins)
    middle = (edges[1:] + edges[:-1]) / 2

    def statistic(chunk: Replicates) -> Floats:
        values = middle[chunk.bins]
        total = chunk.positives @ (1 - values) ** 2 + chunk.negatives @ values**2
        return np.asarray(total / np.maximum(1, (chunk.positives + chunk.negatives).sum(-1)))

    return statistic


def at_threshold(first_bin: int) -> Statistic:
    """Returns balanced accuracy and F1 (R, 2) with patients from ``first_bin`` up called malignant."""

    def statistic(chunk: Replicates) -> Floats:
        called = chunk.bins >= first_bin
        tp, fp = chunk.positives[:, called].sum(-1), chunk.negatives[:, called].sum(-1)
        m, n = chunk.positives.sum(-1), chunk.negatives.sum(-1)
        with np.errstate(invalid="ignore"):
            return np.stack([0.5 * (tp / m + (n - fp) / n), 2 * tp / (m + tp + fp)], axis=1)

    return statistic


def sensitivities(specificity: float) -> Statistic:
    """Returns the statistic "largest sensitivity at no less than this specificity", (R,)."""

    def statistic(chunk: Replicates) -> Floats:
        hits, alarms = _from_top(chunk.positives), _from_top(chunk.negatives)
        rows = [
            row[np.searchsorted(false, allowed_alarms(int(false[-1]), specificity), side="right") - 1]
            for row, false in zip(_led(hits), _led(alarms), strict=True)
        ]
        return _share(np.array(rows), hits[:, -1], alarms[:, -1])

    return statistic


def roc_at(fpr: Floats) -> Statistic:
    """Returns sensitivities (R, S) at no more than these false-positive rates (S,)."""

    def statistic(chunk: Replicates) -> Floats:
        hits, alarms = _from_top(chunk.positives), _from_top(chunk.negatives)
        rows = [
            row[np.searchsorted(false, fpr * false[-1] + 1e-9, side="right") - 1]
            for row, false in zip(_led(hits), _led(alarms), strict=True)
        ]
        return _share(np.array(rows), hits[:, -1:], alarms[:, -1:])

    return statistic


def precision_at(recall: Floats) -> Statistic:
    """Returns precisions (R, S) at the highest threshold that reaches these recalls (S,), above 0."""

    def statistic(chunk: Replicates) -> Floats:
        hits, alarms = _from_top(chunk.positives), _from_top(chunk.negatives)
        rows = []
        for row, false in zip(hits, alarms, strict=True):
            place = np.searchsorted(row, recall * row[-1] - 1e-9)
            calls = row[place] + false[place]
            rows.append(np.where(calls > 0, row[place] / np.maximum(1, calls), np.nan))
        values = np.array(rows)
        values[(hits[:, -1] == 0) | (alarms[:, -1] == 0)] = np.nan
        return values

    return statistic


class _Stratum:
    """One site's patients as cells: bin of the federation's occupied ones, malignant after benign."""

    def __init__(self, name: str, state: ScoreState, occupied: NDArray[np.intp], seed: int) -> None:
        counts = np.concatenate([state.negatives[occupied], state.positives[occupied]])
        self._cells = np.flatnonzero(counts)
        self._counts = counts[self._cells]
        self._patients = int(counts.sum())
        self._generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
        self._by_patient = self._patients <= _DENSE * self._cells.size
        self._cell_of = np.repeat(self._cells, self._counts) if self._by_patient else self._cells

    def add_to(self, counts: Counts) -> None:
        """Adds resamples of the patients to counts (R, 2 K)."""
        if not self._patients:
            return
        if self._by_patient:
            counts += count_drawn(self._cell_of, len(counts), counts.shape[1], self._generator)
        else:
            share = self._counts / self._patients
            counts[:, self._cells] += self._generator.multinomial(self._patients, share, size=len(counts))


def count_drawn(cell_of: NDArray[np.intp], rows: int, cells: int, generator: np.random.Generator) -> Counts:
    """Returns how often each cell occurs (rows, cells) in as many patients drawn as there are, with replacement.

    Args:
        cell_of: Cell of each patient, (P,).
        rows: Number of resamples.
        cells: Number of cells.
        generator: Draws the patients.
    """
    patients = cell_of.size
    small: type[np.unsignedinteger] = np.uint16 if patients <= 2**16 else np.uint32
    drawn = cell_of[generator.integers(0, patients, size=(rows, patients), dtype=small)]
    drawn += cells * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * cells).reshape(rows, cells)


def _from_top(counts: Counts) -> Counts:
    return np.cumsum(counts[:, ::-1], axis=-1)


def _led(curve: Counts) -> Counts:
    """Returns the curve from nobody called malignant on: a zero before each row."""
    return np.concatenate([np.zeros((len(curve), 1), curve.dtype), curve], axis=1)


def _share(hits: NDArray[np.generic], malignant: Counts, benign: Counts) -> Floats:
    total = np.where((malignant > 0) & (benign > 0), malignant, np.nan)
    return np.asarray(hits / total)
