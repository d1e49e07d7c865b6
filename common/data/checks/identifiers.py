"""Checks of identifiers: one patient under two, two under one, and what DICOM's PatientID says of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.data.checks.finding import Finding, Severity
from common.data.checks.looking import image_paths
from common.data.intake.headers import read_headers
from common.data.intake.identifiers import alike, is_broken, is_nobody
from common.data.intake.patients import disagreements
from common.data.manifest import Dataset, Record

FIXES: dict[str, tuple[Severity, str, str]] = {
    "patient-one": ("error", "patient in all", "Check the patient column: it holds the same for every image."),
    "patient-nobody": ("error", "images whose patient is blank or a word for nobody", "Fill the patient column."),
    "patient-broken": (
        "error",
        "images whose patient a spreadsheet made a rounded number or an error",
        "Export the column as text: rounded identifiers make one patient of several.",
    ),
    "patient-two-sites": (
        "warning",
        "images of patients who are at several sites",
        "If two sites number their patients alike, put the site before the number: two women count as one.",
    ),
    "patient-zeros": (
        "warning",
        "patients whose identifiers differ in leading zeros, case or blanks only",
        "If they are one patient, write them alike: privacy and splits go by it.",
    ),
    "patient-id-differs": (
        "error",
        "images whose patient is not the one of DICOM's PatientID",
        "One PatientID has several patients in the manifest, or one patient several PatientIDs: correct the column.",
    ),
}
"""Code -> severity, what, how to fix it."""


def check_identifiers(dataset: Dataset, files: Sequence[Path] = ()) -> list[Finding]:
    """Returns what is wrong with the identifiers of patients, each kind once.

    Args:
        dataset: Whose patients they are.
        files: Of the records, or some of them, whose DICOM headers are compared.
    """
    records = dataset.records
    groups = alike(record.patient for record in records)
    found = {
        "patient-one": [record.image for record in records]
        if len({r.patient for r in records}) == 1 < len(records)
        else [],
        "patient-nobody": [record.image for record in records if is_nobody(record.patient)],
        "patient-broken": [record.image for record in records if is_broken(record.patient)],
        "patient-two-sites": _at_several_sites(records),
        "patient-zeros": [" = ".join(group) for group in groups],
        "patient-id-differs": _against_dicom(dataset, files),
    }
    return [_finding(code, named) for code, named in found.items() if named]


def _at_several_sites(records: Sequence[Record]) -> list[str]:
    sites: dict[str, set[str]] = {}
    for record in records:
        sites.setdefault(record.patient, set()).add(record.site)
    return [record.image for record in records if len(sites[record.patient]) > 1]


def _against_dicom(dataset: Dataset, files: Sequence[Path]) -> list[str]:
    headers = read_headers(Path(), map(str, files))
    pairs = [
        (record.image, headers[str(path)].patient, record.patient)
        for record, path in zip(dataset.records, image_paths(dataset), strict=False)
        if str(path) in headers
    ]
    parted = disagreements([(tag, who) for _, tag, who in pairs])
    return [image for image, tag, who in pairs if tag in parted or who in parted]


def _finding(code: str, named: Sequence[str]) -> Finding:
    severity, what, fix = FIXES[code]
    count = 1 if code == "patient-one" else len(named)
    return Finding(code=code, severity=severity, what=what, count=count, records=tuple(named), fix=fix, told=False)
