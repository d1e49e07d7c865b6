"""One study, one command, one table: every model that a hospital could have instead, over several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from common.config.study import StudyConfig, compose
from common.errors import OncoFedError
from common.provenance import code_digest
from common.runs.run_folder import RunFolder
from simulations.analysis.baselines.measure import OWN, areas_of, pooled_area, study_of
from simulations.analysis.baselines.table import HOME, Baselines, Row, compared
from simulations.analysis.baselines.variants import Variant, passes, variants
from simulations.data.public_overlap import naming
from simulations.engine.emulation import emulated_cohorts, site_names
from simulations.engine.run import Progress, absolute_paths, completed_run

FILE = "baselines.json"
SETTINGS = "baselines.yaml"


def run_baselines(overrides: Sequence[str], seeds: Sequence[int], out: Path, progress: Progress) -> Baselines:
    """Returns the comparison, with every file written; runs that have ended are not run again.

    Args:
        overrides: Those of the study.
        seeds: Each is another split, start and noise.
        out: Folder of the comparison and of its runs.
        progress: Hears of phases and rounds.

    Raises:
        OncoFedError: The study itself cannot be run. Another way that cannot be run is a row with the reason.
    """
    first = compose(overrides)
    words = [*overrides, *absolute_paths(first), *naming(first)]
    study = compose(words)
    found: dict[str, Row] = {}
    for variant in variants(words, site_names(study)):
        for name, row in _rows(variant, words, seeds, out, progress).items():
            found.setdefault(name, row)
    document = Baselines(
        study=study.name, data=study.data.name, seeds=tuple(seeds), overrides=tuple(words), code=code_digest(),
        rows=tuple(_compared(found)),
    )  # fmt: skip
    _write(out, document)
    return document


def _compared(rows: dict[str, Row]) -> list[Row]:
    """Returns the rows with their differences: to the home model, or to the public one where nothing has labels."""
    home = rows.get(HOME, Row(name=HOME))
    return [compared(row, rows.get(row.rival, home)) for row in rows.values()]


def _rows(variant: Variant, words: list[str], seeds: Sequence[int], out: Path, progress: Progress) -> dict[str, Row]:
    if variant.missing:
        return {variant.title: Row(name=variant.title, missing=variant.missing)}
    areas: dict[str, dict[int, float]] = {}
    try:
        for seed in seeds:
            for name, area in _measured(variant, words, seed, out, progress).items():
                areas.setdefault(name, {})[seed] = area
    except OncoFedError as error:
        if variant.name == "study":
            raise
        return {variant.title: Row(name=variant.title, missing=str(error))}
    runs = {seed: f"{variant.name}/seed-{seed}" for seed in seeds}
    used = _passes(study_of([*words, *variant.overrides], seeds[0]))
    return {name: _row(name, variant, found, runs, used) for name, found in areas.items()}


def _row(name: str, variant: Variant, areas: dict[int, float], runs: dict[int, str], used: float) -> Row:
    federated = name == variant.title or name.endswith(": federated")
    rival = f"{variant.title}: public checkpoint" if variant.name.startswith("without-") else HOME
    return Row(name=name, areas=areas, runs=runs, rival=rival, passes=used if federated else None)


def _measured(variant: Variant, words: list[str], seed: int, out: Path, progress: Progress) -> dict[str, float]:
    """Returns the AUROC of each model that one run shows, by the name of its row."""
    chosen = [*words, *variant.overrides, f"seed={seed}"]
    progress({"phase": f"{variant.title}, seed {seed}"})
    folder = completed_run(chosen, "inprocess", out / variant.name / f"seed-{seed}", progress)
    if variant.name == "pooled":
        return {variant.title: pooled_area(folder, study_of(words, seed), compose(chosen))}
    areas = areas_of(folder)
    if variant.name.startswith("without-"):
        named = {"outside federated": "federated", "outside public": "public checkpoint"}
        return {f"{variant.title}: {title}": areas[key] for key, title in named.items() if key in areas}
    own = {OWN[name]: areas[name] for name in OWN if name in areas} if variant.name == "study" else {}
    return {variant.title: areas["federated"], **own} if "federated" in areas else own


def _passes(study: StudyConfig) -> float:
    cohorts = emulated_cohorts(study)
    sizes = [len(cohorts[site].in_split("train").patients()) for site in site_names(study)]
    return passes(study, max(1, round(median(sizes))))


def _write(out: Path, document: Baselines) -> None:
    from simulations.analysis.baselines.page import write_page

    RunFolder(out).write_json(FILE, document.to_json())
    write_page(out, document)
