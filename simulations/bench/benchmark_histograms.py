"""What coarse score histograms cost: the error of a site's AUROC, beside the error that few patients make anyway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SEPARATION = 1.2
"""Distance of the classes' log-odds in standard deviations: an AUROC of about 0.80."""
MALIGNANT = 0.35


def histograms(patients: Sequence[int] = (50, 150, 500, 5000), repeats: int = 400) -> list[dict[str, Any]]:
    """Returns for each size of a split how far telling groups moves a site's AUROC, and its sampling error.

    For a model whose scores spread and for one whose scores all lie between 0.49 and 0.51, and for four such sites
    together.
    """
    return [_row(count, sites, spread, repeats) for count in patients for sites in (1, 4) for spread in (1.0, 0.01)]


def _row(patients: int, sites: int, spread: float, repeats: int) -> dict[str, Any]:
    import numpy as np
    from sklearn.metrics import roc_auc_score

    from common.evaluation.metrics import auroc
    from common.evaluation.scores import DEFAULT_BINS
    from common.evaluation.subgroups import grouped_state

    generator, exact, told = np.random.default_rng(0), [], []
    labels = (np.arange(patients) < round(MALIGNANT * patients)).astype(int)
    for _ in range(repeats):
        scores = [1 / (1 + np.exp(-spread * generator.normal(SEPARATION * labels, 1.0))) for _ in range(sites)]
        states = [
            grouped_state(part, labels, [{}] * patients, (), bins=DEFAULT_BINS, min_cell=0, together=5)
            for part in scores
        ]
        exact.append(roc_auc_score(np.tile(labels, sites), np.concatenate(scores)))
        told.append(auroc(sum(states[1:], states[0])) or 0.0)
    error = np.subtract(told, exact)
    return {"patients of a site": patients, "sites": sites, "spread of the log-odds": spread,
            "AUROC": float(np.mean(exact)), "sampling error": float(np.std(exact)), "mean shift": float(error.mean()),
            "root mean square shift": float(np.sqrt(np.mean(error**2))),
            "largest shift": float(np.abs(error).max())}  # fmt: skip
