"""Is the cohort fit for a study? The checks over a site's data, and the certificate that says what they found.

A certificate holds codes and counts, small ones suppressed, and is signed with the site's own key. It says what was
looked at, not that the data are good.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from common.data.checks.cohort import check_cohort, class_counts
from common.data.checks.dicom_tags import check_dicom_tags
from common.data.checks.finding import Finding
from common.data.checks.looking import Seen, look
from common.data.checks.pictures import check_pictures
from common.data.checks.suppression import told_rows
from common.data.dicom import is_dicom
from common.data.images import ImageFiles
from common.data.manifest import Dataset
from common.data.regions import DrawnRegions
from common.errors import TrustError
from common.provenance import code_digest
from common.trust.journal import canonical
from common.trust.signing import SiteKey, signature_holds

SCHEMA_VERSION = 1
CHECKS = {"cohort": 1, "pictures": 1, "dicom-tags": 2}
"""The checks that run, with their versions: a change that finds more or less raises one."""
ORDER = ("error", "warning", "note")
_DOMAIN = b"oncofed readiness certificate\n"


@dataclasses.dataclass(frozen=True, eq=False)
class Inspection:
    """What the checks found in a cohort; ``seen`` is empty for tables."""

    findings: tuple[Finding, ...]
    counts: Mapping[str, Mapping[str, int]]
    seen: tuple[Seen, ...]

    @property
    def ready(self) -> bool:
        """Whether nothing was found that must be mended first."""
        return not any(finding.severity == "error" for finding in self.findings)


def inspect(
    dataset: Dataset, *, min_patients: int = 20, progress: Callable[[int], None] = lambda done: None
) -> Inspection:
    """Returns what all checks find in a cohort, errors first.

    Args:
        dataset: The site's patients, each in a split.
        min_patients: Of the site's policy.
        progress: Told how many images were looked at.
    """
    seen = tuple(look(dataset, progress)) if dataset.kind == "image" else ()
    source = dataset.read.read if isinstance(dataset.read, DrawnRegions) else dataset.read
    files = [source.folder / record.image for record in dataset.records] if isinstance(source, ImageFiles) else []
    found = [
        *check_cohort(dataset, min_patients),
        *check_pictures(seen),
        *check_dicom_tags(path for path in files if is_dicom(path)),
    ]
    found.sort(key=lambda finding: ORDER.index(finding.severity))
    return Inspection(tuple(found), class_counts(dataset), seen)


def certificate(inspection: Inspection, *, site: str, dataset: str, min_cell: int, key: SiteKey) -> dict[str, Any]:
    """Returns the signed certificate as JSON values.

    Args:
        inspection: What was found.
        site: Name of the site.
        dataset: What its manifest or layout is called.
        min_cell: Smallest count that is told; others are hidden so that it cannot be worked out.
        key: The site's.
    """
    body = {
        "schema_version": SCHEMA_VERSION,
        "site": site,
        "dataset": dataset,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "ready": inspection.ready,
        "patients": told_rows(inspection.counts, min_cell),
        "checks": CHECKS,
        "code_digest": code_digest(),
        "findings": [finding.released(min_cell) for finding in inspection.findings],
        "key": key.public_hex,
    }
    return body | {"signature": key.sign(_DOMAIN + canonical(body).encode())}


def check_certificate(document: Mapping[str, Any], public_hex: str | None = None) -> None:
    """Checks who made a certificate, and that nothing in it was changed since.

    Args:
        document: As read from its file.
        public_hex: The key that the site is known by; None: the one that the certificate names, which shows only that
            nothing was changed.

    Raises:
        TrustError: It is not signed, was changed, or is another site's.
    """
    key, signature = document.get("key"), document.get("signature")
    if not isinstance(key, str) or not isinstance(signature, str):
        raise TrustError("The certificate is not signed; make it with: oncofed-site data certify")
    if public_hex is not None and key != public_hex.strip().lower():
        raise TrustError(f"The certificate names the key {key}, expected {public_hex}: it is not this site's")
    body = {name: value for name, value in document.items() if name != "signature"}
    if not signature_holds(key, _DOMAIN + canonical(body).encode(), signature):
        raise TrustError("The certificate was changed after the site had signed it")
