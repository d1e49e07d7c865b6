"""What coarse score histograms cost: the error of a site's AUROC, beside the error that few patients make anyway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SEPARATION = 1.2
"""Distance of the classes' log-odds in standard deviations: an AUROC of about 0.80."""
MALIGNANT = 0.35


def histograms(patients: Sequence[int] = (50, 150, 500, 5000), repeats: int = 400) -> list[dict[str, Any]]:
    """Returns for each size of a split how far coarse bins move its AUROC, and its sampling error."""
    return [_row(count, repeats) for count in patients]


def _row(patients: int, repeats: int) -> dict[str, Any]:
    import numpy as np
    from sklearn.metrics import roc_auc_score

    from common.evaluation.metrics import auroc
    from common.evaluation.scores import DEFAULT_BINS, merged_bins
    from common.evaluation.subgroups import grouped_state

    generator, exact, told = np.random.default_rng(0), [], []
    for _ in range(repeats):
        labels = (np.arange(patients) < round(MALIGNANT * patients)).astype(int)
        scores = 1 / (1 + np.exp(-generator.normal(SEPARATION * labels - 1, 1.0)))
        exact.append(roc_auc_score(labels, scores))
        told.append(auroc(grouped_state(scores, labels, [{}] * patients, (), bins=DEFAULT_BINS, min_cell=0)) or 0.0)
    error = np.subtract(told, exact)
    return {"patients": patients, "bins": DEFAULT_BINS // merged_bins(DEFAULT_BINS, patients),
            "AUROC": float(np.mean(exact)), "sampling error": float(np.std(exact)), "mean shift": float(error.mean()),
            "root mean square shift": float(np.sqrt(np.mean(error**2))),
            "largest shift": float(np.abs(error).max())}  # fmt: skip
