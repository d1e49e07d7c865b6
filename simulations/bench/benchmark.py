"""Speed as ratios measured side by side in one process: ``python -m simulations.bench.benchmark``.

Prints Markdown; the figures in ``docs/benchmarks.md`` come from it. Nothing here is a test: no time is asserted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from simulations.analysis.markdown import table
from simulations.bench.steps import ROWS, step_of
from simulations.bench.timing import interleaved

NETWORKS = ("small_cnn", "mobilenet_v3_small", "lite0", "resnet18", "densenet121")
PARTS = (
    "startup",
    "engines",
    "noise",
    "histograms",
    "memory",
    "overhead",
    "flower",
    "scale",
    "bootstrap",
    "loading",
    "gradcam",
    "sum",
    "aggregation",
)
OWN_MODELS_OFF = ("evaluation.local_baseline=false", "evaluation.personal_epochs=0")
SIZES = (28, 64, 128, 224)


def startup(repeats: int) -> list[dict[str, Any]]:
    """Returns the time of ``oncofed-sim --help`` against importing what any Typer program needs."""
    commands = [[sys.executable, "-c", "import typer, rich"], [sys.executable, "-m", "simulations.cli.main", "--help"]]
    bare, ours = interleaved([partial(subprocess.run, c, check=True, capture_output=True) for c in commands], repeats)
    return [{"import typer, rich (s)": bare, "oncofed-sim --help (s)": ours, "ratio": ours / bare}]


def engines(sizes: Sequence[int], networks: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """Returns private steps (book-keeping, hooks) over plain ones for each network and image side."""
    return [
        _engine_row(name, side, repeats) for side in sizes for name in networks if not (name == "lite0" and side < 32)
    ]


def _engine_row(name: str, side: int, repeats: int) -> dict[str, Any]:
    model, inputs, labels = step_of(name, side)
    plain, fast, hooks = interleaved(
        [
            lambda: _plain(model, inputs, labels),
            *(_private(model, inputs, labels, e) for e in ("book_keeping", "hooks")),
        ],
        repeats,
        time.process_time,  # one thread: another program on the machine does not count
    )
    per_image = 1000 * plain / ROWS[side]
    return {"network": name, "side": side, "plain ms/image": per_image, "private/plain": fast / plain,
            "private/hooks": fast / hooks}  # fmt: skip


def memory(sizes: Sequence[int], networks: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the peak memory of a process that takes private steps over that of one that takes plain ones."""
    return [_memory_row(name, side) for side in sizes for name in networks if not (name == "lite0" and side < 32)]


def _memory_row(name: str, side: int) -> dict[str, Any]:
    (before, plain), (_, private) = (_peak_megabytes(name, side, engine) for engine in ("plain", "book_keeping"))
    return {"network": name, "side": side, "imports MB": before, "plain MB": plain, "private MB": private,
            "ratio": private / plain, "ratio without imports": (private - before) / (plain - before)}  # fmt: skip


def _peak_megabytes(name: str, side: int, engine: str) -> tuple[float, float]:
    code = (
        "import sys; from simulations.bench.benchmark import steps_peak;"
        "print(*steps_peak(sys.argv[1], int(sys.argv[2]), sys.argv[3]))"
    )
    command = [sys.executable, "-c", code, name, str(side), engine]
    before, peak = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    return before, peak


def steps_peak(name: str, side: int, engine: str) -> tuple[float, float]:
    """Returns this process' peak memory in MB after the imports, and after three steps."""
    import resource

    import torch

    import common.privacy.engine as _same_imports  # noqa: F401

    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    model, inputs, labels = step_of(name, side)
    step = partial(_plain, model, inputs, labels) if engine == "plain" else _private(model, inputs, labels, engine)
    for _ in range(3):
        step()
    return before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _plain(model: Any, inputs: Any, labels: Any) -> None:
    import torch.nn.functional as F

    model.zero_grad()
    F.binary_cross_entropy_with_logits(model(inputs), labels).backward()


def _private(model: Any, inputs: Any, labels: Any, engine_name: str) -> Callable[[], None]:
    import torch
    import torch.nn.functional as F

    from common.privacy.engine import gradient_engine
    from common.privacy.layers import Patients

    patients = Patients(torch.arange(len(labels)), len(labels))

    def step() -> None:
        with gradient_engine(engine_name, model) as engine:
            engine.clipped_sum(
                inputs, lambda z: F.binary_cross_entropy_with_logits(z, labels, reduction="none"), patients, 1.0
            )

    return step


def overhead(overrides: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the in-process federation against a bare loop that takes the same local steps and scores the same.

    In seconds of the processor: both are one process with one thread, so another program on the machine does not count.
    """
    from common.config.study import compose

    overrides = [*OWN_MODELS_OFF, *overrides]
    study = compose(overrides)
    bare, federated = interleaved([lambda: _bare_loop(study), lambda: _federation(overrides)], 3, time.process_time)
    return [{"bare loop (s)": bare, "inprocess (s)": federated, "ratio": federated / bare}]


def _bare_loop(study: Any) -> None:
    from common.training.loop import predict, train
    from simulations.engine.emulation import build_site, site_names

    sites = [build_site(study, name, Path("unused")) for name in site_names(study)]
    models = [site._model(study, site._input_shape(study)) for site in sites]
    plans = [site._plan(study) for site in sites]
    for round_index in range(1, study.training.rounds + 1):
        for site, model, plan in zip(sites, models, plans, strict=True):
            data = site.cohort.load(study, "train")
            train(model, data, study.training, randomness=site.randomness("train", round_index), plan=plan)
            predict(model, site.cohort.load(study, "val"))


def _federation(overrides: Sequence[str]) -> None:
    from simulations.engine.run import run_study

    with tempfile.TemporaryDirectory() as folder:
        run_study(list(overrides), "inprocess", Path(folder) / "run", None, lambda row: None)


def flower() -> list[dict[str, Any]]:
    """Returns what Flower's runtime adds to the same study in one process: before, in and after the rounds."""
    rows = [_phases(engine) for engine in ("inprocess", "flower")]
    beyond = {"engine": "flower beyond inprocess"}
    return [*rows, beyond | {key: rows[1][key] - rows[0][key] for key in rows[0] if key != "engine"}]


def _phases(engine: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out, begun = Path(folder) / "run", time.time()
        command = [sys.executable, "-m", "simulations.cli.main", "run", "--engine", engine, "--out", str(out)]
        subprocess.run(command, check=True, capture_output=True)
        total = time.time() - begun
        run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    start, end = (datetime.fromisoformat(run[key]).timestamp() for key in ("started", "finished"))
    return {"engine": engine, "start (s)": start - begun, "study (s)": end - start,
            "stop (s)": begun + total - end, "whole (s)": total}  # fmt: skip


def scale(sites: Sequence[int]) -> list[dict[str, Any]]:
    """Returns seconds a site-round and the peak memory of a process that runs so many sites."""
    return [_scale_row(count) for count in sites]


def _scale_row(count: int) -> dict[str, Any]:
    code = (
        "import resource, sys, time; from simulations.bench.benchmark import _federation;"
        "started = time.perf_counter();"
        "_federation(sys.argv[1:]); seconds = time.perf_counter() - started;"
        "print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    overrides = [f"data.patients={40 * count}", f"partition.sites={count}", "data.image_size=28", "training.rounds=2",
                 "training.local_epochs=1", *OWN_MODELS_OFF, "privacy.accountant=rdp"]  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, *overrides], check=True, capture_output=True, text=True)
    seconds, peak = map(float, done.stdout.split())
    return {"sites": count, "s a site-round": seconds / (2 * count), "peak MB": peak}


def bootstraps(patients: int = 10_000, resamples: int = 2000) -> list[dict[str, Any]]:
    """Returns the seconds of a bootstrap of the AUROC against a loop over scikit-learn, with the limits of both."""
    import numpy as np
    from sklearn.metrics import roc_auc_score

    from common.evaluation import bootstrap
    from common.evaluation.scores import ScoreState

    generator = np.random.default_rng(0)
    labels = (generator.random(patients) < 0.35).astype(int)
    scores = 1 / (1 + np.exp(-generator.normal(1.5 * labels - 0.7)))
    limits: dict[str, Any] = {}

    def ours() -> None:
        state = ScoreState.of(scores, labels)
        (areas,) = bootstrap.distribution({"": state}, [bootstrap.areas], resamples, 0)
        limits["ours"] = bootstrap.percentiles(areas, 0.95, min(state.malignant, state.benign))

    def loop() -> None:
        areas = []
        for _ in range(resamples):
            drawn = generator.integers(0, patients, patients)
            areas.append(roc_auc_score(labels[drawn], scores[drawn]))
        limits["loop"] = np.quantile(areas, [0.025, 0.975])

    fast, slow = interleaved([ours, loop], 1)
    shown = {f"{name} 95%": f"{low:.4f} to {high:.4f}" for name, (low, high) in limits.items()}
    return [{"patients": patients, "resamples": resamples, "ours (s)": fast, "scikit-learn loop (s)": slow,
             "loop/ours": slow / fast, **shown}]  # fmt: skip


def main() -> None:
    """Runs the chosen benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, choices=SIZES)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", help="private and plain steps there alone: cpu, cuda or cuda:1")
    parser.add_argument("--rows", type=int, default=64, help="images of a step on --device")
    parser.add_argument("--json", action="store_true", help="JSON instead of Markdown")
    options = parser.parse_args()
    import torch

    from simulations.bench.benchmark_aggregation import aggregations
    from simulations.bench.benchmark_device import device_steps
    from simulations.bench.benchmark_gradcam import heatmaps
    from simulations.bench.benchmark_histograms import histograms
    from simulations.bench.benchmark_loading import loading
    from simulations.bench.benchmark_noise import noise
    from simulations.bench.benchmark_sum import sums

    torch.set_num_threads(1)
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "startup": lambda: startup(options.repeats),
        "engines": lambda: engines(options.sizes, options.networks, options.repeats),
        "noise": lambda: noise(options.networks, options.repeats),
        "histograms": histograms,
        "memory": lambda: memory(options.sizes, options.networks),
        "overhead": lambda: overhead([]),
        "flower": flower,
        "scale": lambda: scale([10, 30, 100]),
        "bootstrap": bootstraps,
        "loading": loading,
        "gradcam": lambda: heatmaps(options.repeats),
        "sum": lambda: sums(repeats=options.repeats),
        "aggregation": lambda: aggregations(repeats=options.repeats),
    }
    if options.device:
        sides = [side for side in options.sizes if side > 28] or options.sizes
        return _print("device", device_steps(options.device, sides, options.networks, rows=options.rows,
                                             repeats=options.repeats), options)  # fmt: skip
    for name in options.only or parts:
        _print(name, parts[name](), options)


def _print(name: str, rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    print(json.dumps({name: rows}) if options.json else f"\n## {name}\n\n{table(rows)}", flush=True)


if __name__ == "__main__":
    main()
