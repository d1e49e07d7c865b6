"""``python -m simulations.analysis.joining``: measures what joining gives hospitals of 20 to 200 patients.

Consortia of 3 to 30 equal hospitals are dealt out of public data at random, several times; they train by the statistics
training of the product, from a public checkpoint of other data, at epsilon 1, 3 and 8. The figures go to the file that
``oncofed-site privacy forecast`` reads, and to a page.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from common.config.study import compose
from common.errors import OncoFedError
from common.models.checkpoints import read_checkpoint
from common.version import version_line
from simulations.analysis.joining.embedding import embed
from simulations.analysis.joining.grid import SOURCES, Source, measured
from simulations.analysis.joining.page import MARKS, tables
from simulations.analysis.markdown import inserted


def main() -> int:
    """Returns the exit code."""
    options = _options()
    try:
        document = {
            "schema_version": 1,
            "made_by": version_line(),
            "sources": [_of(source, options) for source in SOURCES if getattr(options, source.name) is not None],
        }
    except OncoFedError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if options.page:
        text = options.page.read_text(encoding="utf-8")
        options.page.write_text(inserted(text, tables(document), MARKS), encoding="utf-8")
    return 0


def _of(source: Source, options: argparse.Namespace) -> dict[str, object]:
    checkpoint, root = getattr(options, source.name), options.data / source.root if source.root else None
    digest = read_checkpoint(checkpoint).digest
    overrides = [*source.overrides, f"model.weights={checkpoint}", f"model.checkpoint={digest}"]
    study = compose([*overrides, *([f"data.root={root}"] if root else [])])
    _tell(f"{source.name}: features")
    cells = measured(source, embed(study), study, options.divisions, _tell)
    rows = [dataclasses.asdict(cell) for cell in cells]
    return {"name": source.name, "title": source.title, "checkpoint": digest, "cells": rows}


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m simulations.analysis.joining", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder with the public data sets")
    parser.add_argument("--bus-bra", dest="bus_bra", type=Path, help="checkpoint made from other ultrasound")
    parser.add_argument("--phantom", type=Path, help="checkpoint made from phantoms of another seed")
    parser.add_argument("--divisions", type=int, default=10, help="random divisions of each size")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the figures")
    parser.add_argument("--page", type=Path, help="page between whose marks the tables go")
    options = parser.parse_args()
    if options.divisions < 2:
        parser.error(f"--divisions {options.divisions}: a standard error needs at least 2")
    return options


if __name__ == "__main__":
    sys.exit(main())
