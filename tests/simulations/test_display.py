"""The table at the end of a run calls unknown what is unknown."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from simulations.display import headline

NOTHING = {"value": None, "low": None, "high": None}


def shown(epsilon: float | None, *, private: bool) -> str:
    row: dict[str, Any] = {
        "site": "north", "patients": None, "epsilon": epsilon, "auroc": NOTHING, "local_auroc": NOTHING
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
