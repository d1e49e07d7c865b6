"""``python -m simulations.analysis.results``: measures the table of docs/results.md and writes it down.

Each cell is kept, so a command that broke off goes on where it was. Cells of other code are measured anew.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from common.errors import OncoFedError
from simulations.analysis.markdown import inserted
from simulations.analysis.results.measure import Cell, measured
from simulations.analysis.results.page import MARKS, page
from simulations.analysis.results.plan import STUDIES, Study


def main() -> int:
    """Returns the exit code: that of the first study that could not be measured, 0 when all were."""
    options = _options()
    chosen = [study for study in STUDIES if not options.only or study.name in options.only]
    try:
        cells = _cells(chosen, options)
    except OncoFedError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    only = f" --only {' '.join(options.only)}" if options.only else ""
    only += f" --seeds {' '.join(map(str, options.seeds))}" if options.seeds else ""
    part = page(chosen, cells, f"python -m simulations.analysis.results --data DATA --page docs/results.md{only}")
    if options.page is None:
        print(part)
    else:
        options.page.write_text(inserted(options.page.read_text(encoding="utf-8"), part, MARKS), encoding="utf-8")
    return 0


def _cells(studies: list[Study], options: argparse.Namespace) -> dict[str, list[Cell]]:
    """Measures seed by seed, for studies of the same data share what was read and embedded."""
    found: dict[str, list[Cell]] = {study.name: [] for study in studies}
    data, out = options.data.resolve(), options.out.resolve()
    for study, seed in sorted(_pairs(studies, options.seeds), key=lambda pair: (pair[0].data, pair[1])):
        print(f"{study.name}, seed {seed} ...", file=sys.stderr, flush=True)
        found[study.name].append(measured(study, seed, data, out, keep=options.keep))
    return found


def _pairs(studies: list[Study], seeds: list[int] | None) -> list[tuple[Study, int]]:
    return [(study, seed) for study in studies for seed in study.seeds if seeds is None or seed in seeds]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulations.analysis.results", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the public data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/results"), help="folder of the cells")
    parser.add_argument("--page", type=Path, help="page between whose marks the table goes; default: stdout")
    parser.add_argument("--keep", action="store_true", help="keep cells of other code; the page says so")
    parser.add_argument("--seeds", type=int, nargs="+", help="some seeds only; the page says how many there are")
    parser.add_argument("--only", nargs="+", choices=[study.name for study in STUDIES], help="some studies only")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
