"""How often a hospital that chooses between home and home + federation loses by it, on simulated hospitals.

usage: python -m simulations.analysis.joining_choice [--repeats N]

Hospitals of 20 to 100 patients have twenty features of a known signal; federated scores follow the truth with a
correlation from -0.3 (harmful) to 0.95. The choice is the product's (:mod:`common.training.home_model`); the AUROC of
what it takes less that of home is measured on 3,000 other patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from itertools import product
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from common.config.study import ModelConfig
from common.data.loading import PatientTensors
from common.models.zoo import build_model
from common.privacy.randomness import Randomness
from common.training import home_model as home
from common.training.recipes import Ridge, Scorer
from simulations.analysis.markdown import table

FEATURES = 20
SIZES = (20, 40, 60, 100)
QUALITIES = (-0.3, 0.0, 0.4, 0.7, 0.95)
LEADS, SPANS, SHARES = (0.0, 0.5), (0.25, 0.5, 1.0), (0.25, 0.5)
LED = "best of 1/4 and 1/2, if the sum leads by {:g} standard errors"
SUMMED = "up to {:g}, over {:g} standard errors behind and ahead"
RULES = (*(LED.format(lead) for lead in LEADS), *(SUMMED.format(share, span) for share in SHARES for span in SPANS))
"""Rules that are tried; the first kind was the product's until the second was."""
Direction = NDArray[np.float64]


def main() -> None:
    """Prints a row for each rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    gains = [gains_of(seed, *case) for seed, case in enumerate(list(product(SIZES, QUALITIES)) * repeats)]
    print(table([_row(name, np.array([one[name] for one in gains])) for name in RULES]))


def gains_of(seed: int, patients: int, quality: float) -> dict[str, float]:
    """Returns what each rule's choice adds to the AUROC of one hospital's home model."""
    drawn = np.random.default_rng(seed)
    truth, theirs = _directions(drawn, quality)
    own, others = _hospital(drawn, patients, truth), _hospital(drawn, 3000, truth)
    recipe = Ridge(build_model(ModelConfig(name="linear"), (FEATURES,), 0))
    alone = home.home_model([recipe], own, folds=3, seeds=1, fresh=partial(Randomness.from_seed, seed, "home"))
    labels = others.patient_labels().numpy()
    at_home = roc_auc_score(labels, alone.score(others))
    chosen = dict(_choices(alone, lambda data: data.inputs.double().numpy() @ theirs, own))
    return {name: float(roc_auc_score(labels, one.score(others)) - at_home) for name, one in chosen.items()}


def _choices(alone: home.HeldOut, federated: Scorer, own: PatientTensors) -> Iterator[tuple[str, home.HeldOut]]:
    everybody = np.ones(own.num_patients, dtype=bool)
    sums = [_summed(alone, federated, own, share) for share in SHARES]
    for lead in LEADS:
        best = max(sums, key=lambda one: one.merit_of(everybody))
        gained = best.merit_of(everybody) - alone.merit_of(everybody)
        yield LED.format(lead), best if gained > lead * home.standard_error(best, alone, everybody) else alone
    for share, span in product(SHARES, SPANS):
        with mock.patch.multiple(home, SHARE=share, SPAN=span):
            yield SUMMED.format(share, span), home.with_federation(alone, federated, None, own, everybody)


def _summed(alone: home.HeldOut, federated: Scorer, own: PatientTensors, share: float) -> home.HeldOut:
    """Returns the sum with this share, whatever patients say of it: over so many errors all leads are level."""
    with mock.patch.multiple(home, SHARE=2 * share, SPAN=1e12):
        return home.with_federation(alone, federated, None, own, np.ones(own.num_patients, dtype=bool))


def _directions(drawn: np.random.Generator, quality: float) -> tuple[Direction, Direction]:
    """Returns the direction that parts the classes, and one of this correlation with it."""
    truth = drawn.normal(size=FEATURES)
    truth *= drawn.choice([1.2, 1.8]) / np.linalg.norm(truth)
    other = drawn.normal(size=FEATURES)
    other -= other @ truth * truth / (truth @ truth)
    return truth, quality * truth + np.sqrt(1 - quality**2) * np.linalg.norm(truth) / np.linalg.norm(other) * other


def _hospital(drawn: np.random.Generator, patients: int, truth: Direction) -> PatientTensors:
    """Returns patients of whom about a third are malignant, three of each class at least."""
    labels = (drawn.random(patients) < 0.35).astype(np.float64)
    labels[:6] = [0, 1] * 3
    inputs = drawn.normal(size=(patients, FEATURES)) + np.outer(labels - 0.5, truth)
    names = tuple(str(number) for number in range(patients))
    return PatientTensors(torch.tensor(inputs).float(), torch.tensor(labels).float(), torch.arange(patients), names)


def _row(name: str, gains: NDArray[np.float64]) -> dict[str, object]:
    losses = gains[gains < -0.01]
    return {
        "rule": name,
        "hospitals": len(gains),
        "mean gain": f"{gains.mean():+.4f}",
        "gain above .01": f"{(gains > 0.01).mean():.1%}",
        "loss above .01": f"{(gains < -0.01).mean():.1%}",
        "mean of these losses": f"{losses.mean() if len(losses) else 0:+.3f}",
        "1 in 20 loses": f"{np.quantile(gains, 0.05):+.3f}",
        "worst": f"{gains.min():+.3f}",
    }


if __name__ == "__main__":
    main()
