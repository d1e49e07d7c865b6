"""The process in which images are read and the model runs: the pages' own process loads neither.

A damaged image that ends this process takes no page with it (:mod:`client.reader.asking`).
"""

from __future__ import annotations

import dataclasses
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from client.reader.worklist import Known, Listed, Source, digests, exam_id, find, known_of, listed, same
from client.site.packages import RECORDS
from client.site.predicting import InUse, Reading, read_exams
from common.data.pixels.dicom_file import quiet
from common.errors import DataError
from common.inference.picture import COLOURS, verdict
from common.inference.predict import attention_of
from common.inference.reasons import MEANINGS
from common.inference.record import InferenceRecord, records

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from common.inference.exams import Exam
    from common.inference.package import Package
    from common.inference.predict import Prediction

LARGEST = 4096
"""Pixels of the longer side of an image as it is shown."""
FAST = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """One exam with what the model says of it.

    Attributes:
        known: For the worklist.
        sizes: Width and height of each image in pixels; empty where one could not be read.
        exam: The site's key.
        model: Digest of the package.
        result: What may be shown once the reader has read, as JSON values.
    """

    known: Known
    sizes: tuple[tuple[int, int], ...]
    exam: str
    model: str
    result: dict[str, Any]


class Bench:
    """Exams, images and answers of one source.

    Raises:
        ConfigError: No model is active.
        ModelError, TrustError: A package is refused.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._in_use = InUse(source.home, source.package, source.threads, source.keeps / RECORDS)
        self._exams: dict[str, Exam] = {}
        self._last: Prediction | None = None
        self._kept: tuple[tuple[int, ...], tuple[InferenceRecord, ...]] = (), ()
        self._in_use()

    def model(self) -> dict[str, Any]:
        """Returns what is known of the model in use, as JSON values."""
        using = self._in_use()
        package = using.active.package
        return {
            "name": package.manifest.name, "digest": package.digest, "expires": str(package.manifest.expires.date()),
            "state": using.active.state, "note": using.active.told(), "synthetic": package.manifest.synthetic,
            "label": package.label(),
        }  # fmt: skip

    def scan(self) -> tuple[tuple[Listed, ...], int]:
        """Returns the worklist as it is now, and of how many results the images are gone."""
        using = self._in_use()
        with quiet():
            exams, gone = find(self._source)
        self._exams = {exam_id(exam): exam for exam in exams}
        return listed(exams, self._records(using)), gone

    def open(self, exam_id: str) -> Opened:
        """Returns an exam with its answer: the one on record of these very files, else a new one, which is kept.

        Raises:
            DataError: Its images are gone.
        """
        using, exam = self._in_use(), self._exam(exam_id)
        inputs = digests(exam)
        before = same(self._records(using), exam, inputs)
        if before is None:
            with quiet():
                ((prediction, _),) = read_exams([exam], using)
            self._last = prediction
        prediction = self._prediction(exam, inputs, using)
        record = before or prediction.record
        sizes = tuple((image.size[1], image.size[0]) for image in prediction.images)
        return Opened(known_of(record), sizes, record.exam, record.model,
                      shown(record, prediction, using.active.package))  # fmt: skip

    def picture(self, exam_id: str, number: int) -> bytes:
        """Returns image ``number`` (from 0) of an exam as a PNG of 8 bits, at most :data:`LARGEST` pixels wide.

        Raises:
            DataError: There is no such image, or it cannot be read.
        """
        from common.data.pixels.images import read_image

        files = self._exam(exam_id).files
        if not 0 <= number < len(files):
            raise DataError("There is no such image")
        with quiet():
            return png(smaller(Image.fromarray(eight_bits(read_image(files[number])))))

    def attention(self, exam_id: str, number: int, model: str) -> bytes:
        """Returns the map of an image as a PNG in colour, whose opacity is the map; it lies on the whole image.

        Raises:
            DataError: There is no map, as of an exam without an answer, or another model is in use by now.
        """
        from matplotlib import colormaps

        using, exam = self._in_use(), self._exam(exam_id)
        prediction = self._prediction(exam, digests(exam), using)
        heat = None
        meant = prediction.record.model == model and not prediction.record.abstained
        if meant and 0 <= number < len(prediction.images):
            heat = attention_of(prediction, number, using.active.package)
        if heat is None:
            raise DataError("There is no map of this image")
        painted = np.asarray(colormaps[COLOURS](heat), dtype=np.float32)
        painted[..., 3] = heat
        return png(Image.fromarray(eight_bits(painted)))

    def _prediction(self, exam: Exam, inputs: tuple[str, ...], using: Reading) -> Prediction:
        """Returns what the model in use says of these very files; of the last exam it is still known."""
        of_model = [] if self._last is None else [self._last.record]
        if self._last is None or same(of_model, exam, inputs, using.active.package.digest) is None:
            with quiet():
                self._last = using.active.predict(exam)
        return self._last

    def _exam(self, exam_id: str) -> Exam:
        if exam_id not in self._exams:
            raise DataError("There is no such exam in the worklist; look for new exams")
        exam = self._exams[exam_id]
        if not all(path.is_file() for path in exam.files):
            raise DataError("The images of this exam are gone; look for new exams")
        return exam

    def _records(self, using: Reading) -> list[InferenceRecord]:
        """Returns the records of the model in use, oldest first; the file is read again where it was changed."""
        path, active = using.records, using.active
        if path is None or not path.exists():
            return []
        found = path.stat()
        if self._kept[0] != (found.st_ino, found.st_size, found.st_mtime_ns):
            self._kept = (found.st_ino, found.st_size, found.st_mtime_ns), records(path).records
        return [one for one in self._kept[1] if one.model == active.package.digest and one.state == active.state]


def shown(record: InferenceRecord, prediction: Prediction, package: Package) -> dict[str, Any]:
    """Returns the answer as a reader sees it; where the model abstained there is no figure in it, no set and no map."""
    answered = not record.abstained
    return {
        "answered": answered,
        "made": record.made.isoformat(timespec="seconds"),
        "probability": record.probability if answered else None,
        "threshold": record.threshold,
        "above_threshold": record.above_threshold if answered else None,
        "set": None if record.set is None or not answered else list(record.set),
        "reasons": [{"code": str(reason), "words": MEANINGS[reason]} for reason in record.reasons],
        "notes": list(prediction.told),
        "calibrated": {"where": prediction.calibration.where, "patients": prediction.calibration.patients},
        "attention": {
            "label": package.attention["label"], "check": verdict(package.attention),
            "maps": answered and bool(prediction.heat), "blank": [float(np.ptp(heat)) == 0 for heat in prediction.heat],
        },
    }  # fmt: skip


def eight_bits(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Returns [0, 1] as 0 to 255."""
    return np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)


def smaller(image: Image.Image) -> Image.Image:
    """Returns the image with a longer side of at most :data:`LARGEST`."""
    scale = LARGEST / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def png(image: Image.Image) -> bytes:
    """Returns the image as a PNG file."""
    file = io.BytesIO()
    image.save(file, format="PNG", compress_level=FAST)
    return file.getvalue()
