"""A hospital's own model made from a released package: the released score, its own, or a sum, whichever ranks best.

What is tried and how it is chosen is what a study's report compares (:mod:`common.training.home_model`), in the
features of the package's network. The result is a package of its own, which is tried, watched and withdrawn like any
other. It was made without noise and never leaves.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from client.site.packages import KeptPackages
    from common.data.loading import PatientTensors
    from common.data.manifest import Dataset, Record
    from common.inference.package import Package
    from common.inference.personal import PersonalFacts, PersonalHead
    from common.models.classifier import Classifier
    from common.training.home_model import HeldOut
    from common.training.recipes import Scorer

FOLDS = 5
FEWEST = 10
"""Patients of each class that a model of one's own needs; fewer choose by chance."""
Progress = Callable[[int], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Made:
    """A head, how it was chosen, and the held-out scores that calibrate it.

    Attributes:
        head: Linear in the package's features and its logit.
        facts: What is written beside it.
        model: The chosen model, with a score of each patient from a fit that did not see her.
    """

    head: PersonalHead
    facts: PersonalFacts
    model: HeldOut


def make_personal(
    package: Package, dataset: Dataset, site: str, kept: KeptPackages, progress: Progress = lambda done: None
) -> Package:
    """Returns the personal package that it put among the site's own.

    Patients of the training and the validation split make it; the test split stays closed.

    Args:
        package: As it was released.
        dataset: The site's patients, each in a split.
        site: The site's name.
        kept: Where it goes.
        progress: Told how many patients are done.

    Raises:
        ConfigError: The package is a personal one already.
        DataError: These are no images, or a class has fewer than :data:`FEWEST` patients that the checks let pass.
    """
    if package.personal is not None:
        raise ConfigError("This package is a personal one already; name the package that it was made from")
    if dataset.kind != "image":
        raise DataError("A package is for images, and this site's data are a table")
    rows, counts = _rows(package, dataset, _is_new(package, kept), progress)
    _check_classes(rows.patient_labels().numpy())
    return write(package, chosen(rows, package.digest, site, counts), kept)


def chosen(rows: PatientTensors, base: str, site: str, counts: NDArray[np.bool_]) -> Made:
    """Returns the model that ranks held-out patients best.

    Args:
        rows: float64 (N, D + 1), a row an image: features as the released head reads them, then its logit.
        base: Digest of the package.
        site: The site's name.
        counts: (P,), patients whom the released model has not been trained on, or only with noise; they choose.
    """
    from common.inference.personal import PersonalFacts
    from common.privacy.randomness import Randomness
    from common.training.home_model import concordance, home_model, with_federation
    from common.training.recipes import Ridge

    width = rows.inputs.shape[1] - 1
    fresh = partial(Randomness.from_seed, 0, "personal")  # ridge regression draws nothing
    home = home_model([Ridge(_own_features(width))], rows, folds=FOLDS, seeds=1, fresh=fresh)
    released = _released(rows)
    model = with_federation(home, _released, None, rows, counts)
    facts = PersonalFacts(
        site=site, base=base, made=datetime.now(UTC), patients=rows.num_patients, compared=int(counts.sum()),
        how=model.name[:200],
        released=concordance(released[counts], home.labels[counts], home.folds[counts]),
        home=home.merit_of(counts),
        chosen=home.merit_of(counts) if model is home else concordance(model.logits, model.labels, model.folds),
    )  # fmt: skip
    return Made(_linear(model.score, width), facts, model)


def _own_features(width: int) -> Classifier:
    from torch import nn

    from common.models.classifier import Classifier

    class Features(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return rows[:, :width]

    trunk: nn.Module = Features()
    return Classifier(trunk, width, channels=1).requires_grad_(False)


def _released(rows: PatientTensors) -> NDArray[np.float64]:
    """Returns the mean released logit of each patient's images."""
    sums = np.zeros(rows.num_patients)
    np.add.at(sums, rows.patient_of.numpy(), rows.inputs[:, -1].numpy())
    return np.asarray(sums / np.bincount(rows.patient_of.numpy()), dtype=np.float64)


def _linear(score: Scorer, width: int) -> PersonalHead:
    """Returns the affine function that the scorer is, read off at the unit vectors."""
    import torch

    from common.data.loading import PatientTensors
    from common.inference.personal import PersonalHead

    count = width + 2
    probes = torch.cat([torch.zeros(1, width + 1, dtype=torch.float64), torch.eye(width + 1, dtype=torch.float64)])
    names = tuple(map(str, range(count)))
    values = score(PatientTensors(probes, torch.zeros(count), torch.arange(count), names))
    slopes = values[1:] - values[0]
    return PersonalHead(max(0.0, float(slopes[-1])), slopes[:-1], float(values[0]))


def _rows(
    package: Package, dataset: Dataset, new: bool, progress: Progress
) -> tuple[PatientTensors, NDArray[np.bool_]]:
    """Returns the images of those patients whom the checks give an answer, and which patients may choose."""
    import torch

    from common.data.loading import PatientTensors

    inputs, labels, of, names, counts = list[Any](), list[float](), list[int](), list[str](), list[bool]()
    for done, (name, records) in enumerate(dataset.patients().items(), start=1):
        found = _patient(package, dataset, records) if records[0].split in ("train", "val") else None
        if found is not None:
            inputs.append(found)
            labels += [float(records[0].label)] * len(found)
            of += [len(names)] * len(found)
            names.append(name)
            counts.append(new or records[0].split == "val")
        progress(done)
    if not names:
        raise DataError("No patient is left after the checks; see: oncofed-site data check")
    rows = torch.from_numpy(np.concatenate(inputs))
    return PatientTensors(rows, torch.tensor(labels), torch.tensor(of), tuple(names)), np.array(counts)


def _is_new(package: Package, kept: KeptPackages) -> bool:
    """Returns whether the site's training patients are new to the model, or it learned from them with noise only."""
    from client.site.studies import FOLDER
    from common.inference.package import PRIVACY, document

    trained_here = (kept.home / FOLDER / f"{package.manifest.study}.json").exists()
    return bool(document(package.folder / PRIVACY).get("private")) or not trained_here


def _patient(package: Package, dataset: Dataset, records: Sequence[Record]) -> NDArray[np.float64] | None:
    """Returns a row an image; None where an image cannot be read or the checks give no answer."""
    from client.site.calibrating import answered, seen_images
    from common.inference.graph import in_parts
    from common.inference.personal import as_head_reads
    from common.inference.predict import is_number

    images = seen_images(package, dataset, records)
    if images is None or not answered(package, images):
        return None
    logits, features = in_parts(package.network, np.stack([image.given for image in images]))
    if not is_number(logits, features):
        return None
    return np.hstack([as_head_reads(features, normalised=package.manifest.normalised), logits[:, None]])


def _check_classes(labels: NDArray[Any]) -> None:
    malignant = int((labels == 1).sum())
    if min(malignant, len(labels) - malignant) < FEWEST:
        raise DataError(
            f"A model of one's own needs {FEWEST} patients of each class, and the checks leave {malignant} malignant "
            f"and {len(labels) - malignant} benign ones; keep the released model"
        )


def write(package: Package, made: Made, kept: KeptPackages) -> Package:
    """Returns the package with the site's head, in its place among the kept ones."""
    from common.inference.manifest import BESIDE
    from common.trust.durable import make_folder, sync_folder

    make_folder(kept.path)
    being_made = kept.path / ".personal.partial"
    shutil.rmtree(being_made, ignore_errors=True)
    try:
        shutil.copytree(package.folder, being_made, ignore=shutil.ignore_patterns(*BESIDE))
        being_made.chmod(0o700)
        digest = _fill(being_made, package, made)
        target = kept.path / digest
        being_made.replace(target)
    finally:
        shutil.rmtree(being_made, ignore_errors=True)
    sync_folder(kept.path)
    return kept.load(digest)


def _fill(folder: Path, package: Package, made: Made) -> str:
    from client.site.personal_documents import calibrated, labelled, measured_with
    from common.inference import manifest
    from common.inference.golden import FOLDER as GOLDEN
    from common.inference.golden import write_golden
    from common.inference.local import write_local
    from common.inference.package import CALIBRATION, LABEL, PRIVACY, document, with_own_head
    from common.inference.personal import write_personal

    write_personal(folder, made.head, made.facts)
    network, head = with_own_head(package.network, package.head, made.head, package.manifest)
    shutil.rmtree(folder / GOLDEN)
    write_golden(folder, network, package.data, head)
    line = calibrated(package, made)
    _put(folder / CALIBRATION, line)
    _put(folder / LABEL, labelled(document(folder / LABEL), made.facts))
    _put(folder / PRIVACY, document(folder / PRIVACY) | {"personal": made.facts.site})
    listed = {name: manifest.file_digest(folder / name) for name in manifest.listed(folder)}
    name = f"{package.manifest.name}, personal"[:400]
    facts = dataclasses.replace(package.manifest, name=name, created=made.facts.made, files=listed)
    (folder / manifest.FILE).write_text(facts.text(), encoding="utf-8")
    write_local(folder, measured_with(made, facts.digest), None)
    return facts.digest


def _put(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
