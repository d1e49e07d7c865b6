"""A sweep from its words to its folder: search, run the winner again with new seeds, write what was found."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.config.overrides import take_paths
from common.errors import ConfigError, FederationError
from common.provenance import code_digest
from common.runs.run_folder import RunFolder, runs_root
from common.services.supervisor import only_one
from simulations.analysis.sweep.document import Rerun, SweepDocument, TrialResult, best_of, digest_of
from simulations.analysis.sweep.search import Say, Search
from simulations.analysis.sweep.settings import CLOSED, Settings, read_settings
from simulations.analysis.sweep.trials import Watched, figure_of, trim
from simulations.engine.run import run_study, status_of

BEST = "best.yaml"
Progress = Callable[[Mapping[str, Any]], None]
"""Called with ``{"trial": result}`` for each trial, and with ``{"phase": text}`` when a phase begins."""


def new_folder(settings: Settings, out: Path | None) -> Path:
    """Returns the new folder of a sweep, its settings written.

    Raises:
        ConfigError: It cannot be written, or holds a sweep already.
    """
    stem = Path(settings.sweep).stem
    path = (out or runs_root() / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-sweep-{stem}").resolve()
    if (path / "sweep.yaml").exists():
        raise ConfigError(f"{path} already holds a sweep; choose another folder, or resume it with --resume {path}")
    settings.write(RunFolder.create(path, resume=False).path)
    return path


def conduct(folder: Path, jobs: int = 1, progress: Progress = lambda event: None) -> SweepDocument:
    """Returns what the sweep of a folder found, with everything written; it goes on where it broke off.

    Args:
        folder: Of a sweep, with its settings.
        jobs: How many processes run trials side by side.
        progress: See :data:`Progress`.

    Raises:
        ConfigError: Another process sweeps there, or the settings are damaged.
        FederationError: Every trial failed; it says why the first did.
    """
    settings = read_settings(folder)
    with only_one(folder / ".running"):
        search = Search(folder, settings)
        search.recover()
        with _helpers(folder, jobs - 1):
            search.run(lambda result: progress({"trial": result}))
        document = _document(settings, search)
        document.write(folder)
        document = _run_again(folder, settings, document, progress)
        _write(folder, settings, document)
    return document


def run_worker(folder: Path, say: Say = lambda result: None) -> None:
    """Runs trials of a sweep beside the process that conducts it."""
    Search(folder, read_settings(folder)).run(say)


@contextmanager
def _helpers(folder: Path, count: int) -> Iterator[None]:
    """Runs trials in more processes meanwhile, waits for their last trials, and ends them if the body breaks off."""
    command = [sys.executable, "-m", "simulations.analysis.sweep.worker", str(folder)]
    with (folder / "workers.log").open("ab") as log:
        helpers = [subprocess.Popen(command, stdout=log, stderr=log) for _ in range(count)]
        try:
            yield
            for helper in helpers:
                helper.wait()
        finally:
            for helper in helpers:
                helper.terminate()
                helper.wait()


def _document(settings: Settings, search: Search) -> SweepDocument:
    trials = search.results()
    best = best_of(trials, settings.space.objective)
    if best is None:
        raise FederationError(_nothing(trials))
    return SweepDocument(
        digest=digest_of(settings.to_json(), trials),
        data=settings.study().data.name,
        objective=settings.space.objective,
        settings=settings.to_json(),
        code=code_digest(),
        trials=trials,
        best=best.number,
        importance=search.importance(),
    )


def _nothing(trials: Sequence[TrialResult]) -> str:
    reasons = [trial.reason for trial in trials if trial.reason]
    return (
        f"None of the {len(trials)} trials ended whole. The first failed so: {next(iter(reasons), 'no reason given')}"
    )


def _run_again(folder: Path, settings: Settings, document: SweepDocument, progress: Progress) -> SweepDocument:
    """Returns the document with the winner's figures under new seeds."""
    first = settings.study().seed + 1
    seeds = range(first, first + settings.reruns)
    reruns = []
    for number, seed in enumerate(seeds, start=1):
        progress({"phase": f"the winner with new seeds, {number} of {len(seeds)}"})
        reruns.append(_rerun(folder / "winner" / f"seed-{seed}", settings, document.winner, seed))
    return dataclasses.replace(document, reruns=tuple(reruns))


def _rerun(folder: Path, settings: Settings, winner: TrialResult, seed: int) -> Rerun:
    watched = Watched(settings.space.objective)
    if (folder / "run.json").exists() and status_of(folder)["status"] == "COMPLETED":
        for row in RunFolder(folder).read_metrics():
            watched(row)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        overrides = [*settings.overrides, *winner.overrides, *CLOSED, f"seed={seed}"]
        run_study(overrides, "inprocess", folder, progress=watched, pages=False)
    trim(folder)
    return Rerun(seed=seed, value=figure_of(folder, watched))


def _write(folder: Path, settings: Settings, document: SweepDocument) -> None:
    from simulations.analysis.sweep.page import write_page

    document.write(folder)
    RunFolder(folder).write_text(BEST, best_yaml(settings, document))
    write_page(folder, document)


def best_yaml(settings: Settings, document: SweepDocument) -> str:
    """Returns the winner as an experiment: overrides of a study, which say what they were tuned on.

    Paths of this machine, emulation and seed are left out.
    """
    import yaml

    shared, _ = take_paths(settings.overrides)
    kept = [word for word in shared if not word.startswith(("seed=", "simulation.", "evaluation.test="))]
    tuned = {"sweep": f"'{document.digest}'", "data": document.data, "trials": len(document.trials)}
    lines = [*kept, *document.winner.overrides, *(f"tuned.{key}={value}" for key, value in tuned.items())]
    note = (
        f"# The best of {len(document.trials)} trials on {document.data}. Use it: oncofed-sim run experiment={BEST}\n"
    )
    return note + yaml.safe_dump(lines, default_flow_style=False, width=1000)
