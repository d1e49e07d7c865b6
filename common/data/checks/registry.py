"""All checks of a cohort, by name and version; a new one is one more line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from common.data.checks.cohort import check_cohort
from common.data.checks.depth import check_depth
from common.data.checks.dicom_display import check_dicom_display
from common.data.checks.dicom_tags import check_dicom_tags
from common.data.checks.finding import Finding
from common.data.checks.identifiers import check_identifiers
from common.data.checks.looking import Seen, image_paths
from common.data.checks.pictures import check_pictures
from common.data.checks.subgroups import check_subgroups
from common.data.manifest import Dataset
from common.data.pixels.dicom_file import is_dicom

ORDER = ("error", "warning", "note")


@dataclasses.dataclass(frozen=True, eq=False)
class Material:
    """What checks look at.

    Attributes:
        dataset: The site's patients, each in a split.
        seen: What a look at each image left; empty where none was taken.
        files: Of the images; empty where they are no files of their own.
        min_patients: Training patients that the site's policy asks for.
    """

    dataset: Dataset
    seen: tuple[Seen, ...]
    files: tuple[Path, ...]
    min_patients: int


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One check; ``version`` rises when it finds more or less than before.

    Attributes:
        version: 1 or more.
        run: Returns what it finds.
        pixels: Whether it needs :attr:`Material.seen`.
    """

    version: int
    run: Callable[[Material], list[Finding]]
    pixels: bool = False


CHECKS: Mapping[str, Check] = {
    "cohort": Check(1, lambda given: check_cohort(given.dataset, given.min_patients)),
    "identifiers": Check(1, lambda given: check_identifiers(given.dataset, given.files)),
    "subgroups": Check(1, lambda given: check_subgroups(given.dataset)),
    "pictures": Check(4, lambda given: check_pictures(given.seen), pixels=True),
    "depth": Check(2, lambda given: check_depth(given.seen), pixels=True),
    "dicom-tags": Check(3, lambda given: check_dicom_tags(path for path in given.files if is_dicom(path))),
    "dicom-display": Check(1, lambda given: check_dicom_display(given.files)),
}


def run_checks(given: Material) -> tuple[list[Finding], dict[str, int]]:
    """Returns all findings, errors first, and the checks that ran with their versions.

    Checks of pixels run where a look was taken, that of DICOM where there are files.
    """
    ran = {name: check for name, check in CHECKS.items() if _can_run(name, check, given)}
    return by_severity([found for check in ran.values() for found in check.run(given)]), versions(ran)


def quick_findings(dataset: Dataset, min_patients: int, most_files: int = 200) -> list[Finding]:
    """Returns what checks find that decode no pixel; of more than ``most_files`` files it looks at some all over."""
    files = image_paths(dataset)
    some = tuple(files[:: max(1, -(-len(files) // most_files))])
    return run_checks(Material(dataset, (), some, min_patients))[0]


def by_severity(findings: list[Finding]) -> list[Finding]:
    """Returns the findings, errors first, else in their order."""
    return sorted(findings, key=lambda finding: ORDER.index(finding.severity))


def versions(checks: Mapping[str, Check]) -> dict[str, int]:
    """Returns name -> version."""
    return {name: check.version for name, check in checks.items()}


def _can_run(name: str, check: Check, given: Material) -> bool:
    return bool(given.seen) if check.pixels else not name.startswith("dicom-") or bool(given.files)
