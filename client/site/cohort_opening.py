"""A site's data as the checks take them: what would keep the data from opening is a finding, and the rest is opened."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from client.site.site_file import SiteData, divided, open_undivided
from common.data.checks.finding import Finding
from common.data.manifest import Dataset
from common.data.pixels.images import ImageFiles
from common.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True, eq=False)
class Opened:
    """The data that could be opened, and what was wrong with the lines that were left out; ``lines`` is of all."""

    dataset: Dataset
    findings: tuple[Finding, ...]
    lines: int


class CohortUnfit(DataError):
    """Nothing could be opened; ``findings`` say why, the last of them what stopped it; ``notes`` are the reader's."""

    def __init__(self, message: str, findings: tuple[Finding, ...], notes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.findings = findings
        self.notes = notes


def open_for_checks(data: SiteData) -> Opened:
    """Returns the site's patients, each in train, val or test, without the lines that hold no data set together.

    Raises:
        CohortUnfit: What is left of a manifest's patients cannot be divided, or nothing is.
        ConfigError, DataError: A table or a public layout cannot be read, or a column is missing.
    """
    if data.name != "manifest":
        return _public(data)
    return _manifest(data)


def _public(data: SiteData) -> Opened:
    whole = open_undivided(data)
    try:
        return Opened(divided(whole, data), (), len(whole.records))
    except DataError as error:
        # What the reader left out is often why the rest cannot be divided.
        raise CohortUnfit(str(error), (_unfit(str(error)),), whole.notes) from None


def _manifest(data: SiteData) -> Opened:
    from common.data.checks.rows import check_rows
    from common.data.manifest import read_lines

    if not data.root:
        raise ConfigError("data.root is empty in site.yaml; write where the manifest is")
    path = Path(data.root) / "manifest.csv" if Path(data.root).is_dir() else Path(data.root)
    folder = path.parent if data.images is None else Path(data.images)
    lines = read_lines(path)
    sound = check_rows(lines.records, folder)
    try:
        if not sound.records:
            raise DataError(f"None of {len(lines.records)} lines of {path.name} can be used")
        dataset = divided(Dataset(path.stem, sound.records, ImageFiles(folder), notes=lines.notes), data)
    except DataError as error:
        raise CohortUnfit(str(error), (*sound.findings, _unfit(str(error))), lines.notes) from None
    return Opened(dataset, sound.findings, len(lines.records))


def _unfit(reason: str) -> Finding:
    return Finding(
        code="cohort-unfit", severity="error", count=1, told=False,
        what="the data cannot be opened", fix=reason,
    )  # fmt: skip
