"""``oncofed-sim run -m``: one run for each combination of values, as Hydra users write them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from common.config.overrides import take_paths
from common.errors import ConfigError, FederationError, OncoFedError, UsageError

MOST_RUNS = 1000


def grid_of(overrides: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Returns each run's label (what differs) and its overrides, in the order of ``seed=0,1 privacy.epsilon=1,3``.

    Raises:
        ConfigError: An override does not parse, or there are more than a thousand runs.
    """
    words, paths = take_paths(overrides)
    choices = [_values(word) for word in words]
    count = 1
    for values in choices:
        count *= len(values)
    if count > MOST_RUNS:
        raise ConfigError(f"These are {count} runs; expected {MOST_RUNS} at most")
    shared = [f"{key}={path}" for key, path in paths.items()]
    varied = [index for index, values in enumerate(choices) if len(values) > 1]
    return [(_label([run[index] for index in varied]), [*run, *shared]) for run in itertools.product(*choices)]


def _values(word: str) -> list[str]:
    """Returns the overrides that one word stands for: one each value of ``key=a,b`` or ``key=range(0,3)``."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise ConfigError(f"{word!r} cannot be read: {str(error).splitlines()[0]}") from None
    if not parsed.is_sweep_override():
        return [word]
    return [f"{parsed.get_key_element()}={value}" for value in parsed.sweep_string_iterator()]


def _label(words: Sequence[str]) -> str:
    return re.sub(r"[^A-Za-z0-9_.=-]+", "-", ",".join(word.rpartition(".")[2] for word in words)) or "run"


def run_grid(overrides: Sequence[str], engine: str, out: Path | None, *, quiet: bool) -> list[Path]:
    """Returns the folders of the runs, each made in turn; a run that is there and has ended is not run again.

    Raises:
        UsageError: Nothing varies.
        FederationError: Some run did not end whole; the others were made.
    """
    from common.runs.run_folder import runs_root
    from simulations.engine.display import console, progress_on
    from simulations.engine.run import completed_run

    runs = grid_of(overrides)
    if len(runs) < 2:
        raise UsageError(
            "-m runs each combination of values, as in seed=0,1,2 privacy.epsilon=1,3; nothing varies here"
        )
    folder, screen = out or runs_root() / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-multirun", console()
    failed = []
    for number, (label, chosen) in enumerate(runs, start=1):
        screen.print(f"Run {number} of {len(runs)}: {label}", highlight=False, markup=False)
        with progress_on(screen, wanted=not quiet) as progress:
            try:
                completed_run(chosen, engine, folder / label, progress)
            except OncoFedError as error:
                failed.append(f"{label}: {error}")
    if failed:
        raise FederationError(f"{len(failed)} of {len(runs)} runs did not end whole. {'; '.join(failed)}")
    return [folder / label for label, _ in runs]
