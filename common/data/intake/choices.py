"""What a person decides where the files and the table leave doubt."""

from __future__ import annotations

import dataclasses
from typing import Literal

PatientSource = Literal["", "column", "dicom", "folder", "name", "image"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Decisions; an empty one is left to the proposal, which decides only where there is no doubt.

    Attributes:
        image_column: Of the table, that names the images.
        label_column: That holds the labels.
        patient_column: That holds the patients.
        malignant: Values of the label column, or names of folders, that mean malignant.
        benign: Those that mean benign; with any of the two given, other words mean nothing.
        patients: What tells the patients apart.
        level: With ``folder``, which of the folders in an image's path, 1 the outermost; 0: the innermost.
        keep_split: Whether folders named train, val and test are the split.
    """

    image_column: str = ""
    label_column: str = ""
    patient_column: str = ""
    malignant: tuple[str, ...] = ()
    benign: tuple[str, ...] = ()
    patients: PatientSource = ""
    level: int = 0
    keep_split: bool = False
