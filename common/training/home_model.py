"""The best a hospital can do by itself, and with the federated model beside it; chosen by cross-validation at home.

Everything here sees the hospital's patients without noise. Nothing of it may be sent but few figures, as the site's
policy allows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from common.data.loading import PatientTensors
from common.privacy.randomness import Randomness
from common.training.recipes import Logits, Recipe, Scorer, mean_of, some_patients

SHARE = 0.5
"""Largest share of a model with the federation in a sum of scores with the home model."""
SPAN = 0.5
"""By how many standard errors of their difference such a model must lead the home model to have that share, and be
behind it to have none; between the two the share grows evenly."""
Fresh = Callable[[int], Randomness]
"""Returns the randomness of the n-th fit."""


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
    """A model with the scores it gives patients that it was not fitted on.

    Attributes:
        name: How it came about.
        score: Logits of other patients.
        logits: (P,), of the hospital's own patients, each from a fit that did not see her.
        labels: (P,), 1 malignant.
        folds: (P,), which patients were held out together; scores of two folds are not ranked against each other.
    """

    name: str
    score: Scorer
    logits: Logits
    labels: NDArray[np.float64]
    folds: NDArray[np.int64]

    def merit_of(self, counts: NDArray[np.bool_]) -> float:
        """Returns how well the patients in ``counts`` (P,) are ranked; see :func:`concordance`."""
        return concordance(self.logits[counts], self.labels[counts], self.folds[counts])

    @cached_property
    def line(self) -> tuple[float, float]:
        """Returns intercept and slope, at least 0, of the log odds of :meth:`probability` in the logit."""
        from sklearn.linear_model import LogisticRegression

        if len(np.unique(self.labels)) < 2:
            return 0.0, 1.0
        spread = float(self.logits.std()) or 1.0
        fitted = LogisticRegression(C=1.0).fit(self.logits[:, None] / spread, self.labels)
        return float(fitted.intercept_[0]), max(0.0, float(fitted.coef_[0, 0])) / spread

    def probability(self, logits: Logits) -> NDArray[np.float64]:
        """Returns probabilities, calibrated on the held-out scores (Platt 1999, section 2, with a ridge penalty)."""
        from scipy.special import expit

        intercept, slope = self.line
        return np.asarray(expit(intercept + slope * logits), dtype=np.float64)


def home_model(recipes: Sequence[Recipe], data: PatientTensors, *, folds: int, seeds: int, fresh: Fresh) -> HeldOut:
    """Returns the model of all patients that ranks held-out ones best, the first of equals.

    Args:
        recipes: What is tried.
        data: The hospital's patients.
        folds: Parts held out in turn, fewer where a class has fewer patients.
        seeds: Final fits whose logits are averaged.
        fresh: Randomness of each fit.
    """
    of_fold = fold_of(data.patient_labels().numpy(), folds)
    everybody = np.ones(data.num_patients, dtype=bool)
    fits = folds + seeds
    found = [
        (option, number)
        for number, recipe in enumerate(recipes)
        for option in _held_out(recipe, recipe.prepared(data), of_fold, partial(_fit_of, fresh, number * fits))
    ]
    chosen, number = max(found, key=lambda pair: pair[0].merit_of(everybody))
    recipe = recipes[number]
    own = recipe.prepared(data)
    last = mean_of([recipe.fit(own, fresh(number * fits + folds + seed))[chosen.name] for seed in range(seeds)])
    return dataclasses.replace(chosen, score=lambda other: last(recipe.prepared(other)))


def _fit_of(fresh: Fresh, first: int, fold: int) -> Randomness:
    return fresh(first + fold)


def with_federation(
    home: HeldOut, federated: Scorer, tuned: HeldOut | None, data: PatientTensors, counts: NDArray[np.bool_]
) -> HeldOut:
    """Returns a sum of home and federated scores, or the home model where the federated one is worse.

    Two models that err on different patients are better together than either, and few patients cannot show it. So the
    federated share follows what held-out patients say, from none to :data:`SHARE` (ADR 22 says how often and how much
    that loses).

    Args:
        home: The home model, of ``data``.
        federated: The federated model.
        tuned: The federated model, trained on at home.
        data: The hospital's patients.
        counts: (P,), those for whom a federated score shows how it does on new patients; they choose, and they
            calibrate what is chosen.
    """
    theirs = {"the federated model": (federated, federated(data))}
    theirs |= {"the federated model tuned at home": (tuned.score, tuned.logits)} if tuned else {}
    shares = {name: _share(home, logits, counts) for name, (_, logits) in theirs.items()}
    options = [_sum(home, name, *theirs[name], share, counts) for name, share in shares.items() if share > 0]
    if not options:
        return home
    best = max(options, key=lambda option: option.merit_of(counts))
    return dataclasses.replace(best, logits=best.logits[counts], labels=best.labels[counts], folds=best.folds[counts])


def _share(home: HeldOut, logits: Logits, counts: NDArray[np.bool_]) -> float:
    """Returns the share of the model with these logits (P,); 0 where too few patients can tell."""
    other = dataclasses.replace(home, logits=logits)
    error, lead = standard_error(other, home, counts), other.merit_of(counts) - home.merit_of(counts)
    if not np.isfinite(error):
        return 0.0
    spans = lead / (SPAN * error) if error > 0 else float(np.sign(lead))
    return SHARE * float(np.clip((1 + spans) / 2, 0.0, 1.0))


def standard_error(first: HeldOut, second: HeldOut, counts: NDArray[np.bool_]) -> float:
    """Returns the standard error of the difference of two models' merits on the same patients in ``counts`` (P,).

    DeLong's (Biometrics 44:837, 1988), with the placements of all folds taken together; infinite where a class has
    fewer than two patients.
    """
    malignant, benign, pairs = list[float](), list[float](), 0
    for fold in np.unique(second.folds[counts]):
        of = counts & (second.folds == fold)
        wins = _wins(first.logits[of], second.labels[of]) - _wins(second.logits[of], second.labels[of])
        malignant, benign, pairs = [*malignant, *wins.sum(1)], [*benign, *wins.sum(0)], pairs + wins.size
    if min(len(malignant), len(benign)) < 2 or not pairs:
        return float("inf")
    variance = sum(len(side) * float(np.var(side, ddof=1)) for side in (malignant, benign))
    return float(np.sqrt(variance)) / pairs


def _wins(logits: Logits, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns (M, B), 1 where the malignant patient is above the benign one, ties 1/2."""
    gaps = logits[labels == 1][:, None] - logits[labels == 0][None, :]
    return np.asarray((gaps > 0) + 0.5 * (gaps == 0), dtype=np.float64)


def _sum(home: HeldOut, called: str, other: Scorer, theirs: Logits, share: float, counts: NDArray[np.bool_]) -> HeldOut:
    """Each model's logits count in units of their own spread."""
    ours, others = (float(logits[counts].std() if counts.any() else 0.0) or 1.0 for logits in (home.logits, theirs))

    def add(first: Logits, second: Logits) -> Logits:
        return (1 - share) * first / ours + share * second / others

    name = f"{share:.0%} of the score from {called}, the rest from {home.name}"
    logits = add(home.logits, theirs)
    return dataclasses.replace(home, name=name, logits=logits, score=lambda new: add(home.score(new), other(new)))


def fold_of(labels: NDArray[np.float64], folds: int) -> NDArray[np.int64]:
    """Returns (P,) the part that each patient is held out with: both classes in each, as long as there are enough.

    One part for everybody, which then is fitted on too, where a class has fewer than two patients.
    """
    from sklearn.model_selection import StratifiedKFold

    of_fold = np.zeros(len(labels), dtype=np.int64)
    parts = min(folds, int((labels == 1).sum()), int((labels == 0).sum()))
    if parts >= 2:
        cut = StratifiedKFold(parts, shuffle=True, random_state=0).split(labels, labels)
        for fold, (_, held) in enumerate(cut):
            of_fold[held] = fold
    return of_fold


def concordance(logits: Logits, labels: NDArray[np.float64], folds: NDArray[np.int64]) -> float:
    """Returns the share of pairs of a malignant and a benign patient of one fold in the right order; ties are half."""
    right, pairs = 0.0, 0
    for fold in np.unique(folds):
        of = folds == fold
        wins = _wins(logits[of], labels[of])
        right, pairs = right + float(wins.sum()), pairs + wins.size
    return right / pairs if pairs else 0.5


def _held_out(recipe: Recipe, data: PatientTensors, of_fold: NDArray[np.int64], fresh: Fresh) -> list[HeldOut]:
    """Returns each of the recipe's models, with held-out scores and the scorer of one of its folds."""
    labels = data.patient_labels().numpy().astype(np.float64)
    logits: dict[str, Logits] = {}
    scorers: Mapping[str, Scorer] = {}
    for fold in np.unique(of_fold):
        held = np.flatnonzero(of_fold == fold)
        rest = np.flatnonzero(of_fold != fold)
        scorers = recipe.fit(some_patients(data, rest) if len(rest) else data, fresh(int(fold)))
        for name, scorer in scorers.items():
            logits.setdefault(name, np.zeros(len(labels)))[held] = scorer(some_patients(data, held))
    return [HeldOut(name, scorers[name], logits[name], labels, of_fold) for name in logits]
