"""One row of docs/results.md, measured: each side chooses its learning rate on validation, then one run is tested."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from common.config.study import StudyConfig, compose
from common.evaluation.scores import ScoreState
from common.evaluation.within_sites import within_sites
from common.provenance import sources_digest
from common.runs.run_folder import RunFolder
from simulations.analysis.results.plan import Study
from simulations.engine.emulation import build_site, site_names
from simulations.engine.run import completed_run

OFF = ("evaluation.local_baseline=false", "evaluation.personal_epochs=0")
MODELS = ("federated", "local", "personalised", "public")


@dataclass(frozen=True, slots=True)
class Cell:
    """What one seed of a study gave: AUROC within sites on test patients by model, and how it was come by.

    ``outside`` has for each hospital that took no part the AUROC of the federated and of the public model.
    """

    study: str
    seed: int
    areas: Mapping[str, float]
    rate: float | None
    own_rate: float | None
    epsilon: float | None
    code: str
    outside: Mapping[str, tuple[float, float]] = field(default_factory=dict)


ROOT = Path(__file__).resolve().parents[3]
MEASURED_CODE = ("common", "client", "server", "simulations/data", "simulations/engine", "simulations/pretrain")
"""Sources that a figure of the table can hang on."""


@cache
def measured_code() -> str:
    """Returns the SHA-256 (hex) of the sources in :data:`MEASURED_CODE`."""
    return sources_digest(ROOT, MEASURED_CODE)


def measured(study: Study, seed: int, data: Path, out: Path, *, keep: bool = False) -> Cell:
    """Returns the cell, from its file when the same code has measured it before; with ``keep`` when any code has.

    Raises:
        OncoFedError: The study cannot be run here, or a run did not end as COMPLETED.
    """
    folder = RunFolder(out / study.name / f"seed{seed}")
    kept = folder.read_json("cell.json")
    same_code = keep or kept.get("code") == measured_code()
    if same_code and kept.get("plan") == repr(study):
        return Cell(**{key: value for key, value in kept.items() if key != "plan"})
    cell = _measure(study, seed, data, folder.path)
    folder.write_json("cell.json", {**{name: getattr(cell, name) for name in Cell.__slots__}, "plan": repr(study)})
    return cell


def _measure(study: Study, seed: int, data: Path, folder: Path) -> Cell:
    base = [*study.overrides, f"seed={seed}", f"simulation.cache_dir={folder.parent / 'cache'}"]
    base += [f"data.root={data / study.root}"] if study.root else []
    base += [f"model.weights={_checkpoint(study, data, folder.parent.parent)}"] if study.public else []
    rate = own_rate = None
    chosen = base
    if study.rates:
        rate = _best({rate: _validated(base, rate, folder) for rate in study.rates})
        own_rate = _best({rate: _own_validated(base, rate, folder) for rate in study.own_rates})
        own = [f"evaluation.local_lr={own_rate}", f"evaluation.personal_lr={own_rate}"]
        chosen = [*base, f"training.lr={rate}", *own]
    done = _run(chosen, folder / "final")
    models = json.loads((done / "evaluation.json").read_text(encoding="utf-8"))["models"]
    areas = {name: models[name]["within_sites"]["value"] for name in MODELS if name in models}
    epsilon = max(_epsilons(done), default=None)
    return Cell(study.name, seed, areas, rate, own_rate, epsilon, measured_code(), _outside(done))


def _outside(folder: Path) -> dict[str, tuple[float, float]]:
    """Returns the AUROC of the federated and of the public model at each hospital that took no part."""
    sites: Mapping[str, Any] = RunFolder(folder).read_json("outside.json").get("sites", {})
    return {site: (row["federated"]["value"], row["public"]["value"]) for site, row in sites.items() if row["public"]}


def _checkpoint(study: Study, data: Path, out: Path) -> Path:
    """Returns the public checkpoint that the study starts from, made on first use."""
    from simulations.pretrain.pretraining import Options, make_checkpoint

    overrides = [*study.public, *([f"data.root={data / study.public_root}"] if study.public_root else [])]
    folder = out / "checkpoints" / "-".join(study.public).replace("=", "-").replace(".", "-")
    if not folder.exists():
        make_checkpoint(overrides, [], folder, Options(), lambda text: None)
    return folder


def _best(areas: Mapping[float, float]) -> float:
    """Returns the candidate with the largest validation AUROC, the first of equals."""
    return max(areas, key=lambda rate: areas[rate])


def _validated(base: Sequence[str], rate: float, folder: Path) -> float:
    """Returns the best validation AUROC of the federated model over its rounds."""
    done = _run([*base, *OFF, f"training.lr={rate}"], folder / f"rate-{rate:g}")
    rows = RunFolder(done).read_metrics()
    return max((row["val"]["pooled"]["auroc"] or 0.0 for row in rows), default=0.0)


def _own_validated(base: Sequence[str], rate: float, folder: Path) -> float:
    """Returns the validation AUROC within sites of the models that each hospital trains alone."""
    study = compose([*base, f"evaluation.local_lr={rate}"])
    states = {name: _own_state(study, name, folder) for name in site_names(study)}
    return float(within_sites(states, study.evaluation.confidence)["value"] or 0.0)


def _own_state(study: StudyConfig, name: str, folder: Path) -> ScoreState:
    """Returns the scores of the hospital's own model on its patients held out in turn."""
    from client.site.home import home_of
    from common.training.study_model import study_model

    site = build_site(study, name, folder / "own")
    train, validation = (site.cohort.load(study, split) for split in ("train", "val"))
    fresh = study_model(study, tuple(train.inputs.shape[1:]))
    home = home_of(fresh, train, validation, study, site.randomness)
    return ScoreState.of(home.probability(home.logits), home.labels, study.evaluation.bins)


def _run(overrides: list[str], out: Path) -> Path:
    return completed_run(overrides, "inprocess", out)


def _epsilons(folder: Path) -> list[float]:
    statements = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "privacy").glob("*.json")]
    found: list[Any] = [statement["epsilon"] for statement in statements if statement["private"]]
    return [float(epsilon) for epsilon in found]
