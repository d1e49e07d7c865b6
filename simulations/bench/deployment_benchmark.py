"""What the deployment costs beyond the training.

Run as ``python -m simulations.bench.deployment_benchmark --images DIR OVERRIDES``.

Three hospitals, a hub and its proxy, all of them processes on this machine, over TLS; the overrides choose the data,
the network and the steps, as in
``data=bus_bra data.root=FOLDER partition=natural model=resnet18``. Prints Markdown; the figures in
``docs/benchmarks.md`` come from it. Nothing here is a test: no time is asserted.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from safetensors.numpy import load_file

from client.node.supernode import LOOK_SECONDS, REPLY_SECONDS
from client.node.worker import POLL_SECONDS as WORKER_SECONDS
from common.config.study import compose
from common.data.manifest import write_manifest
from server.run.exchange import look_seconds
from simulations.analysis.markdown import table
from simulations.engine.deployment import LocalDeployment, free_port
from simulations.engine.emulation import declared, emulated_cohorts
from simulations.engine.meter import Meter

PARTS = ("rounds", "idle")
RUN_SECONDS = 3600.0
READY_SECONDS = 600.0
MESSAGES = ("train", "evaluate")
ROUNDS = 6
_ANSWERED = re.compile(r"INFO (\w+) answered in ([\d.]+) s")
STUDY = (
    *("privacy.accountant=rdp", "privacy.epsilon=8", f"training.rounds={ROUNDS}", "training.local_steps=2"),
    *("training.batch_patients=8", "evaluation.local_baseline=false", "evaluation.personal_epochs=0"),
    *("evaluation.resamples=0", "partition.sites=3", "strategy.quorum=3"),
)


@dataclass(frozen=True, slots=True)
class Moment:
    """Where the counters stood when a round was written down."""

    seconds: float
    up: int
    down: int


def federation(folder: Path, images: Path, overrides: Sequence[str]) -> list[dict[str, Any]]:
    """Returns what a round of three hospitals costs: seconds by cause, and bytes by way."""
    study = (*STUDY, *overrides)
    with Meter() as meter:
        deployment = LocalDeployment(folder, study, port=free_port(), dialled=meter.port)
        meter.hub_port = deployment.port
        try:
            sites = _start(deployment, study, images)
            moments = _measured(deployment, meter)
        finally:
            deployment.stop_all()
    return [_row(deployment, sites, moments)]


def _start(deployment: LocalDeployment, study: Sequence[str], images: Path) -> list[str]:
    deployment.init()
    cohorts = emulated_cohorts(compose(list(study)))
    for name, part in cohorts.items():
        home = deployment.home(name)
        home.mkdir(parents=True)
        write_manifest(part, home / "manifest.csv")
        train = {record.patient for record in part.records if record.split == "train"}
        deployment.admit(name, "--declared-patients", str(declared(len(train))))
        data = {"root": str(home / "manifest.csv"), "images": str(images)}
        deployment.settings(name, data=data, declared_patients=declared(len(train)))
        deployment.policy(name)
    for name in ("hub", *cohorts):
        deployment.start(name)
    deployment.until(lambda: deployment.online() == set(cohorts), READY_SECONDS, "all sites online")
    return list(cohorts)


def _measured(deployment: LocalDeployment, meter: Meter) -> list[Moment]:
    """Returns the counters after each round, from the run's ``metrics.jsonl``."""
    folder = deployment.run("measured")
    moments: list[Moment] = []
    process, rows = deployment.processes["run measured"], folder / "metrics.jsonl"
    deadline = time.monotonic() + RUN_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if rows.exists() and len(rows.read_text().splitlines()) > len(moments):
            moments.append(Moment(time.monotonic(), meter.up, meter.down))
        time.sleep(0.02)
    deployment.until(lambda: process.poll() == 0, 1, "the run's end as COMPLETED")
    return moments


def _row(deployment: LocalDeployment, sites: Sequence[str], moments: Sequence[Moment]) -> dict[str, Any]:
    """Compares whole rounds, from one written row to the next, with what the sites' workers say of them."""
    rounds = len(moments) - 1
    whole = (moments[-1].seconds - moments[0].seconds) / rounds
    answering = sum(_slowest(deployment, sites, purpose) for purpose in MESSAGES)
    weights = _weights(deployment.folder / "runs" / "measured" / "model" / "model.safetensors")
    looks = len(MESSAGES) * (LOOK_SECONDS + WORKER_SECONDS + REPLY_SECONDS + look_seconds(len(sites)))
    up = (moments[-1].up - moments[0].up) / rounds / len(sites)
    down = (moments[-1].down - moments[0].down) / rounds / len(sites)
    return {
        "round (s)": whole, "answering (s)": answering, "beyond (s)": whole - answering,
        "looks, at most (s)": looks, "weights (MB)": weights / 1e6,
        "up / weights": up / weights, "down / weights": down / weights,
    }  # fmt: skip


def _slowest(deployment: LocalDeployment, sites: Sequence[str], purpose: str) -> float:
    """Returns the mean over the rounds, but for the first, of the slowest site's seconds for such a request."""
    by_site = [_answered((deployment.home(site) / "logs" / "worker.log").read_text(), purpose) for site in sites]
    return statistics.fmean(max(times) for times in zip(*(times[1:ROUNDS] for times in by_site), strict=True))


def _answered(log: str, purpose: str) -> list[float]:
    return [float(seconds) for said, seconds in _ANSWERED.findall(log) if said == purpose]


def _weights(path: Path) -> int:
    return sum(values.nbytes for values in load_file(path).values())


def idle(folder: Path, sites: int, seconds: float) -> list[dict[str, Any]]:
    """Returns what a hub takes while so many SuperNodes are connected and nothing runs."""
    deployment = LocalDeployment(folder, ("data=phantom",))
    names = [f"site_{number}" for number in range(sites)]
    try:
        deployment.init()
        for name in names:
            deployment.admit(name, "--declared-patients", "10")
        deployment.start("hub")
        alone = _hub_takes(deployment, seconds)
        for name in names:
            deployment.start_supernode(name)
        deployment.until(lambda: deployment.online() == set(names), READY_SECONDS, "all SuperNodes online")
        together = _hub_takes(deployment, seconds)
    finally:
        deployment.stop_all()
    return [{"sites": 0} | alone, {"sites": sites} | together]


def _hub_takes(deployment: LocalDeployment, seconds: float) -> dict[str, Any]:
    """Returns the share of one processor and the own memory of the hub's daemon and of all below it.

    Own memory is what no file backs: the libraries' pages are shared with the SuperNodes of the same machine.
    """
    deployment.until(lambda: deployment.hub("status", "--json").returncode == 0, READY_SECONDS, "the hub answers")
    daemon = psutil.Process(deployment.processes["hub"].pid)
    processes = [daemon, *daemon.children(recursive=True)]
    before = [sum(process.cpu_times()[:2]) for process in processes]
    time.sleep(seconds)
    spent = sum(sum(process.cpu_times()[:2]) for process in processes) - sum(before)
    memory = sum(pages.anonymous for process in processes for pages in process.memory_maps())
    return {"processor (%)": 100 * spent / seconds, "own memory (MB)": memory / 1e6}


def main() -> None:
    """Runs the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--sites", type=int, default=20, help="idle sites")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long an idle hub is watched")
    parser.add_argument("--images", type=Path, help="folder that the data set's image paths start from; for rounds")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides of the measured study")
    options = parser.parse_args()
    parts = options.only or PARTS
    if "rounds" in parts and options.images is None:
        parser.error("rounds are measured on images; name their folder with --images, or choose: --only idle")
    for part in parts:
        with tempfile.TemporaryDirectory(prefix="oncofed-") as folder:
            if part == "rounds":
                rows = federation(Path(folder), options.images, options.overrides)
            else:
                rows = idle(Path(folder), options.sites, options.seconds)
        print(f"\n## {part}\n\n{table(rows)}", flush=True)


if __name__ == "__main__":
    main()
