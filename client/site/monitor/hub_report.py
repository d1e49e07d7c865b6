"""What the site tells its hub of a model in use: charged, then drawn, then kept, and only then given away.

A kept report is the answer to the same question for good. A charge without its report is never drawn again: what stood
in a file that is gone may have left.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from client.site.monitor.labels import FOLDER
from common.errors import ConfigError, DataError, TooFewPatients
from common.inference.record import InferenceRecord, records
from common.monitoring.hub_report import HubReport, counted, days_of, read_report
from common.monitoring.reference import day_of, one_a_patient
from common.privacy.monitoring_account import Report, charge_row, least_deviation
from common.trust.durable import exclusive, make_folder, write_durably
from common.trust.signing import SiteKey

if TYPE_CHECKING:
    from client.site.hospital import Site
    from client.site.site_file import SiteHome

REPORTS = "reports"


def report(home: SiteHome, quarter: str, now: datetime, package: str = "", noise: int = 0) -> tuple[HubReport, bool]:
    """Returns the site's report of a quarter, signed and kept, and whether it was drawn and charged by this call.

    Args:
        home: The site.
        quarter: As ``2026Q3``.
        now: With a time zone; the quarter must be over.
        package: Beginning of the package's digest; empty: the one package that was in use then.
        noise: Standard deviation of the noise; 0: the least that leaves a year's ceiling for a report a quarter.

    Raises:
        DataError: The quarter is not over, or the records are damaged.
        ConfigError: No package, or more than one, is meant.
        TooFewPatients: It answered fewer patients than the policy's ``min_split``.
        BudgetExceeded: The year's ``monitoring_ceiling`` does not allow it, or it was drawn and its file is gone.
        TrustError: The hub is not allowed by the policy, or a key or a kept report is damaged.
    """
    from client.site.packages import RECORDS
    from client.site.site_file import open_real_site

    site, key = open_real_site(home), SiteKey.read(home.signing_key)
    exams = _exams(records(home.path / RECORDS).records, quarter, now, package)
    folder = home.path / FOLDER / REPORTS
    make_folder(folder)
    (home.path / FOLDER).chmod(0o700)
    with exclusive(folder / ".lock"):
        return _kept_or_drawn(site, key, exams, folder / f"{quarter}-{exams[0].model}.json", noise)


def _exams(found: Sequence[InferenceRecord], quarter: str, now: datetime, package: str) -> list[InferenceRecord]:
    first, after = days_of(quarter)
    if now.astimezone(UTC).date() < after:
        raise DataError(f"{quarter} is not over; what is told of it is told once, from {after} on")
    mine = [one for one in found if one.state == "active" and first <= day_of(one) < after]
    models = sorted({one.model for one in mine if one.model.startswith(package)})
    if len(models) != 1:
        known = ", ".join(model[:16] for model in models) or "none"
        raise ConfigError(f"Expected one package in use in {quarter} that begins with {package!r}, found: {known}")
    return [one for one in mine if one.model == models[0]]


def _kept_or_drawn(
    site: Site, key: SiteKey, exams: Sequence[InferenceRecord], path: Path, noise: int
) -> tuple[HubReport, bool]:
    if path.exists():
        kept = read_report(path)
        kept.check(key.public_hex)
        return kept, False
    patients = one_a_patient(exams)
    if len(patients) < site.policy.min_split:
        raise TooFewPatients(
            f"The model was in use for {len(patients)} patients in {path.name[:6]}; the policy lets counts of "
            f"{site.policy.min_split} or more leave (min_split)"
        )
    drawn = _drawn(site, patients, _charged(site, path.name[:6], exams[0].model, noise)).signed(key.sign)
    write_durably(path, drawn.text())
    return drawn, True


def _charged(site: Site, quarter: str, package: str, noise: int) -> Report:
    """Returns what was charged, durably."""
    from client.site.noised_scores import evaluation_delta
    from common.privacy.ledger import Ledger

    delta, ceiling = evaluation_delta(site), site.policy.monitoring_ceiling
    deviation = noise or least_deviation(ceiling, delta)
    asked = Report(quarter=quarter, package=package, deviation=deviation, delta=delta, ceiling=ceiling)
    with Ledger(site.ledger_path) as ledger:
        ledger.note(partial(charge_row, report=asked))
    return asked


def _drawn(site: Site, patients: Sequence[InferenceRecord], charged: Report) -> HubReport:
    from common.privacy.discrete import discrete_gaussian

    exact, randomness = counted(patients), site.randomness(f"monitor-{charged.package}-{charged.quarter}", 0)
    scores, sides = (
        [int(count) for count in exact[name] + discrete_gaussian(exact[name].size, charged.deviation, randomness.noise)]
        for name in ("scores", "sides")
    )
    return HubReport(
        site=site.name, package=charged.package, quarter=charged.quarter, scores=tuple(scores), above=sides[0],
        below=sides[1], abstained=sides[2], deviation=charged.deviation, delta=charged.delta, seeded=randomness.seeded,
    )  # fmt: skip
