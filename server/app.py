"""The hub's Flower ServerApp: composes the study, conducts the run, renders the reports."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.cli.terminal import LineFormatter
from common.config.overrides import split_overrides
from common.config.study import compose
from common.errors import OncoFedError
from common.runs.run_folder import RunFolder, run_path
from server.hub.tickets import Tickets
from server.run.enrolment import REGISTER
from server.run.federation import Run

log = logging.getLogger("oncofed")
app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Conducts one run.

    Keys of the run-config: ``overrides``, ``out-dir``, ``resume``, ``ticket``, ``rehearsal``, ``pages``.

    Raises:
        OncoFedError: The run FAILED; Flower then marks it failed.
    """
    _log_to_stderr()
    try:
        folder, status = conduct(grid, context)
    except OncoFedError as error:
        log.error("FAILED: %s", error)
        raise
    log.info("%s: %s", status, folder.path)


def conduct(grid: Grid, context: Context) -> tuple[RunFolder, str]:
    """Returns the run's folder and its status, with every file written.

    Raises:
        TrustError: A hub's daemon runs here, and nobody asked it for this start.
    """
    overrides = str(context.run_config.get("overrides", ""))
    resume = str(context.run_config.get("resume", ""))
    study = compose(split_overrides(overrides))
    out_dir = resume or str(context.run_config.get("out-dir", ""))
    path = run_path(out_dir=out_dir, name=study.name, run_id=context.run_id)
    if register := os.environ.get(REGISTER):
        Tickets.of(Path(register).parent).use(str(context.run_config.get("ticket", "")), path)
    folder = RunFolder.create(path, resume=bool(resume))
    rehearsal = str(context.run_config.get("rehearsal", "")) == "true"
    run = Run(grid, study, folder, overrides=overrides, resume=bool(resume), rehearsal=rehearsal)
    try:
        status = run.conduct()
    finally:
        if not run.rehearsal and context.run_config.get("pages", "true") == "true":
            render(folder.path)
    return folder, status


def render(path: Path) -> None:
    """Writes ``report.html``, the model card and the sites' privacy reports from the files of the run.

    A page that cannot be written stops neither the others nor the run: ``report_error`` in ``run.json`` names it.
    """
    from common.reporting.model_card import write_model_card
    from common.reporting.run_report import write_run_report
    from common.reporting.study_privacy import write_privacy_pages

    pages: dict[str, Callable[[Path], object]] = {
        "the privacy pages": write_privacy_pages,
        "the report": write_run_report,
        "the model card": write_model_card,
    }
    failed = [problem for name, write in pages.items() if (problem := _problem(name, write, path))]
    if failed:
        folder = RunFolder(path)
        folder.write_json("run.json", folder.read_json("run.json") | {"report_error": "; ".join(failed)})


def _problem(name: str, write: Callable[[Path], object], path: Path) -> str:
    """Writes a page and returns what stands in its way; empty: nothing."""
    try:
        write(path)
    except Exception as error:  # sites choose much of what stands in these files
        log.exception("%s cannot be written", name)
        return f"{name} cannot be written: an unexpected {type(error).__name__} at the hub; see its log"
    return ""


def _log_to_stderr() -> None:
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(LineFormatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
