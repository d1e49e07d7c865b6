"""A hospital that sends what no training makes: named with a code, never aggregated, and the others go on.

The victim runs the installed code, but what its worker sends is changed at the last moment (``liar/``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.scenarios.deployment.steps import EVERYBODY, OTHERS, VICTIM, all_back, completed, lost_only, restart

if TYPE_CHECKING:
    from tests.scenarios.deployment.conftest import Deployment

LIES = ("nan", "huge", "shape", "names", "dtype")
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def lying(deployment: Deployment) -> Iterator[Path]:
    """The file that says how the victim lies; the victim is honest again afterwards."""
    wish = deployment.home(VICTIM) / "lie"
    restart(deployment, PYTHONPATH=str(Path(__file__).with_name("liar")))
    all_back(deployment)
    yield wish
    wish.unlink(missing_ok=True)
    restart(deployment)
    all_back(deployment)


@pytest.mark.parametrize("lie", LIES)
def test_a_bad_update_is_named_and_not_aggregated(deployment: Deployment, lying: Path, lie: str) -> None:
    lying.write_text(lie)
    run = deployment.begin(f"lie-{lie}")
    status = run.wait(deployment)
    lost_only(status, run, deployment, "bad-update")
    for row in run.rounds():
        assert set(row["joined"]) == OTHERS
        assert row["failures"] == [{"site": VICTIM, "code": "bad-update"}]
    weights = load_file(run.folder / "model" / "model.safetensors")
    assert all(np.isfinite(values).all() and np.abs(values).max() < 1e3 for values in weights.values())


def test_the_same_site_takes_part_again_once_it_is_honest(deployment: Deployment, lying: Path) -> None:
    lying.unlink(missing_ok=True)
    run = deployment.begin("honest-again")
    completed(run.wait(deployment), run, deployment)
    assert sorted(site["name"] for site in run.read("run.json")["sites"]) == EVERYBODY
