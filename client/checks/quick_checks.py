"""The checks of a site's data that decode no pixel, for ``oncofed-site doctor``."""

from __future__ import annotations

from client.checks.epsilon_check import check_epsilon
from client.site.cohort_opening import CohortUnfit, open_for_checks
from client.site.forecast import read_study
from client.site.policy import load_policy
from client.site.site_file import SiteFile, SiteHome
from common.data.checks.finding import Finding
from common.data.checks.registry import by_severity, quick_findings


def quick_checks(home: SiteHome, settings: SiteFile) -> list[Finding]:
    """Returns what the manifest's lines, numbers of patients, the study's epsilon and some DICOM headers show.

    Notes are left out: they ask for nothing.

    Raises:
        ConfigError, DataError: The data, the policy or the kit's study cannot be read.
    """
    try:
        opened = open_for_checks(settings.data)
    except CohortUnfit as error:
        return by_severity(list(error.findings))
    least = load_policy(home.path / settings.policy).min_patients
    kit = home.path / "study.json"
    private = check_epsilon(read_study(kit), settings.declared_patients) if kit.exists() else []
    found = [*opened.findings, *quick_findings(opened.dataset, least), *private]
    return [finding for finding in by_severity(found) if finding.severity != "note"]
