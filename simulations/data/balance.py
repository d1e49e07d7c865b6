"""How even a split is in which every patient's place is decided by a hash of that patient alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from common.data.splits import place_of

PATIENTS = (50, 100, 300)
DRAWS = 400


def balance(patients: int, malignant_share: float, share: float = 0.15, draws: int = DRAWS) -> dict[str, Any]:
    """Returns how a split of ``share`` comes out over many seeds, for a cohort of so many patients.

    Keys: ``patients``; ``in_split`` and ``malignant_share``, each as the 5th, 50th and 95th of 100 in order; and
    ``lacks_a_class``, the share of seeds for which validation or test has patients of one class only.
    """
    names, malignant = [f"patient {index}" for index in range(patients)], round(patients * malignant_share)
    sizes, shares, lacking = [], [], 0
    for seed in range(draws):
        places = [place_of(name, seed, 1 - 2 * share, share) for name in names]
        found = {split: _classes(places, split, malignant) for split in ("train", "val", "test")}
        ill, healthy = found["test"]
        sizes.append(ill + healthy)
        shares.append(ill / max(1, ill + healthy))
        lacking += not all(all(classes) for classes in found.values())
    return {
        "patients": patients, "in_split": _range(sizes), "malignant_share": _range(shares),
        "lacks_a_class": lacking / draws,
    }  # fmt: skip


def _classes(places: Sequence[str], split: str, malignant: int) -> tuple[int, int]:
    return sum(place == split for place in places[:malignant]), sum(place == split for place in places[malignant:])


def _range(values: Sequence[float]) -> list[float]:
    return [float(value) for value in np.percentile(values, [5, 50, 95])]
