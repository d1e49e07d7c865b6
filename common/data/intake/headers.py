"""What DICOM headers say of many files at once, for joining them with a table; no pixel is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from common.data.pixels.dicom_file import is_dicom, open_tags, quiet

KEYS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "AccessionNumber")


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What one file's header tells; empty where it tells nothing.

    Attributes:
        keys: By the attribute's name, each of :data:`KEYS`.
        side: ``left`` or ``right``.
        view: ``CC``, ``MLO`` or another.
    """

    keys: dict[str, str]
    side: str = ""
    view: str = ""

    @property
    def patient(self) -> str:
        return self.keys.get("PatientID", "")


def read_headers(folder: Path, names: Iterable[str]) -> dict[str, Header]:
    """Returns name -> header of those files that are DICOM; all empty where a header cannot be read."""
    return {name: _header(folder / name) for name in names if is_dicom(folder / name)}


def _header(path: Path) -> Header:
    from common.data.pixels.dicom import side_and_view

    try:
        with quiet():
            tags = open_tags(path, pixels=False)
            keys = {name: str(tags.get(name) or "").strip() for name in KEYS}
            return Header(keys, *side_and_view(tags))
    except Exception:  # pydicom raises nearly every built-in error on damaged bytes; the image is then left out
        return Header({})
