"""A site's data as the checks take them: what would keep the data from opening is a finding, and the rest is opened."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from client.site_file import SiteData, divided, open_data
from common.data.checks.finding import Finding
from common.data.manifest import Dataset
from common.errors import ConfigError


@dataclasses.dataclass(frozen=True, eq=False)
class Opened:
    """The data that could be opened, and what was wrong with the lines that were left out; ``lines`` is of all."""

    dataset: Dataset
    findings: tuple[Finding, ...]
    lines: int


def open_for_checks(data: SiteData) -> Opened:
    """Returns the site's patients, each in train, val or test, without the lines that hold no data set together.

    Raises:
        ConfigError, DataError: A table or a public layout cannot be read, a column is missing, or what is left of the
            patients cannot be divided.
    """
    if data.name != "manifest":
        dataset = open_data(data)
        return Opened(dataset, (), len(dataset.records))
    return _manifest(data)


def _manifest(data: SiteData) -> Opened:
    from common.data.checks.rows import check_rows
    from common.data.images import ImageFiles
    from common.data.manifest import read_lines

    if not data.root:
        raise ConfigError("data.root is empty in site.yaml; write where the manifest is")
    path = Path(data.root) / "manifest.csv" if Path(data.root).is_dir() else Path(data.root)
    folder = path.parent if data.images is None else Path(data.images)
    lines = read_lines(path)
    sound = check_rows(lines, folder)
    dataset = Dataset(name=path.stem, records=sound.records, read=ImageFiles(folder))
    return Opened(divided(dataset, data), sound.findings, len(lines))
