"""One simulated study from its overrides to its run folder, on Flower's runtime or in this process.

Both engines drive the same ServerApp and ClientApp with the same run-config. What can be known to be wrong is said
before anything starts: the overrides, the data, the partition, the output folder.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from common.config.overrides import read_overrides
from common.config.study import StudyConfig, compose
from common.errors import ConfigError, FederationError, UsageError
from common.runs.run_folder import RunFolder, runs_root
from server.hub.followed import Rounds
from simulations.engine.ended import ending, settle, sigterm_interrupts
from simulations.engine.environment import quiet_environment
from simulations.engine.processor import Processor

Engine = Literal["flower", "inprocess"]
ENGINES: tuple[Engine, ...] = ("flower", "inprocess")
Progress = Callable[[Mapping[str, Any]], None]
"""Called with ``{"phase": text}`` when a phase begins (the first with ``"rounds": planned`` too), and with each new row
of metrics.jsonl."""

FINAL = ("COMPLETED", "PARTIAL", "FAILED", "INTERRUPTED")


def run_study(
    overrides: Sequence[str],
    engine: str = "flower",
    out: Path | None = None,
    resume: Path | None = None,
    progress: Progress = lambda event: None,
    *,
    pages: bool = True,
) -> Path:
    """Returns the folder of the run, whose ``run.json`` says COMPLETED, PARTIAL or FAILED.

    Args:
        overrides: Hydra overrides; with ``resume`` and none given, those the run was started with.
        engine: ``flower`` or ``inprocess``.
        out: Folder of the run; default: one named by time and study below ``ONCOFED_RUNS`` or ``./runs``.
        resume: Folder of an interrupted run to go on with.
        progress: See :data:`Progress`; a ``FederationError`` that it raises ends a run of the engine ``inprocess``.
        pages: Whether the report is written; false saves seconds where nobody reads it, as in a sweep.

    Raises:
        UsageError: ``out`` together with ``resume``, or an unknown engine.
        ConfigError, DataError: The study or the folder cannot be used; nothing has started.
        FederationError: The runtime broke down before the run had an end; the run then says FAILED.
        KeyboardInterrupt: On Ctrl-C or SIGTERM; the run then says INTERRUPTED.
    """
    plan = prepare(overrides, engine, out, resume, pages=pages)
    progress({"phase": "starting", "rounds": plan.study.training.rounds})
    progress({"phase": f"networks run on {plan.processor.words}"})
    watch, conduct = _Watch(plan.folder, progress), _run_on_flower if engine == "flower" else _run_in_process
    with sigterm_interrupts(), ending(plan.folder):
        conduct(plan, watch)
        _try_outside(plan, watch)
    return plan.folder


def completed_run(overrides: Sequence[str], engine: str, out: Path, progress: Progress = lambda event: None) -> Path:
    """Returns the folder ``out`` of a run that has ended whole: it is run, or resumed, or it was there.

    Raises:
        FederationError: It did not end as COMPLETED.
    """
    if not (out / "run.json").exists():
        run_study(overrides, engine, out, progress=progress)
    elif status_of(out)["status"] != "COMPLETED":
        run_study([], engine, resume=out, progress=progress)
    if (status := status_of(out))["status"] != "COMPLETED":
        raise FederationError(f"{out} ended as {status['status']}: {status['reason']}")
    _finish_outside(out)
    return out


def _finish_outside(folder: Path) -> None:
    """Tries the model on hospitals outside where the process ended between the run's end and that."""
    from server.app import render
    from simulations.engine.outside import FILE, measure_outside

    study = compose(_kept(folder))
    if study.evaluation.test and not (folder / FILE).exists() and measure_outside(study, folder):
        render(folder)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run, checked.

    Attributes:
        study: The composed study.
        run_config: What the ServerApp and the ClientApps get.
        folder: The run's folder; it exists and can be written.
        sites: Number of emulated hospitals.
        processor: Where their networks run.
    """

    study: StudyConfig
    run_config: Mapping[str, str | int | float | bool]
    folder: Path
    sites: int
    processor: Processor


def prepare(
    overrides: Sequence[str], engine: str, out: Path | None, resume: Path | None, *, pages: bool = True
) -> Plan:
    """Returns the checked plan, having made nothing but the run's folder.

    Raises:
        UsageError, ConfigError, DataError: As :func:`run_study`.
    """
    from simulations.data.public_overlap import naming
    from simulations.engine.emulation import check_emulation, site_names

    if engine not in ENGINES:
        raise UsageError(f"engine={engine!r}; expected one of: {', '.join(ENGINES)}")
    if out and resume:
        raise UsageError("Give --out for a new run or --resume for an old one, not both")
    chosen = list(overrides) or (_kept(resume) if resume else [])
    study = compose(chosen)
    processor = Processor.of(study)
    chosen += absolute_paths(study) + naming(study) + processor.override(engine)
    study = compose(chosen)
    check_emulation(study)
    folder = RunFolder.create(_folder(study, out, resume), resume=resume is not None).path
    where = {"resume": str(folder)} if resume else {"out-dir": str(folder)}
    config = {"overrides": shlex.join(chosen), "out-dir": "", "resume": ""} | where
    config |= {} if pages else {"pages": "false"}
    return Plan(study, config, folder, len(site_names(study)), processor)


def status_of(folder: Path) -> dict[str, Any]:
    """Returns the run's ``run.json``; a run whose process is gone says INTERRUPTED from then on.

    Raises:
        ConfigError: There is none, or it cannot be read.
    """
    try:
        settle(folder)
        return dict(json.loads((folder / "run.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigError(f"{folder} holds no run: it has no run.json") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{folder}/run.json is damaged: {error}") from None


def _folder(study: StudyConfig, out: Path | None, resume: Path | None) -> Path:
    chosen = out or resume
    return chosen.resolve() if chosen else runs_root() / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{study.name}"


def _kept(folder: Path) -> list[str]:
    if not (folder / "overrides.yaml").exists():
        raise ConfigError(f"{folder} holds no run to resume; expected an overrides.yaml in it")
    return read_overrides(folder / "overrides.yaml")


def absolute_paths(study: StudyConfig) -> list[str]:
    """Returns overrides for the paths that were given relative to here: Flower's processes work elsewhere."""
    paths = {
        "data.root": study.data.root,
        "simulation.ledger_dir": study.simulation.ledger_dir,
        "simulation.cache_dir": study.simulation.cache_dir,
        "model.weights": study.model.weights if _is_local(study.model.weights) else None,
    }
    relative = {key: text for key, text in paths.items() if text and not os.path.isabs(text)}
    return [f"{key}={_hydra_quoted(os.path.abspath(text))}" for key, text in relative.items()]


def _is_local(text: str | None) -> bool:
    return text is not None and Path(text).exists()


def _hydra_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


class _Watch(Rounds):
    """Reports rounds as they are written, and what is waited for."""

    def say(self, phase: str) -> None:
        """Reports what is waited for."""
        self._progress({"phase": phase})


def _try_outside(plan: Plan, watch: _Watch) -> None:
    """Tries the model on hospitals that took no part, and shows it in the report."""
    from server.app import render
    from simulations.engine.outside import measure_outside

    if plan.study.partition.outside and plan.study.evaluation.test:
        watch.say("trying the model on hospitals outside")
        if measure_outside(plan.study, plan.folder):
            render(plan.folder)


def _run_on_flower(plan: Plan, watch: _Watch) -> None:
    from simulations.engine.app_dir import app_dir
    from simulations.engine.superlink import run_flower

    log = plan.folder / "flower.log"
    before = _run_json(plan.folder)
    with tempfile.TemporaryDirectory(prefix="oncofed-app-") as scratch:
        run = run_flower(
            app_dir(Path(scratch)),
            num_nodes=plan.sites,
            run_config=plan.run_config,
            log=log,
            gpus_per_client=plan.processor.gpus_per_client,
            environment=plan.processor.environment(),
            patience=plan.study.simulation.start_seconds,
            tick=watch,
            say=watch.say,
        )
    if not _has_ended(plan.folder, before) or (status_of(plan.folder)["status"] != "FAILED" and not run.completed):
        raise FederationError(f"Flower ended the run as {run.status}: {run.details or 'no reason given'}; see {log}")


def _run_in_process(plan: Plan, watch: _Watch) -> None:
    os.environ.update(quiet_environment())
    from flwr.app import Context, RecordDict

    from client.app import app as client_app
    from server.app import app as server_app
    from simulations.engine.grid import HUB_NODE_ID, InProcessGrid

    run_id, before = secrets.randbits(63), _run_json(plan.folder)
    config = dict(plan.run_config)
    grid = InProcessGrid(client_app, num_nodes=plan.sites, run_config=config, run_id=run_id, before_requests=watch)
    context = Context(run_id=run_id, node_id=HUB_NODE_ID, node_config={}, state=RecordDict(), run_config=config)
    with _logging_to(plan.folder / "inprocess.log"):
        try:
            server_app(grid, context)
        except FederationError:
            if not _has_ended(plan.folder, before):
                raise
    watch()


def _run_json(folder: Path) -> bytes:
    path = folder / "run.json"
    return path.read_bytes() if path.exists() else b""


def _has_ended(folder: Path, before: bytes) -> bool:
    """Tells whether this attempt, not the one that is resumed, brought the run to an end."""
    return _run_json(folder) != before and status_of(folder)["status"] in FINAL


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Sends what the hub and the sites log to a file; the terminal belongs to the progress line."""
    logger = logging.getLogger("oncofed")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    before = logger.handlers, logger.level, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.handlers, logger.level, logger.propagate = before
        handler.close()
