"""From what a publisher labels (films, lesions, patches) to the one label a patient has here; and splits by case."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from common.data.manifest import Record, of_both_classes
from common.data.splits import place_of

PUBLIC_SEED = 0
"""Divides public sets the same for every study."""
BIRADS = {"1": 0, "2": 0, "4": 1, "4A": 1, "4B": 1, "4C": 1, "5": 1, "6": 1}
"""Negative or benign against suspicious; 3 (probably benign) is neither and is left out, as Shen et al. do
(Scientific Reports 9:12495, 2019, INbreast)."""


def without_normal(count: int) -> tuple[str, ...]:
    """Returns the note of images of no lesion that were left out because nobody asked for them, none for none."""
    return (f"Left out: {count} normal images (data.include_normal=true keeps them as label 0).",) if count else ()


def one_label(records: Iterable[Record]) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """Returns the records in which each patient has one label, and a note of what was left out.

    A patient with malignant and other images keeps the malignant ones: the others show no cancer, but calling them
    malignant would be wrong, and calling her benign too.
    """
    everyone = tuple(records)
    torn = of_both_classes(everyone)
    kept = tuple(record for record in everyone if record.label == 1 or record.patient not in torn)
    if not torn:
        return kept, ()
    left_out = len(everyone) - len(kept)
    return kept, (f"Left out: {left_out} images without malignancy of {len(torn)} patients who have malignant ones.",)


def halves(records: Iterable[Record], words: Mapping[int, str]) -> tuple[Record, ...]:
    """Returns the records with a patient for each class of a case: for sets whose task is the patch, not the patient.

    The case stays as the attribute ``case``. Its halves share a split only if the reader gives one.
    """
    return tuple(
        dataclasses.replace(
            record,
            patient=f"{record.patient} {words[record.label]}",
            attributes={**record.attributes, "case": record.patient},
        )
        for record in records
    )


def split_cases(records: Iterable[Record], *, train_share: float, val_share: float) -> tuple[Record, ...]:
    """Returns the records with a split by their attribute ``case``, so no case lies in two; independent of the seed."""
    return tuple(
        dataclasses.replace(record, split=place_of(record.attributes["case"], PUBLIC_SEED, train_share, val_share))
        for record in records
    )


def with_validation(records: Iterable[Record], *, train_share: float, val_share: float) -> tuple[Record, ...]:
    """Returns the records of a published train and test split with part of ``train``'s patients in ``val``.

    Each patient with the probability ``val_share / (train_share + val_share)``; independent of the seed.
    """
    share = val_share / (train_share + val_share)
    return tuple(
        dataclasses.replace(r, split=place_of(r.patient, PUBLIC_SEED, 1 - share, share)) if r.split == "train" else r
        for r in records
    )
