"""Identifying attributes that a DICOM file still carries, by tag and by what the standard asks to be done with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from common.data.checks.finding import Finding
from common.data.pixels.dicom_file import open_tags, quiet

ACTIONS = {
    "PatientName": "Z", "PatientID": "Z/D", "PatientBirthDate": "Z", "PatientSex": "Z", "PatientAddress": "X",
    "PatientTelephoneNumbers": "X", "OtherPatientIDs": "X", "OtherPatientNames": "X", "PatientBirthName": "X",
    "PatientMotherBirthName": "X", "PatientComments": "X", "MilitaryRank": "X", "EthnicGroup": "X", "Occupation": "X",
    "AdditionalPatientHistory": "X", "InstitutionName": "X/Z/D", "InstitutionAddress": "X",
    "InstitutionalDepartmentName": "X", "ReferringPhysicianName": "Z", "PerformingPhysicianName": "X",
    "NameOfPhysiciansReadingStudy": "X", "OperatorsName": "X/Z/D", "RequestingPhysician": "X",
    "PhysiciansOfRecord": "X", "StationName": "X/Z/D", "DeviceSerialNumber": "X/Z/D", "AccessionNumber": "Z",
    "StudyID": "Z", "StudyDescription": "X", "SeriesDescription": "X", "ProtocolName": "X/D", "ImageComments": "X",
    "StudyDate": "Z", "StudyTime": "Z", "SeriesDate": "X/D", "AcquisitionDate": "X/Z", "ContentDate": "Z/D",
}  # fmt: skip
"""Attributes of PS3.15, table E.1-1, basic profile: X remove, Z empty or dummy, D dummy. A subset: those that name or
date a person or a place in images of the breast."""
NOBODY_ALIVE = "19009999"
"""Dates of birth up to here are dummies, such as 00010101 and 19000101."""
PRIVATE = "private"
PRIVATE_WHAT = "DICOM files that still carry private attributes (PS3.15 basic profile: X)"


def check_dicom_tags(files: Iterable[Path]) -> list[Finding]:
    """Returns one finding an attribute that some file still fills, at any depth, and one for private attributes.

    Never a value. In a file that says it was cleaned (PatientIdentityRemoved), what may hold a dummy is passed over,
    save a name of several parts and a date of birth; what must be gone is not. Files that are no DICOM are passed
    over; unreadable ones are another check's.
    """
    counts: Counter[str] = Counter()
    for path in files:
        counts.update(_filled(path))
    return [
        Finding(
            code=f"dicom-{name}", severity="warning", count=count, what=_what(name),
            fix="Write cleaned copies before images leave the department.",
        )
        for name, count in sorted(counts.items())
    ]  # fmt: skip


def _what(name: str) -> str:
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(name)
    if tag is None:
        return PRIVATE_WHAT
    numbers = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    return f"DICOM files that still carry {name} {numbers} (PS3.15 basic profile: {ACTIONS[name]})"


def _filled(path: Path) -> set[str]:
    try:
        with quiet():
            header = open_tags(path, pixels=False)
            cleaned = str(header.get("PatientIdentityRemoved", "")).upper() == "YES"
            return {name for element in _elements(header) if (name := _left(element, cleaned))}
    except Exception:  # pydicom raises nearly every built-in error on damaged bytes; such a file is another check's
        return set()


def _elements(items: Iterable[Any]) -> Iterator[Any]:
    """Returns the elements of a dataset and of the items of its sequences, at every depth; private ones unopened."""
    for element in items:
        yield element
        if element.VR == "SQ" and not element.tag.is_private:
            for item in element.value:
                yield from _elements(item)


def _left(element: Any, cleaned: bool) -> str:
    """Returns what the element is reported as, empty when it is not."""
    if element.tag.is_private:
        return PRIVATE
    value = str(element.value or "").strip() if element.keyword in ACTIONS else ""
    if not value or (cleaned and not _suspicious(element.keyword, value)):
        return ""
    return str(element.keyword)


def _suspicious(name: str, value: str) -> bool:
    if name == "PatientBirthDate":
        return value > NOBODY_ALIVE
    return ACTIONS[name] == "X" or (name == "PatientName" and "^" in value)
