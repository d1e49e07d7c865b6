"""Train at one emulated hospital, test at each: how far a local model travels. In simulation only; nothing leaves.

``python -m simulations.crossing data=bus_bra data.root=DIR partition=natural`` prints one row a training site and one
column a test site: the AUROC by patient of the same local model that a run of the study compares with. The diagonal is
``models.local`` of that run's ``evaluation.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.config import StudyConfig, compose
from common.errors import OncoFedError
from simulations.benchmark import table


def crossing(study: StudyConfig) -> dict[str, dict[str, dict[str, float | None]]]:
    """Returns training site -> test site -> ``value``, ``low`` and ``high`` of the AUROC, None with one class only.

    Raises:
        DataError, ConfigError: The data cannot be read or dealt out, or a site lacks a class.
    """
    from simulations.emulation import build_site, check_emulation, site_names

    check_emulation(study)
    sites = {name: build_site(study, name, Path("unused")) for name in site_names(study)}
    return {name: _row(site, sites, study) for name, site in sites.items()}


def _row(site: Any, sites: Mapping[str, Any], study: StudyConfig) -> dict[str, dict[str, float | None]]:
    from client.baseline import scores_of, train_alone
    from common.evaluation.metrics import auroc_interval

    train_data, val_data = site.cohort.load(study, "train"), site.cohort.load(study, "val")
    model = site._model(study, site._input_shape(study))
    train_alone(model, train_data, val_data, study, site.randomness("baseline", 0))
    row: dict[str, dict[str, float | None]] = {}
    for name, other in sites.items():
        state = scores_of(model, other.cohort.load(study, "test"), study.evaluation.bins)
        area = auroc_interval(state, study.evaluation.confidence)
        row[name] = {key: getattr(area, key) if area else None for key in ("value", "low", "high")}
    return row


def _cell(area: Mapping[str, float | None]) -> str:
    value, low, high = area["value"], area["low"], area["high"]
    if value is None or low is None or high is None:
        return "not defined"
    return f"{value:.3f} ({low:.3f}-{high:.3f})"


def main() -> None:
    """Prints the matrix."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", help="Hydra overrides of the study")
    parser.add_argument("--json", action="store_true", help="JSON instead of Markdown")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    try:
        matrix = crossing(compose(options.overrides))
    except OncoFedError as error:
        parser.exit(error.exit_code, f"{error}\n")
    rows = [
        {"trained at": name} | {f"tested at {other}": _cell(area) for other, area in row.items()}
        for name, row in matrix.items()
    ]
    print(json.dumps(matrix) if options.json else table(rows))


if __name__ == "__main__":
    main()
