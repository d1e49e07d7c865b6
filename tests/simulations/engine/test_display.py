"""The table at the end of a run calls unknown what is unknown."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from simulations.engine.display import _Clock, headline, progress_on

NOTHING = {"value": None, "low": None, "high": None}


def shown(epsilon: float | None, *, private: bool) -> str:
    row: dict[str, Any] = {
        "site": "north", "patients": None, "epsilon": epsilon, "auroc": NOTHING, "local_auroc": NOTHING,
        "joined_auroc": NOTHING, "gain": NOTHING,
    }  # fmt: skip
    console = Console(width=100)
    with console.capture() as capture:
        console.print(headline([row], private=private))
    return next(line for line in capture.get().splitlines() if "north" in line)


@pytest.mark.parametrize(("epsilon", "expected"), [(None, "-"), (0.0, "0.00"), (7.996, "8.00")])
def test_a_site_of_a_private_run_is_never_called_not_private(epsilon: float | None, expected: str) -> None:
    assert shown(epsilon, private=True).split()[2] == expected


def test_a_run_that_is_not_private_says_so() -> None:
    assert "not private" in shown(None, private=False)


def test_the_clock_runs_and_the_estimate_is_of_rounds_alone_once_two_are_done() -> None:
    times = iter([0.0, 2.0, 20.0, 24.0, 28.0, 32.0])
    clock = _Clock(lambda: next(times))
    assert clock.after({"phase": "starting"}, 4) == "2 s"
    assert clock.after({"round": 1}, 4) == "20 s, about 60 s of rounds left"
    assert clock.after({"round": 2}, 4) == "24 s, about 8 s of rounds left"
    assert clock.after({"round": 3}, 4) == "28 s, about 4 s of rounds left"
    assert clock.after({"round": 4}, 4) == "32 s"


def test_a_resumed_run_is_estimated_too() -> None:
    times = iter([0.0, 9.0, 12.0])
    clock = _Clock(lambda: next(times))
    assert clock.after({"round": 5}, 6) == "9 s, about 9 s of rounds left"
    assert clock.after({"round": 6}, 6) == "12 s"


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_waited_for_is_shown(terminal: bool) -> None:
    with StringIO() as file:
        screen = Console(file=file, force_terminal=terminal, width=120)
        with progress_on(screen, wanted=True) as progress:
            progress({"phase": "starting", "rounds": 3})
            progress({"phase": "waiting for 4 [emulated] hospitals"})
            if terminal:
                progress._live.refresh()  # type: ignore[attr-defined]
        assert "waiting for 4 [emulated] hospitals" in file.getvalue()
