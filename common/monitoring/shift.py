"""Do the inputs of a week look like the frozen reference? One test a measure, corrected for their number.

Kolmogorov and Smirnov for numbers, chi-square for words (scipy), Benjamini and Hochberg (JRSS-B 57:289, 1995) over the
measures of a window; an alarm is a measure that is rejected in two windows in a row. PSI (Siddiqi 2006, chapter 10) is
told beside them as a size, never as a test: at a few dozen exams it is large by chance alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Column = Sequence[float] | Sequence[str]
QUANTILES = 10
RARE = 5
"""Fewer expected exams than this of a word, in the smaller sample, and it counts among the other rare ones."""
_ABSENT = 0.5
"""Count that stands for nobody in a PSI, which would be infinite."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One measure in one window.

    Attributes:
        p: Of the test, in [0, 1].
        rejected: By Benjamini and Hochberg among the measures of the window.
        psi: Population stability index, at least 0.
        reference: How many exams of the reference have the measure.
        window: How many of the window.
        words: Of a tag, how many words were told apart; 0: it is a number.
    """

    measure: str
    p: float
    rejected: bool
    psi: float
    reference: int
    window: int
    words: int


def compared(reference: Mapping[str, Column], window: Mapping[str, Column], level: float) -> tuple[Measured, ...]:
    """Returns the tests of the measures that both have.

    While nothing changed, the probability of any rejection in a window is at most ``level`` if the measures are
    independent or positively dependent (Benjamini and Yekutieli, Ann Stat 29:1165, 2001, theorem 1.2).

    Args:
        reference: Numbers or words by measure.
        window: The same of the window.
        level: False discovery rate.
    """
    names = [name for name in sorted(reference) if len(reference[name]) > 1 and len(window.get(name, ())) > 1]
    if not names:
        return ()
    p_values = [_p_value(reference[name], window[name]) for name in names]
    return tuple(
        Measured(measure=name, p=p, rejected=no, psi=psi(reference[name], window[name]), reference=len(reference[name]),
               window=len(window[name]), words=_told_apart(reference[name], window[name]))
        for name, p, no in zip(names, p_values, benjamini_hochberg(p_values, level), strict=True)
    )  # fmt: skip


def benjamini_hochberg(p_values: Sequence[float], level: float) -> tuple[bool, ...]:
    """Returns which are rejected: the k smallest, for the largest k with ``p_(k) <= k level / m``."""
    order = sorted(p_values)
    below = [p for rank, p in enumerate(order, start=1) if p <= rank * level / len(order)]
    limit = max(below, default=-1.0)
    return tuple(p <= limit for p in p_values)


def in_a_row(windows: Sequence[Sequence[Measured]]) -> dict[str, int]:
    """Returns each measure that was rejected in two windows in a row, with the index of the second."""
    found: dict[str, int] = {}
    for index in range(1, len(windows)):
        before, now = ({one.measure for one in windows[at] if one.rejected} for at in (index - 1, index))
        for measure in sorted(before & now):
            found.setdefault(measure, index)
    return found


def psi(reference: Column, window: Column) -> float:
    """Returns ``sum (w - r) log(w / r)`` over the shares of the reference's deciles, or of words."""
    first, second = _counts(reference, window)
    r, w = (np.maximum(part, _ABSENT) / np.maximum(part, _ABSENT).sum() for part in (first, second))
    return float(((w - r) * np.log(w / r)).sum())


def smallest_distance(reference: int, window: int, level: float, power: float = 0.9) -> float:
    """Returns the distance of two distribution functions that one window shows with about this power or more.

    Where they are furthest apart, the difference of the empirical ones is about normal, with a standard deviation of at
    most ``scale / 2``; it must pass the limit of the test, ``scale sqrt(-log(level / 2) / 2)`` (Smirnov 1948; Massart,
    Ann Probab 18:1269, 1990). Above 1: nothing is sure to be seen.
    """
    scale = math.sqrt(1 / reference + 1 / window)
    return scale * (math.sqrt(-math.log(level / 2) / 2) + NormalDist().inv_cdf(power) / 2)


def in_deviations(distance: float) -> float | None:
    """Returns the shift of a normal mean, in standard deviations, with this distance; None: there is none."""
    return None if distance >= 1 else 2 * NormalDist().inv_cdf((1 + distance) / 2)


def smallest_move(reference: int, window: int, words: int, level: float, power: float = 0.9) -> float | None:
    """Returns how far the share of a tag must move for one window to show it with the power; None: no move would.

    From the noncentral chi-square distribution with ``words - 1`` degrees of freedom, for a tag near one half, where
    it takes the most (Cohen 1988, section 7.2).
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2, ncx2

    freedom = max(1, words - 1)
    limit = chi2.isf(level, freedom)
    needed = brentq(lambda strength: ncx2.sf(limit, freedom, strength) - power, 1e-6, 1e4)
    move = math.sqrt(needed * 0.25 * (1 / reference + 1 / window))
    return None if move >= 0.5 else move


def _told_apart(reference: Column, window: Column) -> int:
    return _without_rare(np.stack(_counts(reference, window))).shape[1] if _words(reference) else 0


def _p_value(reference: Column, window: Column) -> float:
    if _words(reference):
        return _chi_square(reference, window)
    from scipy.stats import ks_2samp

    return float(ks_2samp(reference, window, method="auto").pvalue)


def _chi_square(reference: Column, window: Column) -> float:
    from scipy.stats import chi2_contingency

    table = _without_rare(np.stack(_counts(reference, window)))
    if table.shape[1] < 2:
        return 1.0
    return float(chi2_contingency(table, correction=False).pvalue)


def _without_rare(table: Floats) -> Floats:
    """Returns the table with its rare columns added to one, and that to the smallest other while it is rare itself."""
    expected = table.sum(0) * table.sum(1).min() / table.sum()
    order = np.argsort(expected)
    columns = [table[:, index] for index in order]
    while len(columns) > 1 and columns[0].sum() * table.sum(1).min() / table.sum() < RARE:
        columns = sorted([columns[0] + columns[1], *columns[2:]], key=lambda column: float(column.sum()))
    return np.stack(columns, axis=1)


def _counts(reference: Column, window: Column) -> tuple[Floats, Floats]:
    if _words(reference):
        first, second = Counter(reference), Counter(window)
        names = sorted({*first, *second}, key=str)
        return _array([first[name] for name in names]), _array([second[name] for name in names])
    edges = np.unique(np.quantile(_array(reference), np.linspace(0, 1, QUANTILES + 1)[1:-1]))
    both = (np.bincount(np.searchsorted(edges, _array(c)), minlength=len(edges) + 1) for c in (reference, window))
    first_counts, second_counts = both
    return first_counts.astype(np.float64), second_counts.astype(np.float64)


def _words(column: Column) -> bool:
    return isinstance(column[0], str)


def _array(values: Sequence[object]) -> Floats:
    return np.asarray(values, dtype=np.float64)
