"""Score histograms by class and subgroup: all that a site sends about its patients' scores, adding with ``+``.

Every metric of :mod:`common.evaluation` is a function of a :class:`ScoreState`, so the pooled metric of a federation
is the metric of the sum of its sites' states. A state holds counts, no patient. It is not differentially private by
itself: a report lists it under "not covered". Two things need no field of their own. Calibration sums (Brier, ECE,
slope) are sums over bins, within a proved bound. And a bootstrap over patients needs no replicate from the site: a
patient is one count, so resampling patients and then counting them is resampling the counts (``docs/metrics.md``).

The bin edges depend on the number of bins only, never on data. Half of the bins are uniform in probability and
half are uniform in log-odds, so a bin is at most ``2 / bins`` wide in probability everywhere and at most
``64 / bins`` wide in log-odds between -16 and 16: scores of a timid model around 0.5 and of an overconfident one
against 0 or 1 both keep their order. An even number of bins has an edge at exactly 0.5.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import DataError

SCHEMA_VERSION = 2
"""1 had dense histograms and no subgroups."""
DEFAULT_BINS = 4096
MIN_BINS, MAX_BINS = 16, 65_536
LEAST_GROUP = 4
"""Where every bin with a patient has so many, the scores are taken for groups told as one."""
MAX_PATIENTS = 10**9
"""Largest count of one class: the number of pairs, 10**18, still fits int64."""
MAX_GROUPS = 256
"""Of one site; a sum over sites may hold more, since each has scanners of its own."""
GROUP_NAME = re.compile(r"[a-z0-9_]{1,40}=[a-z0-9_.-]{1,40}")
"""``attribute=value``: what a subgroup may be called, for its name leaves the site."""
_LOGIT_RANGE = 16.0
"""A float32 probability reaches no further than 1 - 6e-8, log-odds 16.6."""
_BISECTIONS = 80
"""Halvings until a bracket below one float64 step around any edge of the grid."""

CLASSES = ("positives", "negatives")
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@functools.cache
def bin_edges(bins: int) -> Floats:
    """Returns the ``bins + 1`` strictly rising edges from 0 to 1; read-only float64, symmetric around 0.5.

    Bin ``k`` holds the scores in ``[edges[k], edges[k + 1])``; the last one also holds 1.

    Raises:
        DataError: ``bins`` is outside [16, 65536].
    """
    if not MIN_BINS <= bins <= MAX_BINS:
        raise DataError(f"Expected {MIN_BINS} to {MAX_BINS} score bins, got {bins}: set evaluation.bins in this range.")
    lower = _inverse_warp(np.arange(1, (bins + 1) // 2) / bins)
    middle = [0.5] if bins % 2 == 0 else []
    edges = np.concatenate([[0.0], lower, middle, 1.0 - lower[::-1], [1.0]])
    edges.setflags(write=False)
    return edges


def coarsened(scores: Floats, bins: int, together: int) -> Floats:
    """Returns the scores (P,), each told as that of a group of patients with neighbouring scores.

    The patients in the order of their scores are cut into groups of ``together`` or more (microaggregation:
    Domingo-Ferrer and Mateo-Sanz 2002, section 3); all of a group are counted in one bin, the roundest between its
    lower and upper quartile, and with 1 the scores stay as they are. So no patient is counted alone, wherever a hub's
    weights put the scores; a bin is no nearer to anybody's score than the scores of half a group are to each other, and
    who stands apart from a group does not move it. A score that changes its rank shifts the groups between. The order
    of groups is kept: a site's own AUROC moves by at most half the share of the pairs that are told alike. What leaves
    are counts in the study's bins, so states of sites of any size add.

    Raises:
        DataError: ``bins`` is out of range.
    """
    edges = bin_edges(bins)
    if together == 1 or not len(scores) or not ((scores >= 0) & (scores <= 1)).all():
        return scores  # nothing to tell, or what is refused where it is counted
    order = np.argsort(scores, kind="stable")
    told = np.empty_like(scores)
    for group in np.array_split(order, max(1, len(scores) // together)):
        outside = (len(group) - 1) // 4
        inner = scores[group[[outside, len(group) - 1 - outside]]]
        at = _roundest(*np.searchsorted(edges[1:-1], inner, side="right").tolist())
        told[group] = (edges[at] + edges[at + 1]) / 2
    return told


def _roundest(low: int, high: int) -> int:
    """Returns the number from ``low`` to ``high`` that most powers of two divide; ``low`` where it is ``high``."""
    shift = max(0, (low ^ high).bit_length() - 1)
    return high >> shift << shift


def nearest_edge(threshold: float, bins: int) -> float:
    """Returns the bin edge closest to a threshold: the one that metrics really use; within ``1 / bins`` of it."""
    edges = bin_edges(bins)
    return float(edges[np.abs(edges - threshold).argmin()])


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ScoreState:
    """Counts of malignant (``positives``) and benign (``negatives``) patients a score bin; int64 (B,), read-only.

    Attributes:
        groups: Counts of subgroups by ``attribute=value``; the groups of one attribute do not overlap.

    Raises:
        DataError: The arrays are not integer, one-dimensional, of one length in [16, 65536], or hold a negative
            count or more than 10**9 patients; or the groups of an attribute hold more patients than there are.
    """

    positives: Counts
    negatives: Counts
    groups: Mapping[str, ScoreState] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        positives, negatives = _counts(self.positives, "positives"), _counts(self.negatives, "negatives")
        if positives.shape != negatives.shape:
            raise DataError(f"Expected as many bins in both classes, got {positives.size} and {negatives.size}.")
        object.__setattr__(self, "positives", positives)
        object.__setattr__(self, "negatives", negatives)
        _check_groups(self)
        object.__setattr__(self, "groups", MappingProxyType(dict(sorted(self.groups.items()))))

    @classmethod
    def of(cls, probabilities: ArrayLike, labels: ArrayLike, bins: int = DEFAULT_BINS) -> Self:
        """Returns the state of patients' scores.

        Args:
            probabilities: Probability of malignancy a patient, float (P,) in [0, 1].
            labels: 1 malignant, 0 benign, (P,).
            bins: Number of bins, the same at every site of a study.

        Raises:
            DataError: Shapes differ, a score is outside [0, 1] or not a number, or a label is not 0 or 1.
        """
        scores, classes = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
        if scores.ndim != 1 or scores.shape != classes.shape:
            raise DataError(f"Expected one score and one label a patient, got shapes {scores.shape}, {classes.shape}.")
        if not ((scores >= 0) & (scores <= 1)).all():
            raise DataError("Expected scores between 0 and 1, got others or not-a-number: check the model's output.")
        if not np.isin(classes, (0, 1)).all():
            raise DataError("Expected labels 0 (benign) and 1 (malignant), got others: check the manifest.")
        index = np.searchsorted(bin_edges(bins)[1:-1], scores, side="right")
        positives, negatives = (np.bincount(index[classes == label], minlength=bins) for label in (1, 0))
        return cls(positives, negatives)

    @classmethod
    def empty(cls, bins: int = DEFAULT_BINS) -> Self:
        """Returns the state of nobody: the neutral element of ``+``."""
        return cls(np.zeros(bins, np.int64), np.zeros(bins, np.int64))

    @property
    def bins(self) -> int:
        return self.positives.size

    @property
    def malignant(self) -> int:
        return int(self.positives.sum())

    @property
    def benign(self) -> int:
        return int(self.negatives.sum())

    @property
    def patients(self) -> int:
        return self.malignant + self.benign

    def __add__(self, other: ScoreState) -> ScoreState:
        """Returns the state of both groups of patients.

        Raises:
            DataError: The numbers of bins differ.
        """
        if self.bins != other.bins:
            raise DataError(
                f"Expected states of {self.bins} bins, got {other.bins}: one study has one evaluation.bins."
            )
        groups = dict(self.groups)
        for name, group in other.groups.items():
            groups[name] = groups[name] + group if name in groups else group
        return ScoreState(self.positives + other.positives, self.negatives + other.negatives, groups)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScoreState):
            return NotImplemented
        same = np.array_equal(self.positives, other.positives) and np.array_equal(self.negatives, other.negatives)
        return same and dict(self.groups) == dict(other.groups)

    def __hash__(self) -> int:
        return hash((self.positives.tobytes(), self.negatives.tobytes(), tuple(self.groups.items())))

    def without_groups(self) -> ScoreState:
        """Returns the counts of all patients alone."""
        return ScoreState(self.positives, self.negatives)

    @property
    def is_grouped(self) -> bool:
        """Whether the patients seem to be told in groups, as :func:`coarsened` does: no bin has a few alone."""
        patients = self.positives + self.negatives
        return int(patients[patients > 0].min(initial=self.patients)) >= min(LEAST_GROUP, self.patients)

    def to_json(self) -> dict[str, Any]:
        """Returns the state as a JSON object of whole numbers: of each histogram the occupied bins and their counts.

        At most ``24`` characters a patient and subgroup attribute, whatever the number of bins.
        """
        return {
            "schema_version": SCHEMA_VERSION,
            "bins": self.bins,
            **_sparse(self),
            "groups": {name: _sparse(group) for name, group in self.groups.items()},
        }

    @classmethod
    def from_json(cls, document: object, bins: int | None = None) -> Self:
        """Returns the state that :meth:`to_json` wrote; with ``bins``, only one of that many bins.

        Raises:
            DataError: The document is not such an object, is of another version, or its counts are not valid.
        """
        if not isinstance(document, Mapping) or set(document) != {"schema_version", "bins", "groups", *CLASSES}:
            raise DataError("Expected a score state with schema_version, bins, positives, negatives and groups.")
        if document["schema_version"] != SCHEMA_VERSION:
            raise DataError(f"Expected score state version {SCHEMA_VERSION}, got {document['schema_version']!r}.")
        size, groups = document["bins"], document["groups"]
        if type(size) is not int or not MIN_BINS <= size <= MAX_BINS or bins not in (None, size):
            raise DataError(f"Expected a score state of {bins or f'{MIN_BINS} to {MAX_BINS}'} bins, got another size.")
        if not isinstance(groups, Mapping) or len(groups) > MAX_GROUPS:
            raise DataError(f"Expected at most {MAX_GROUPS} subgroups by name in a score state.")
        parts = {str(name): ScoreState(**_dense(group, size)) for name, group in groups.items()}
        return cls(**_dense(document, size), groups=parts)


def _check_groups(state: ScoreState) -> None:
    sums: dict[str, list[Counts]] = {}
    for name, group in state.groups.items():
        if not GROUP_NAME.fullmatch(name) or group.groups or group.bins != state.bins:
            raise DataError("Expected subgroups named attribute=value, with as many bins as the whole.")
        sums.setdefault(name.partition("=")[0], []).append(np.stack([group.positives, group.negatives]))
    whole = np.stack([state.positives, state.negatives])
    if any((sum(parts) > whole).any() for parts in sums.values()):
        raise DataError("Expected the subgroups of an attribute to be among the patients that were scored.")


def _sparse(state: ScoreState) -> dict[str, list[list[int]]]:
    both = {}
    for name in CLASSES:
        counts: Counts = getattr(state, name)
        occupied = np.flatnonzero(counts)
        both[name] = [occupied.tolist(), counts[occupied].tolist()]
    return both


def _dense(document: object, bins: int) -> Any:
    if not isinstance(document, Mapping):
        raise DataError("Expected each histogram of a score state as positives and negatives.")
    return {name: _histogram(document.get(name), bins, name) for name in CLASSES}


def _histogram(pair: object, bins: int, name: str) -> Counts:
    if not isinstance(pair, list) or len(pair) != 2:
        raise DataError(f"Expected {name} as a list of bins and a list of counts.")
    index, counts = (_whole_numbers(values, name) for values in pair)
    if index.size != counts.size or (index.size and (index[0] < 0 or index[-1] >= bins or (np.diff(index) <= 0).any())):
        raise DataError(f"Expected {name} to give one count to each of some of the {bins} bins, in rising order.")
    histogram = np.zeros(bins, np.int64)
    histogram[index] = counts
    return histogram


def _counts(values: Any, name: str) -> Counts:
    array = np.asarray(values)
    if array.ndim != 1 or not MIN_BINS <= array.size <= MAX_BINS or array.dtype.kind not in "iu":
        raise DataError(
            f"Expected {name} to be {MIN_BINS} to {MAX_BINS} whole numbers in a row, got {array.dtype} {array.shape}."
        )
    if int(array.min()) < 0 or int(array.max()) > MAX_PATIENTS or int(array.sum()) > MAX_PATIENTS:
        raise DataError(f"Expected {name} to count between 0 and {MAX_PATIENTS} patients, got others.")
    counts = array.astype(np.int64)
    counts.setflags(write=False)
    return counts


def _whole_numbers(values: Any, name: str) -> Counts:
    # bool is an int in Python; type() keeps true/false out.
    if (
        not isinstance(values, list)
        or len(values) > MAX_BINS
        or any(type(value) is not int or abs(value) > MAX_PATIENTS for value in values)
    ):
        raise DataError(f"Expected {name} to be a list of whole numbers up to {MAX_PATIENTS}.")
    return np.asarray(values, dtype=np.int64)


def _warp(probability: Floats) -> Floats:
    """Maps (0, 1) onto (0, 1): the mean of the probability and of its log-odds scaled from [-16, 16] to [0, 1]."""
    logit = np.log(probability) - np.log1p(-probability)
    return 0.5 * probability + 0.5 * np.clip((logit + _LOGIT_RANGE) / (2 * _LOGIT_RANGE), 0.0, 1.0)


def _inverse_warp(position: Floats) -> Floats:
    """Inverts :func:`_warp` below 0.5 by bisection on log-odds."""
    low, high = np.full_like(position, -40.0), np.zeros_like(position)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        below = _warp(1.0 / (1.0 + np.exp(-middle))) < position
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray(1.0 / (1.0 + np.exp(-high)), dtype=np.float64)
