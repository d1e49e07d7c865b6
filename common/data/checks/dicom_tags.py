"""Identifying attributes that a DICOM file still carries, by tag and by what the standard asks to be done with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from common.data.checks.finding import Finding

ACTIONS = {
    "PatientName": "Z", "PatientID": "Z", "PatientBirthDate": "Z", "PatientSex": "Z", "PatientAddress": "X",
    "PatientTelephoneNumbers": "X", "OtherPatientIDs": "X", "OtherPatientNames": "X", "PatientBirthName": "X",
    "PatientMotherBirthName": "X", "PatientComments": "X", "MilitaryRank": "X", "EthnicGroup": "X", "Occupation": "X",
    "AdditionalPatientHistory": "X", "InstitutionName": "X", "InstitutionAddress": "X",
    "InstitutionalDepartmentName": "X", "ReferringPhysicianName": "Z", "PerformingPhysicianName": "X",
    "NameOfPhysiciansReadingStudy": "X", "OperatorsName": "X", "RequestingPhysician": "X", "PhysiciansOfRecord": "X",
    "StationName": "X", "DeviceSerialNumber": "X", "AccessionNumber": "Z", "StudyID": "Z", "StudyDescription": "X",
    "SeriesDescription": "X", "ProtocolName": "X", "ImageComments": "X", "StudyDate": "Z", "StudyTime": "Z",
    "SeriesDate": "X", "AcquisitionDate": "X", "ContentDate": "Z",
}  # fmt: skip
"""Attributes of PS3.15 (2024), table E.1-1, basic profile: X remove, Z empty. A subset: those that name or date a
person or a place in images of the breast."""


def check_dicom_tags(files: Iterable[Path]) -> list[Finding]:
    """Returns one finding an attribute that some file still fills, and one for private attributes; never a value.

    Files that are no DICOM are passed over; unreadable ones are another check's.
    """
    counts: Counter[str] = Counter()
    for path in files:
        counts.update(_filled(path))
    return [
        Finding(
            code=f"dicom-{name}", severity="warning", count=count,
            what=f"DICOM files that still carry {name} (PS3.15 basic profile: {ACTIONS.get(name, 'X')})",
            fix="Write cleaned copies before images leave the department.",
        )
        for name, count in sorted(counts.items())
    ]  # fmt: skip


def _filled(path: Path) -> list[str]:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError, ValueError, KeyError, AttributeError, NotImplementedError):
        return []
    if str(header.get("PatientIdentityRemoved", "")).upper() == "YES":
        return []
    found = [name for name in ACTIONS if str(header.get(name, "") or "").strip()]
    return found + (["private attributes"] if any(element.tag.is_private for element in header) else [])
