"""One exam to one result: each image is read whole by the reader of the training, checked and scored, or none is."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.data.checks.overlay import overlay_mask
from common.data.intake.appearance import measure
from common.data.loading import network_input
from common.data.pixels.breast import crop_and_turn
from common.data.pixels.images import read_image
from common.errors import DataError
from common.inference.attention_map import class_activation, on_image
from common.inference.conformal import Class
from common.inference.exams import LONGEST_TAG, Exam, Header
from common.inference.expects import Expects
from common.inference.graph import in_parts
from common.inference.local import Local
from common.inference.package import Calibration, Package
from common.inference.reasons import Reason
from common.inference.record import InferenceRecord
from common.provenance import release

Floats = NDArray[np.float32]
State = Literal["active", "shadow", "none"]
SHOWN = 1024
"""Pixels of the longer side at which an image is kept for a picture."""
MOST_IMAGES = 32
"""Of an exam; a folder with more is one of many patients."""
FLAT = 1e-3
"""Range of values below which an image shows nothing."""
MOST_BYTES = 1 << 30
"""Of a file; :func:`common.data.pixels.dicom.read_dicom` takes no larger one either."""


@dataclasses.dataclass(frozen=True, eq=False)
class SeenImage:
    """One image of an exam as it was looked at.

    Attributes:
        path: Its file.
        digest: SHA-256 (hex) of the file.
        size: Height and width in pixels.
        shown: float32 (h, w) or (h, w, 3) in [0, 1], the longer side at most :data:`SHOWN`.
        given: float32 (C, S, S), the network's input.
        appearance: Its measures.
        reasons: What is wrong with it by itself.
    """

    path: Path
    digest: str
    size: tuple[int, int]
    shown: Floats
    given: Floats
    appearance: Mapping[str, float]
    reasons: frozenset[Reason]


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """A record, and what pictures of it are made from.

    Attributes:
        record: What is kept.
        images: As they were looked at; empty where one could not be read.
        scores: Of each image, in [0, 1], before calibration; empty where the network gave no number.
        heat: Attention of each image, float32 (h, w) at the network's grid; empty where there is no map.
        calibration: By which the probability was made.
        told: What a reader must know besides, in sentences: why there is no set, that marks are drawn into an image.
    """

    record: InferenceRecord
    images: tuple[SeenImage, ...]
    scores: tuple[float, ...]
    heat: tuple[Floats, ...]
    calibration: Calibration
    told: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """What was found of an exam; nothing of one that could not be read."""

    appearance: Mapping[str, float] = dataclasses.field(default_factory=dict)
    probability: float | None = None
    logit: float | None = None
    set: tuple[Class, ...] | None = None
    above_threshold: bool | None = None
    feature_distance: float | None = None


class Predictor:
    """A package at work.

    Args:
        package: Checked.
        local: What the site measured with it; None: nothing.
        state: Which part the package plays at the site.
    """

    def __init__(self, package: Package, local: Local | None = None, state: State = "none") -> None:
        self.package, self.local, self.state = package, local, state
        self.calibration = local.calibration if local is not None else package.calibration
        self._versions = {"oncofed": release(), "package": package.manifest.versions.get("oncofed", "")}

    def predict(self, exam: Exam) -> Prediction:
        """Returns the result of one exam; never a score where an image could not be read whole."""
        started = time.perf_counter()
        digests = tuple(file_digest(path) for path in exam.files)
        try:
            images = tuple(
                look(path, digest, self.package, header)
                for path, digest, header in zip(exam.files, digests, exam.headers, strict=True)
            )
        except DataError:
            return self._unreadable(exam, digests, started)
        return self._scored(exam, images, started)

    def _unreadable(self, exam: Exam, digests: Sequence[str], started: float) -> Prediction:
        record = self._record(exam, digests, started, _Judged(), (Reason.UNREADABLE,))
        return Prediction(record, (), (), (), self.calibration, ())

    def _scored(self, exam: Exam, images: tuple[SeenImage, ...], started: float) -> Prediction:
        logits, features = in_parts(self.package.network, np.stack([image.given for image in images]))
        if not is_number(logits, features):
            return self._unscored(exam, images, started)
        scores = tuple(float(score) for score in sigmoid(logits))
        # As training scores a patient: the mean of the images' probabilities.
        score = float(np.mean(scores))
        found = self._judged(score, features, mean_of([image.appearance for image in images]))
        reasons = self._reasons(exam, images, found)
        record = self._record(exam, [image.digest for image in images], started, found, reasons)
        told = tuple(filter(None, (self.told(), self._of_marks(images))))
        return Prediction(record, images, scores, self._heat(features), self.calibration, told)

    def _unscored(self, exam: Exam, images: tuple[SeenImage, ...], started: float) -> Prediction:
        found = _Judged(appearance=mean_of([image.appearance for image in images]))
        reasons = (*self._reasons(exam, images, found), Reason.NO_NUMBER)
        record = self._record(exam, [image.digest for image in images], started, found, reasons)
        told = tuple(filter(None, (self.told(), self._of_marks(images))))
        return Prediction(record, images, (), (), self.calibration, told)

    def _judged(self, score: float, features: Floats, appearance: Mapping[str, float]) -> _Judged:
        log_odds = log_odds_of(score)
        probability = self.calibration.probability(score)
        sets = None if self.local is None else self.local.sets.set_of(log_odds)
        reference = None if self.local is None else self.local.features
        return _Judged(
            appearance=appearance,
            probability=probability,
            logit=log_odds,
            set=sets,
            # Compared as it was scored, where the consortium fixed it: no rounding of a calibration moves a call.
            above_threshold=score >= self.package.threshold_as_scored,
            feature_distance=None if reference is None else reference.distance(pooled(features).mean(0)),
        )

    def _reasons(self, exam: Exam, images: Sequence[SeenImage], found: _Judged) -> tuple[Reason, ...]:
        reasons = {reason for image in images for reason in image.reasons} | of_headers(exam, self.package.expects)
        if self.package.expects.takes_marks:
            reasons.discard(Reason.BURNED_IN_TEXT)
        appearance, reference = self.package.appearance, self.local.features if self.local is not None else None
        if appearance is not None and appearance.beyond(found.appearance):
            reasons.add(Reason.UNLIKE_TRAINING)
        far = found.feature_distance
        if reference is not None and far is not None and far > reference.limit:
            reasons.add(Reason.FEATURES_FAR)
        if found.set is not None and len(found.set) != 1:
            reasons.add(Reason.AMBIGUOUS if found.set else Reason.ATYPICAL)
        return tuple(reason for reason in Reason if reason in reasons)

    def told(self) -> str:
        """Returns why no set can be told, in words; empty where one can."""
        if self.local is None:
            return "no set: this site has not calibrated the package"
        sets = self.local.sets
        if sets.can_tell:
            return ""
        return f"no set: {len(sets.benign)} benign and {len(sets.malignant)} malignant calibration patients are too few"

    def _of_marks(self, images: Sequence[SeenImage]) -> str:
        share = self.package.expects.marked_share
        if not self.package.expects.takes_marks or not any(Reason.BURNED_IN_TEXT in one.reasons for one in images):
            return ""
        return f"text or calipers are drawn into an image, as into {share:.0%} of the training images"

    def _heat(self, features: Floats) -> tuple[Floats, ...]:
        if self.package.head is None:
            return ()
        weight, normalised = self.package.head
        return tuple(class_activation(one, weight, normalised=normalised) for one in features)

    def _record(
        self, exam: Exam, digests: Sequence[str], started: float, found: _Judged, reasons: tuple[Reason, ...]
    ) -> InferenceRecord:
        return InferenceRecord(
            record=uuid.uuid4().hex,
            exam=exam.key,
            patient=exam.patient,
            taken=exam.taken,
            made=datetime.now(UTC),
            model=self.package.digest,
            state=self.state,
            inputs=tuple(digests),
            modality=_tag(exam, "modality"),
            manufacturer=_tag(exam, "manufacturer"),
            device=_tag(exam, "device"),
            threshold=self.calibration.threshold,
            abstained=bool(reasons),
            reasons=reasons,
            versions=self._versions,
            seconds=time.perf_counter() - started,
            appearance=found.appearance,
            probability=found.probability,
            logit=found.logit,
            set=found.set,
            above_threshold=found.above_threshold,
            feature_distance=found.feature_distance,
        )


def look(path: Path, digest: str, package: Package, header: Header | None) -> SeenImage:
    """Returns one image as the network gets it, and what is wrong with it.

    Raises:
        DataError: It cannot be read whole.
    """
    if header is not None and not header.readable:
        raise DataError(f"{path.name} has tags that cannot be read")
    return looked_at(read_image(path), path, digest, package)


def looked_at(pixels: Floats, path: Path, digest: str, package: Package) -> SeenImage:
    """Returns the same of pixels float32 (H, W) or (H, W, 3) in [0, 1] that were read.

    Raises:
        DataError: They are no image.
    """
    given = network_input(pixels, package.data)
    looked = crop_and_turn(pixels) if package.data.breast_crop else pixels
    flat = bool(np.ptp(pixels) < FLAT)
    marked = not flat and bool(overlay_mask(looked).any())
    reasons = {reason for reason, holds in ((Reason.BLANK, flat), (Reason.BURNED_IN_TEXT, marked)) if holds}
    height, width = pixels.shape[:2]
    return SeenImage(path, digest, (height, width), smaller(pixels), given, measure(pixels), frozenset(reasons))


def attention_of(prediction: Prediction, number: int, package: Package) -> Floats | None:
    """Returns the attention of an image in the frame of its ``shown``, float32 (h, w) in [0, 1]; None: no map."""
    if not prediction.heat:
        return None
    return on_image(prediction.heat[number], prediction.images[number].shown, package.data)


def of_headers(exam: Exam, expects: Expects) -> set[Reason]:
    """Returns what the tags of an exam say against it; other files than DICOM say nothing."""
    headers = [header for header in exam.headers if header is not None]
    found: set[Reason] = set()
    if expects.modality is not None and any(header.modality != expects.modality for header in headers):
        found.add(Reason.WRONG_MODALITY)
    if any(header.intent not in ("", expects.intent) for header in headers):
        found.add(Reason.WRONG_VIEW)
    if expects.views and any(header.view and header.view not in expects.views for header in headers):
        found.add(Reason.WRONG_VIEW)
    if any(header.burned_in for header in headers):
        found.add(Reason.BURNED_IN_TEXT)
    if len({header.patient for header in headers}) > 1 or len(exam.files) > MOST_IMAGES:
        found.add(Reason.MIXED)
    return found


def file_digest(path: Path) -> str:
    """Returns the SHA-256 (hex) of a file; of one that cannot be read, or is no image's size, that of nothing."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return hashlib.sha256(b"").hexdigest()
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return hashlib.sha256(b"").hexdigest()


def pooled(features: Floats) -> Floats:
    """Returns features (N, D, h, w) or (N, D) as float32 (N, D)."""
    return features.mean((2, 3)) if features.ndim == 4 else features


def is_number(*found: Floats) -> bool:
    """Returns whether a network gave numbers throughout; what is none is neither above a threshold nor below."""
    return all(bool(np.isfinite(part).all()) for part in found)


def sigmoid(logits: Floats) -> NDArray[np.float64]:
    """Returns the probabilities of logits, float64."""
    found: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))
    return found


def log_odds_of(score: float) -> float:
    """Returns the log odds of a score in [0, 1], within 1e-12 of its ends."""
    inside = min(max(score, 1e-12), 1 - 1e-12)
    return math.log(inside) - math.log1p(-inside)


def mean_of(measures: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Returns the mean of each measure that all images have."""
    rows = list(measures)
    names = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: float(np.mean([row[name] for row in rows])) for name in names}


def smaller(pixels: Floats) -> Floats:
    """Returns the image with a longer side of at most :data:`SHOWN` pixels."""
    height, width = pixels.shape[:2]
    scale = SHOWN / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    planes = [pixels] if pixels.ndim == 2 else list(np.moveaxis(pixels, -1, 0))
    made = [np.asarray(Image.fromarray(np.ascontiguousarray(one)).resize(size, Image.Resampling.BOX)) for one in planes]
    return made[0] if pixels.ndim == 2 else np.stack(made, axis=-1)


def _tag(exam: Exam, name: str) -> str | None:
    value = exam.tag(name)
    return None if value is None else value[:LONGEST_TAG]
