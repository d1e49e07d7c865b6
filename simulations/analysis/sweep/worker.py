"""``python -m simulations.analysis.sweep.worker FOLDER``: runs trials of a sweep that another process conducts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from simulations.engine.environment import quiet_environment


def main() -> None:
    """Runs trials until the sweep has enough."""
    os.environ.update(quiet_environment())
    from simulations.analysis.sweep.sweep import run_worker

    run_worker(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
