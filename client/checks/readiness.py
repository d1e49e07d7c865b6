"""Is the cohort fit for a study? The checks over a site's data, and the certificate that says what they found.

A certificate holds codes, and counts where the policy lets anybody be counted, small ones suppressed; it is signed with
the site's own key. It says what was looked at, not that the data are good.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from common.config.study import StudyConfig
from common.data.checks.cohort import class_counts
from common.data.checks.finding import Finding
from common.data.checks.looking import Seen, image_paths, look
from common.data.checks.registry import Material, by_severity, run_checks
from common.data.checks.subgroups import told_subgroup
from common.data.checks.suppression import Told, told_rows
from common.data.manifest import Dataset
from common.provenance import code_digest
from common.trust.certificate import signed_certificate
from common.trust.signing import SiteKey

SCHEMA_VERSION = 1
LINES = 1
"""Version of the check of a manifest's lines (:mod:`common.data.checks.rows`)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Inspection:
    """What the checks found in a cohort.

    Attributes:
        findings: Errors first.
        counts: Patients by split and class, exact.
        seen: Empty for tables.
        checks: Those that ran, with their versions.
    """

    findings: tuple[Finding, ...]
    counts: Mapping[str, Mapping[str, int]]
    seen: tuple[Seen, ...]
    checks: Mapping[str, int]

    @property
    def ready(self) -> bool:
        """Whether nothing was found that must be mended first."""
        return not any(finding.severity == "error" for finding in self.findings)


def inspect(
    dataset: Dataset,
    *,
    min_patients: int = 20,
    before: Sequence[Finding] = (),
    study: StudyConfig | None = None,
    declared_patients: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Inspection:
    """Returns what all checks find in a cohort, errors first.

    Args:
        dataset: The site's patients, each in a split.
        min_patients: Of the site's policy.
        before: What was found in the manifest's lines before they were a data set.
        study: That the site would join; None: whether patients are enough for its privacy is not asked.
        declared_patients: Public number of training patients; 0: those of ``dataset``.
        progress: Told how many images were looked at.
    """
    seen = tuple(look(dataset, progress)) if dataset.kind == "image" else ()
    counts = class_counts(dataset)
    found, checks = run_checks(Material(dataset, seen, tuple(image_paths(dataset)), min_patients))
    if study is not None:
        from client.checks.epsilon_check import VERSION, check_epsilon

        found += check_epsilon(study, declared_patients or sum(counts["train"].values()))
        checks["epsilon"] = VERSION
    return Inspection(tuple(by_severity([*before, *found])), counts, seen, {"lines": LINES, **checks})


def subgroup_counts(dataset: Dataset, columns: Sequence[str], min_cell: int) -> dict[str, Told]:
    """Returns for each column the patients by its values, small counts and what would give them away hidden.

    Raises:
        DataError: A column is not there, or has too many values to be a grouping.
    """
    return {column: told_subgroup(dataset, column, min_cell) for column in columns}


def certificate(
    inspection: Inspection,
    *,
    site: str,
    dataset: str,
    min_cell: float,
    key: SiteKey,
    subgroups: Mapping[str, Told] | None = None,
) -> dict[str, Any]:
    """Returns the signed certificate as JSON values.

    Args:
        inspection: What was found.
        site: Name of the site.
        dataset: What its manifest or layout is called.
        min_cell: Smallest count that is told; others are hidden so that it cannot be worked out. With infinity none
            is, as of a site whose policy does not let single patients be counted.
        key: The site's.
        subgroups: What :func:`subgroup_counts` returned for the columns that the site chose to tell.
    """
    body = {
        "schema_version": SCHEMA_VERSION,
        "site": site,
        "dataset": dataset,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "ready": inspection.ready,
        "patients": told_rows(inspection.counts, min_cell),
        "subgroups": {column: dict(told) for column, told in (subgroups or {}).items()},
        "checks": dict(inspection.checks),
        "code_digest": code_digest(),
        "findings": [finding.released(min_cell) for finding in inspection.findings],
    }
    return signed_certificate(body, key)
