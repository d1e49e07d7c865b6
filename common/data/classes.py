"""From what a publisher labels (films, lesions, patches) to the one label a patient has here; and splits by case."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping

from common.data.manifest import SPLITS, Record, of_both_classes
from common.errors import DataError

BIRADS = {"1": 0, "2": 0, "4": 1, "4A": 1, "4B": 1, "4C": 1, "5": 1, "6": 1}
"""Negative or benign against suspicious; 3 (probably benign) is neither and is left out, as Shen et al. do
(Scientific Reports 9:12495, 2019, INbreast)."""


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
    """Returns the records with a split by their attribute ``case``, so no case lies in two; independent of the seed.

    Raises:
        DataError: There are fewer than three cases.
    """
    everyone = tuple(records)
    cases = _shuffled({record.attributes["case"] for record in everyone})
    if len(cases) < len(SPLITS):
        raise DataError(f"There are {len(cases)} cases; expected at least {len(SPLITS)}, one each for train, val, test")
    test = max(1, round(len(cases) * (1 - train_share - val_share)))
    val = max(1, min(round(len(cases) * val_share), len(cases) - test - 1))
    test = min(test, len(cases) - val - 1)
    place = {case: "test" if at < test else "val" if at < test + val else "train" for at, case in enumerate(cases)}
    return tuple(dataclasses.replace(record, split=place[record.attributes["case"]]) for record in everyone)


def with_validation(records: Iterable[Record], *, train_share: float, val_share: float) -> tuple[Record, ...]:
    """Returns the records of a published train and test split with part of ``train``'s patients in ``val``.

    Each class gives the share ``val_share / (train_share + val_share)`` of its patients; independent of the seed.
    """
    everyone = tuple(records)
    chosen: set[str] = set()
    for label in (0, 1):
        patients = _shuffled({r.patient for r in everyone if r.split == "train" and r.label == label})
        chosen.update(patients[: max(1, round(len(patients) * val_share / (train_share + val_share)))])
    return tuple(
        dataclasses.replace(r, split="val") if r.split == "train" and r.patient in chosen else r for r in everyone
    )


def _shuffled(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())
