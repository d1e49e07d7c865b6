"""A study of the spool through the site's model to DICOM objects."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from client.node.pacs_spool import Study
from client.site.predicting import InUse, Reading, read_exams
from common.errors import ConfigError, DataError
from common.trust.durable import make_folder, write_durably

if TYPE_CHECKING:
    from pydicom import Dataset

    from common.inference.dicom_origin import Device, Predecessor
    from common.inference.package import Package
    from common.inference.predict import Prediction

DEVICE_FILE = "device.uid"


@dataclasses.dataclass(slots=True)
class StudyReader:
    """Reads studies with the package that is active when each is read, so that a suspended model stops at once.

    Attributes:
        using: The packages.
        device: The site's, which its reports name.
        segment: Whether the map is written as a segmentation too.
    """

    using: InUse
    device: Device
    segment: bool = False

    def __call__(self, study: Study) -> Sequence[Dataset]:
        """Returns the objects of a study; none where its images do not belong together or cannot be referred to.

        Raises:
            ConfigError: No package is active.
            TrustError: Its validation has expired.
        """
        from common.data.pixels.dicom_file import quiet
        from common.inference.exams import find_exams

        using = self.using()
        with quiet():
            try:
                exams = find_exams(study.files).exams
            except DataError:
                return ()
            found = [
                (exam.files, prediction) for exam, (prediction, _) in zip(exams, read_exams(exams, using), strict=True)
            ]
            # One study is one exam; of anything else no report could say which images it is about.
            return self._objects(*found[0], study, using) if len(found) == 1 else ()

    def _objects(
        self, files: Sequence[Path], prediction: Prediction, study: Study, using: Reading
    ) -> Sequence[Dataset]:
        from common.inference.dicom_origin import Predecessor

        before = None if study.before is None else Predecessor(**study.before)
        package = using.active.package
        return objects_of(files, prediction, package, self.device, before=before, segment=self.segment)


def objects_of(
    files: Sequence[Path], prediction: Prediction, package: Package, device: Device, *,
    before: Predecessor | None = None, segment: bool = False,
) -> Sequence[Dataset]:  # fmt: skip
    """Returns a result as DICOM objects; none where its images cannot be referred to, as pictures that are no DICOM."""
    from common.data.pixels.dicom_file import quiet
    from common.inference.dicom_origin import sources
    from common.inference.dicom_results import dicom_results, result_of

    with quiet():
        try:
            return dicom_results(sources(files), result_of(prediction, package), device, before=before, segment=segment)
        except DataError:
            return ()


def write_objects(objects: Sequence[Dataset], folder: Path, stem: str) -> list[Path]:
    """Writes each object as ``STEM-NUMBER-MODALITY.dcm`` and returns the files; ``folder`` is there."""
    places = [folder / f"{stem}-{number}-{one.Modality}.dcm" for number, one in enumerate(objects, start=1)]
    for one, place in zip(objects, places, strict=True):
        one.save_as(place, enforce_file_format=True)
    return places


def device_uid(folder: Path) -> str:
    """Returns the UID of the site as a device, made at the first call and kept in ``folder``."""
    from pydicom.uid import generate_uid

    path = folder / DEVICE_FILE
    if not path.exists():
        make_folder(folder)
        write_durably(path, generate_uid(prefix=None))
    found = path.read_text(encoding="utf-8").strip()
    if not re.fullmatch(r"2\.25\.\d{1,39}", found):
        raise ConfigError(f"{path} holds no UID; restore it, so that the PACS knows the site's reports as one device's")
    return found
