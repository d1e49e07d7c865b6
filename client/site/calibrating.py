"""Calibrates a package on the site's own patients; everything of it stays in the site's folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from common.data.manifest import Dataset, Record
    from common.evaluation.recalibration import Line
    from common.inference.features import FeatureReference
    from common.inference.local import LocalFacts
    from common.inference.package import Package
    from common.inference.predict import SeenImage

Progress = Callable[[int], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Patient:
    """One patient as the package sees her: log odds, label, features (D,), and whether the checks give an answer."""

    log_odds: float
    label: int
    features: NDArray[np.float32]
    answered: bool


def calibrate(package: Package, dataset: Dataset, progress: Progress = lambda done: None) -> LocalFacts:
    """Returns what it wrote beside the package: the site's line, conformal scores and reference of features.

    Line and scores are of the validation split, whose patients neither trained a model nor are kept for a test.
    Patients for whom the checks give no answer are left out, as they will be in use. The reference of features needs no
    label, so it takes the patients of the training split too.

    Args:
        package: Checked, in its place at the site.
        dataset: The site's patients, each in a split.
        progress: Told how many patients are done.

    Raises:
        ConfigError: The package is a personal one, which has its calibration.
        DataError: These are no images, or no calibration patient is left.
    """
    from common.inference.conformal import ConformalSets
    from common.inference.local import LocalFacts, write_local

    if package.personal is not None:
        raise ConfigError(
            "A personal model was fitted and calibrated on these patients; make it again with: oncofed-site model "
            "personal"
        )
    if dataset.kind != "image":
        raise DataError("A package is for images, and this site's data are a table")
    seen = _seen(package, dataset, progress)
    kept = [one for one in seen["val"] if one.answered]
    if not kept:
        raise DataError("No validation patient is left after the checks; see: oncofed-site data check")
    line = fitted([one.log_odds for one in kept], [one.label for one in kept])
    sets = ConformalSets.of([one.log_odds for one in kept], [one.label for one in kept])
    reference = _reference([one for part in seen.values() for one in part if one.answered])
    facts = LocalFacts(
        made=datetime.now(UTC),
        package=package.digest,
        patients=len(kept),
        left_out=len(seen["val"]) - len(kept),
        intercept=None if line is None else line.intercept,
        slope=None if line is None else line.slope,
        benign=sets.benign,
        malignant=sets.malignant,
        level=sets.level,
        feature_patients=0 if reference is None else len(reference.rows),
        feature_limit=None if reference is None else reference.limit,
    )
    write_local(package.folder, facts, reference)
    return facts


def fitted(log_odds: Sequence[float], labels: Sequence[int]) -> Line | None:
    """Returns Platt's line (1999), None where it has no finite maximum or would turn the order of scores around."""
    from common.evaluation.recalibration import Graded, recalibration

    found = np.asarray(labels, dtype=np.int64)
    values = np.clip(0.5 * (1 + np.tanh(0.5 * np.asarray(log_odds))), 1e-12, 1 - 1e-12)
    line = recalibration(Graded(values, found, 1 - found, np.zeros(len(values))))
    return line if line is not None and line.slope > 0 else None


def _reference(patients: Sequence[Patient]) -> FeatureReference | None:
    from common.inference.features import FEWEST, FeatureReference

    if len(patients) < FEWEST:
        return None
    return FeatureReference.of(np.stack([one.features for one in patients]))


def _seen(package: Package, dataset: Dataset, progress: Progress) -> dict[str, list[Patient]]:
    """Returns the patients of the validation and the training split whose images can be read."""
    seen: dict[str, list[Patient]] = {"val": [], "train": []}
    for done, records in enumerate(dataset.patients().values(), start=1):
        if records[0].split in seen and (found := _patient(package, dataset, records)) is not None:
            seen[records[0].split].append(found)
        progress(done)
    return seen


def _patient(package: Package, dataset: Dataset, records: Sequence[Record]) -> Patient | None:
    """Returns the patient, None where an image cannot be read."""
    from common.inference.graph import in_parts
    from common.inference.predict import is_number, log_odds_of, pooled, sigmoid

    images = seen_images(package, dataset, records)
    if images is None:
        return None
    logits, features = in_parts(package.network, np.stack([image.given for image in images]))
    score = log_odds_of(float(sigmoid(logits).mean()))
    usable = answered(package, images) and is_number(logits, features)
    return Patient(score, records[0].label, pooled(features).mean(0), usable)


def seen_images(package: Package, dataset: Dataset, records: Sequence[Record]) -> list[SeenImage] | None:
    """Returns a patient's images as an exam's are looked at; None where one cannot be read."""
    from common.inference.predict import looked_at

    try:
        return [looked_at(dataset.read(one.image), Path(one.image), "", package) for one in records]
    except DataError:
        return None


def answered(package: Package, images: Sequence[SeenImage]) -> bool:
    """Returns whether the checks of an exam give an answer to a patient's images."""
    from common.inference.predict import mean_of
    from common.inference.reasons import Reason

    far = package.appearance is not None and package.appearance.beyond(mean_of([one.appearance for one in images]))
    wrong = {reason for image in images for reason in image.reasons}
    wrong -= {Reason.BURNED_IN_TEXT} if package.expects.takes_marks else set()
    return not far and not wrong
