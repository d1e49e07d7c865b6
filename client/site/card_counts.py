"""What a site's card says of how many patients it has: no more than its scores would tell.

Counts of a validation or test split leave under the floors and the memory of :mod:`client.site.release_floor`, as its
score histograms do, so that no subtraction within a card, between two cards or between a card and scores singles out a
few. Of training patients only the declared number leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from client.site.cohort_notes import note_scored
from client.site.release_floor import releasing
from common.errors import TooFewPatients

if TYPE_CHECKING:
    from client.site.hospital import Site
    from common.config.study import StudyConfig

SCORED = ("val", "test")


def card_counts(site: Site, study: StudyConfig) -> dict[str, dict[str, int | None]]:
    """Returns patients by split and class; None stands for what is not told.

    Of a site whose policy lets single patients be counted, which is for public data, those from the study's
    ``min_cell`` on. Of a study whose score counts hold noise nothing is told: an exact number would take it off. So the
    ledger notes who was counted without noise, as it does of scores.

    Raises:
        DataError: What was released before cannot be read, so nothing leaves until it is restored; or a patient who
            would be counted was trained on.
    """
    if study.evaluation.noise:
        return {split: dict.fromkeys(row) for split, row in site.cohort.counts.items()}
    told = {split: _told(site, study, split, row) for split, row in site.cohort.counts.items()}
    for split in SCORED:
        if any(count is not None for count in told.get(split, {}).values()):
            note_scored(site, study.digest(), split)
    return told


def _told(site: Site, study: StudyConfig, split: str, row: Mapping[str, int]) -> dict[str, int | None]:
    if site.policy.counts_anybody:
        return suppress(row, study.evaluation.min_cell)
    return dict(row) if _may_leave(site, study, split) else dict.fromkeys(row)


def suppress(row: Mapping[str, int], min_cell: int) -> dict[str, int | None]:
    """Returns the counts of a split with each below ``min_cell`` as None, and their sum too if one of them is."""
    small = {name for name, count in row.items() if count < min_cell}
    return {name: None if name in small or (small and name == "patients") else count for name, count in row.items()}


def _may_leave(site: Site, study: StudyConfig, split: str) -> bool:
    """Returns whether a split may be counted; if so, it is remembered that it was."""
    if split not in SCORED or not site.policy.release_metrics:
        return False
    labels = {patient: label for patient, (place, label) in site.cohort.members.items() if place == split}
    try:
        with releasing(site, study, tuple(labels), np.array(list(labels.values()), dtype=int)):
            return True
    except TooFewPatients:
        return False
