"""The study that a drift suggests: the run's own, under another name and seed, with the evidence in words above it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.cli.terminal import printable
from common.config.study import MAX_NAME, StudyConfig, compose
from common.errors import ConfigError
from common.monitoring.quarters import QuarterRow, drifting, promise, rows
from common.runs.run_files import read_run
from server.hub.continuing import continued
from server.hub.home import HubHome
from server.hub.watched import kept, released

_WIDTH = 110
FORECAST = (
    "Each hospital forecasts what it costs (oncofed-site privacy forecast): patients of the run are charged again."
)


def proposal(home: HubHome, run: Path, anyway: str = "") -> str:
    """Returns the text of the study that the drift of a run's released packages suggests; nothing is started.

    Args:
        home: The hub, which keeps the sites' reports.
        run: Folder of the run.
        anyway: Why the study is wanted although nothing drifts; empty: it is refused then.

    Raises:
        ConfigError: There is no such run, it has released no package, or nothing drifts.
    """
    files = read_run(run)
    packages = {digest: one for digest, one in released(home).items() if one["run"] == files.run["run_id"]}
    found = rows([one for one in kept(home) if one.package in packages])
    evidence = drifting(found)
    if not evidence and not anyway.strip():
        raise ConfigError(
            f"No site's latest quarter drifts: {len(packages)} released packages of {run}, {len(found)} reports, "
            'so nothing suggests a new study. To write one all the same: --anyway "reason"'
        )
    latest = max((row.quarter for row in evidence or found), default="anyway")
    study = compose(list(files.overrides))
    start, how = continued(study, run, {one["weights"] for one in packages.values()})
    overrides = _changed(study, files.overrides, latest, start)
    words = [*_words(run, found, evidence, anyway), how, FORECAST]
    return "".join(_comment(line) for line in words) + _yaml(overrides)


def _changed(study: StudyConfig, overrides: Sequence[str], quarter: str, start: Mapping[str, str]) -> list[str]:
    ending = f"-after-{quarter}"
    name = _quoted(study.name[: MAX_NAME - len(ending)] + ending)
    new = {"name": name, "seed": str(study.seed + 1), **start}
    same = [one for one in overrides if one.partition("=")[0].lstrip("+") not in new]
    found = [*same, *(f"{key}={value}" for key, value in new.items())]
    if compose(found).tuned != study.tuned:
        raise ConfigError("The study's `tuned` would change; it must stay what the run was tuned on")
    return found


def _quoted(name: str) -> str:
    """Returns the name as Hydra reads it whatever signs are in it."""
    return "'" + name.replace("'", "\\'") + "'"


def _words(run: Path, found: Sequence[QuarterRow], evidence: Sequence[QuarterRow], anyway: str) -> list[str]:
    return [
        f"Proposed after run {run.name}. It was not started: agree on it first, then oncofed-hub run FILE.",
        *([f"Evidence: {_evidence(row)}" for row in evidence] or ["Evidence: none, no site's latest quarter drifts."]),
        f"{promise(found)}.",
        *([f"Wanted anyway: {printable(' '.join(anyway.split()))}"] if anyway.strip() else []),
        "The settings are those of the run, `tuned` among them, but for name, seed and what follows.",
    ]


def _evidence(row: QuarterRow) -> str:
    said = "; ".join(
        f"{one.measure} p {one.p:.2g}, can see a move of {one.smallest:.2f}" for one in row.tests if one.drifts
    )
    return (
        f"{row.site}, {row.quarter}, package {row.package[:16]}, about {row.patients} patients: {row.above:.3f} above "
        f"the threshold, {row.abstained:.3f} abstained, PSI {row.psi:.3f} (by chance {row.psi_by_chance:.3f}); {said}."
    )


def _comment(line: str) -> str:
    return textwrap.indent(textwrap.fill(line, _WIDTH), "# ") + "\n"


def _yaml(overrides: Sequence[str]) -> str:
    import yaml

    return str(yaml.safe_dump(list(overrides), sort_keys=False, allow_unicode=True))
