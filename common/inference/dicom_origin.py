"""What the DICOM objects of one result share: source images fit to refer to, UIDs, and who made them."""

from __future__ import annotations

import copy
import dataclasses
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.data.pixels.dicom_file import quiet, tags_or_none
from common.provenance import release

if TYPE_CHECKING:
    from pydicom import Dataset

NOTICE = "RESEARCH USE ONLY"
"""Stands in each series description, in each picture and in each report."""
SCHEME = "99ONCOFED"
"""Designator of the private codes; '99' marks a private scheme (PS3.16 section 8.2)."""
_NAMESPACE = uuid.UUID("6f1d0c52-7c1e-4f4e-9d0a-5b8a3f0c21d7")
_EMPTY = (
    "AccessionNumber", "PatientBirthDate", "PatientID", "PatientName", "PatientSex", "ReferringPhysicianName",
    "StudyDate", "StudyID", "StudyTime",
)  # fmt: skip
"""Type 2 of Patient and General Study (PS3.3 C.7.1.1, C.7.2.1): they must be there, empty where nothing is known."""
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """The program of one site as a device.

    Attributes:
        uid: Fixed for the site.
        name: AE title or another short name; no person's.
    """

    uid: str
    name: str = "oncofed-site"


@dataclasses.dataclass(frozen=True, slots=True)
class Predecessor:
    """The report that a new one follows (PS3.3 C.17.2.3)."""

    study: str
    series: str
    instance: str
    sop_class: str

    @classmethod
    def of(cls, report: Dataset) -> Predecessor:
        """Returns what names a report."""
        return cls(*(str(report[name].value) for name in _NEEDED))

    def dataset(self) -> Dataset:
        """Returns its identifiers as a data set."""
        from pydicom import Dataset

        found = Dataset()
        for name, value in zip(_NEEDED, dataclasses.astuple(self), strict=True):
            setattr(found, name, value)
        return found


def fixed_uid(record: str, kind: str, number: int = 0) -> str:
    """Returns the UID of an object of a record, the same each time it is asked (PS3.5 B.2: 2.25 and a UUID)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, f'{record}/{kind}/{number}').int}"


def sources(files: Iterable[Path]) -> tuple[Dataset, ...]:
    """Returns the tags of those files that can be referred to, made :func:`complete`; no pixels."""
    with quiet():
        return tuple(complete(found) for found in map(tags_or_none, files) if found is not None and can_be_named(found))


def can_be_named(tags: Dataset) -> bool:
    """Returns whether the tags carry the four UIDs that a reference needs."""
    return all(str(tags.get(name) or "") for name in _NEEDED)


def complete(tags: Dataset) -> Dataset:
    """Returns a copy of the tags with empty ones where the source lacks what must be there; nothing is invented."""
    found = _in_unicode(tags) if _is_mixed(tags) else copy.copy(tags)
    for name in _EMPTY:
        if name not in found:
            setattr(found, name, "")
    for name in (*_EMPTY, "PatientOrientation"):
        if name in found and not _fits(name, found[name].value):
            setattr(found, name, "")
    return found


def _is_mixed(tags: Dataset) -> bool:
    return str(tags.get("SpecificCharacterSet") or "") not in ("", "ISO_IR 6", "ISO_IR 100", "ISO_IR 192")


def _in_unicode(tags: Dataset) -> Dataset:
    """Returns a copy with all text in UTF-8: highdicom takes no character set with code extensions."""
    found = copy.deepcopy(tags)
    found.decode()
    found.SpecificCharacterSet = "ISO_IR 192"
    return found


def _fits(name: str, value: Any) -> bool:
    """Returns whether a value is one that the standard lets stand in that element."""
    from pydicom.valuerep import DA, TM

    if name == "PatientOrientation":
        parts = [value] if isinstance(value, str) else list(value or ())
        return not any(parts) or (len(parts) == 2 and all(set(str(part)) <= set("LRAPHF") for part in parts))
    if name == "PatientSex":
        return value in (None, "", "M", "F", "O")
    try:
        return not name.endswith(("Date", "Time")) or value in (None, "") or bool((DA, TM)[name[-4:] == "Time"](value))
    except (ValueError, TypeError):
        return False


def equipment(device: Device) -> dict[str, Any]:
    """Returns what fills General Equipment; ``device_serial_number`` is the site's, not the model's."""
    return {
        "manufacturer": "OncoFed",
        "manufacturer_model_name": device.name[:64],
        "software_versions": release()[:64],
        "device_serial_number": device.uid,
    }


def identity(record: str, kind: str, number: int = 0) -> dict[str, Any]:
    """Returns the UIDs and numbers of an object; all objects of a kind are one series."""
    place = ("sr", "sc", "pr", "seg").index(kind)
    return {
        "series_instance_uid": fixed_uid(record, kind),
        "series_number": 9001 + place,
        "sop_instance_uid": fixed_uid(record, kind, number + 1),
        "instance_number": number + 1,
    }


def finished(made: Dataset, source: Dataset, what: str) -> Dataset:
    """Returns the object with its series named and with the letters that the source writes names in."""
    made.SeriesDescription = f"{what} - {NOTICE}"
    if made.Modality not in ("SR", "SEG") and not made.get("ImageLaterality"):
        # Type 2C of General Series (PS3.3 C.7.3.1): of a breast it must be there, empty where the source tells none.
        made.Laterality = _side(source)
    if "SpecificCharacterSet" in source:
        made.SpecificCharacterSet = source.SpecificCharacterSet
    return made


def _side(source: Dataset) -> str:
    side = str(source.get("ImageLaterality") or source.get("Laterality") or "")
    return side if side in ("L", "R") else ""


def sentence(text: str) -> str:
    """Returns the text as a sentence."""
    return f"{text[:1].upper()}{text[1:]}."


def one_study(images: Sequence[Dataset]) -> bool:
    """Returns whether the images are of one study and name one patient."""
    return len({(image.StudyInstanceUID, str(image.PatientID)) for image in images}) == 1
