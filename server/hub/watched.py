"""The reports on models in use that sites have handed to the hub: checked once, kept for good."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from common.errors import DataError, TrustError
from common.monitoring.hub_report import HubReport, days_of, read_report
from common.trust.durable import exclusive, make_folder, write_durably
from server.hub.home import HubHome
from server.hub.journal import read as read_journal
from server.hub.registry import Registry

FOLDER = "monitoring"
FAR = 12
"""So many standard deviations of its noise a count may lie beyond what patients can make of it."""
MOST_PATIENTS = 10_000_000


def add(home: HubHome, path: Path, today: date) -> tuple[HubReport, bool]:
    """Returns the report of a file, and whether it is new; it is kept, durably.

    Raises:
        DataError: It is no report, its quarter is not over, or its counts cannot be of patients.
        TrustError: The site is not approved, has not signed it, has sent another one of the quarter, or the hub has
            released no such package.
    """
    report = read_report(path)
    check(home, report, today)
    folder = home.path / FOLDER / report.site
    make_folder(folder)
    with exclusive(folder / ".lock", seconds=30.0):
        place = folder / f"{report.quarter}-{report.package}.json"
        if not place.exists():
            write_durably(place, report.text())
            return report, True
        if read_report(place) != report:
            raise TrustError(
                f"{report.site} has told {report.quarter} of package {report.package[:16]} before, with other counts. "
                "A quarter is told once: two draws of its noise would cost its patients twice. Ask the site why"
            )
    return report, False


def check(home: HubHome, report: HubReport, today: date) -> None:
    """Refuses a report that the hub cannot believe. Raises as :func:`add`."""
    site = Registry(home.sites_file).sites().get(report.site)
    if site is None or site.status != "approved":
        raise TrustError(f"{report.site} is no approved site of this hub; oncofed-hub sites lists them")
    report.check(site.signing_key)
    if report.package not in released(home):
        raise TrustError(f"This hub has released no package {report.package[:16]}; its journal names those that it has")
    _, after = days_of(report.quarter)
    if today < after:
        raise DataError(f"{report.quarter} is not over; {report.site} cannot tell it yet")
    _check_counts(report)


def released(home: HubHome) -> dict[str, Mapping[str, str]]:
    """Returns the release of each package of this hub, by digest: its ``run`` and the digest of its ``weights``.

    Raises:
        TrustError: The journal cannot be believed.
    """
    events = (json.loads(entry.text) for entry in read_journal(home))
    return {one["package"]: one for one in events if one.get("event") == "release" and "package" in one}


def kept(home: HubHome) -> Sequence[HubReport]:
    """Returns all reports that the hub keeps.

    Raises:
        DataError: One is damaged.
    """
    return [read_report(path) for path in sorted((home.path / FOLDER).glob("*/20*.json"))]


def _check_counts(report: HubReport) -> None:
    slack = FAR * report.deviation
    counts = (*report.scores, report.above, report.below, report.abstained)
    apart = abs(sum(report.scores) - report.above - report.below)
    if not all(-slack <= count <= MOST_PATIENTS + slack for count in counts):
        raise DataError(f"The report of {report.site} counts patients as no noise of {report.deviation} can make them")
    if apart > slack * (len(report.scores) + 2) ** 0.5:
        raise DataError(f"The two counts of the report of {report.site} are {apart} patients apart; ask the site why")
