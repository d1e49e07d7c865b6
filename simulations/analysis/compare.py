"""Runs side by side: what differs in their studies, what they measured, and whether the difference is more than chance.

Two runs on the same test patients are compared patient by patient (DeLong's paired test on the models opened again).
Runs that differ in nothing but the seed are one group; two groups are compared seed by seed (paired t-test). Where
neither is possible there is no test, and it is said why.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import OncoFedError, UsageError
from common.evaluation.comparison import against_margin, paired_difference
from common.reporting.run_report import headline_table
from common.runs.run_files import RunFiles, read_run

SCHEMA_VERSION = 1
FEWEST_SEEDS = 3
CONFIDENCE = 0.95
METRICS = ("auroc", "sensitivity", "specificity", "brier", "ece")
IGNORED = ("name", "seed", "data.root", "simulation.ledger_dir", "simulation.cache_dir")
"""Keys of a study that do not make it another one."""
Scores = Mapping[tuple[str, str], tuple[float, int]]


@dataclasses.dataclass(frozen=True, eq=False)
class Compared:
    """One run of the comparison: its folder, its files, its study as flat keys."""

    folder: Path
    files: RunFiles
    study: Mapping[str, Any]

    @property
    def label(self) -> str:
        return self.folder.name

    @property
    def seed(self) -> int:
        return int(self.study.get("seed", 0))

    @property
    def pooled(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.files.model("federated").get("pooled") or {}
        return found


def compare_runs(folders: Sequence[Path]) -> dict[str, Any]:
    """Returns the comparison of finished runs, each other one with the first, as JSON values.

    Raises:
        UsageError: Fewer than two runs, or one twice.
        ConfigError: A folder holds no run, or its run was not tested.
    """
    if len(folders) < 2 or len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("Name two or more different runs: oncofed-sim compare RUN RUN [RUN ...]")
    runs = [_read(folder) for folder in folders]
    groups = _groups(runs)
    return {
        "schema_version": SCHEMA_VERSION,
        "confidence": CONFIDENCE,
        "runs": [_facts(run) for run in runs],
        "differs": _differs(runs),
        "pairs": _pairs(runs) if len(groups) == len(runs) else [],
        "groups": [_group(members) for members in groups] if len(groups) < len(runs) else [],
        "group_pairs": [_seed_by_seed(groups[0], other) for other in groups[1:]] if len(groups) < len(runs) else [],
    }


def _read(folder: Path) -> Compared:
    files = read_run(folder)
    if files.evaluation is None:
        raise UsageError(f"{folder} was not tested ({files.run['status']}); finish it with --resume {folder}")
    return Compared(folder, files, dict(_flat(files.study)))


def _flat(value: Any, key: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        return [(key, value)]
    return [pair for inner, part in value.items() for pair in _flat(part, f"{key}.{inner}" if key else str(inner))]


def _facts(run: Compared) -> dict[str, Any]:
    rows = [row for row in headline_table(run.folder) if row["site"] != "pooled" and row["auroc"]["value"] is not None]
    worst = min(rows, key=lambda row: row["auroc"]["value"], default=None)
    epsilons = [row["epsilon"] for row in rows if row["epsilon"] is not None]
    return {
        "folder": run.label,
        "name": run.files.run["name"],
        "status": run.files.run["status"],
        "seed": run.seed,
        "epsilon": max(epsilons, default=None),
        "patients": run.pooled.get("patients"),
        "rounds": run.files.run["rounds_done"],
        **{name: _limits(run.pooled.get(name)) for name in METRICS},
        "worst_site": None if worst is None else {"site": worst["site"], "auroc": worst["auroc"]["value"]},
    }


def _limits(found: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: (found or {}).get(key) for key in ("value", "low", "high")}


def _differs(runs: Sequence[Compared]) -> dict[str, list[Any]]:
    """Returns the keys in which the studies differ, with each run's value."""
    keys = sorted({key for run in runs for key in run.study} - {"name", "data.root"})
    values = {key: [run.study.get(key) for run in runs] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def _pairs(runs: Sequence[Compared]) -> list[dict[str, Any]]:
    opened: dict[int, Scores | str] = {index: _scores(run) for index, run in enumerate(runs)}
    return [_pair(runs[0], opened[0], run, opened[index]) for index, run in enumerate(runs) if index]


def _pair(first: Compared, one: Scores | str, second: Compared, other: Scores | str) -> dict[str, Any]:
    found: dict[str, Any] = {"first": first.label, "second": second.label, "difference": None, "why": ""}
    for scores in (one, other):
        if isinstance(scores, str):
            return found | {"why": scores}
    if not isinstance(one, str) and not isinstance(other, str):
        if one.keys() != other.keys():
            return found | {"why": "their test patients differ, so no test is paired; give both the same data and seed"}
        found["difference"] = _paired(one, other, first.files.evaluation or {})
    return found


def _paired(one: Scores, other: Scores, rules: Mapping[str, Any]) -> dict[str, Any] | None:
    order = sorted(one)
    labels = np.array([one[key][1] for key in order])
    first, second = (np.array([scores[key][0] for key in order]) for scores in (one, other))
    found = paired_difference(second, first, labels, confidence=CONFIDENCE, resamples=0, seed=0)
    return None if found is None else against_margin(found, rules.get("margin", 0.05))


def _scores(run: Compared) -> Scores | str:
    """Returns (site, patient) -> (score, label) of the final model on its test patients; or why there are none."""
    from common.data.loading import to_tensors
    from common.training.loop import predict
    from simulations.engine.reopened import reopen

    try:
        opened = reopen(run.folder)
        model = opened.model()
        found: dict[tuple[str, str], tuple[float, int]] = {}
        for site, part in opened.tests.items():
            tensors = to_tensors(part, opened.study.data)
            both = zip(tensors.patients, predict(model, tensors).tolist(), tensors.patient_labels(), strict=True)
            found |= {(site, patient): (score, int(label)) for patient, score, label in both}
    except OncoFedError as error:
        return f"{run.label} cannot be opened again: {error}"
    return found


def _groups(runs: Sequence[Compared]) -> list[list[Compared]]:
    """Returns the runs by study, seeds apart, in the order of their first."""
    groups: dict[str, list[Compared]] = {}
    for run in runs:
        study = repr(sorted((key, repr(value)) for key, value in run.study.items() if key not in IGNORED))
        groups.setdefault(study, []).append(run)
    return list(groups.values())


def _aurocs(group: Sequence[Compared]) -> dict[int, float]:
    areas = ((run.seed, (run.pooled.get("auroc") or {}).get("value")) for run in group)
    return {seed: area for seed, area in areas if area is not None}


def _group(group: Sequence[Compared]) -> dict[str, Any]:
    areas = _aurocs(group)
    values = list(areas.values())
    return {
        "runs": [run.label for run in group],
        "seeds": sorted(areas),
        "mean": statistics.mean(values) if values else None,
        "standard_deviation": statistics.stdev(values) if len(values) > 1 else None,
    }


def _seed_by_seed(first: Sequence[Compared], second: Sequence[Compared]) -> dict[str, Any]:
    """Returns the mean difference of AUROC over common seeds with its paired t interval (Student 1908)."""
    from scipy import stats

    one, other = _aurocs(first), _aurocs(second)
    seeds = sorted(one.keys() & other.keys())
    found: dict[str, Any] = {"first": first[0].label, "second": second[0].label, "seeds": seeds, "difference": None}
    if len(seeds) < FEWEST_SEEDS:
        return found | {"why": f"{len(seeds)} seeds in common; a test needs {FEWEST_SEEDS} or more"}
    test = stats.ttest_rel([other[seed] for seed in seeds], [one[seed] for seed in seeds])
    limits = test.confidence_interval(CONFIDENCE)
    value = statistics.mean(other[seed] - one[seed] for seed in seeds)
    difference = {"value": value, "low": float(limits.low), "high": float(limits.high), "p": float(test.pvalue)}
    return found | {"difference": difference, "why": ""}
