"""Which sources decide whether a hub and a site compute the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.provenance import MATHEMATICS, mathematics_digest, sources_digest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in ("common", "client"):
        for path in (ROOT / package).rglob("*.py"):
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tmp_path


def test_a_copy_of_the_sources_has_the_same_digest(copy: Path) -> None:
    assert sources_digest(copy, MATHEMATICS) == mathematics_digest()


@pytest.mark.parametrize(
    "name",
    ["common/privacy/engine.py", "common/training/loop.py", "common/models/zoo.py", "common/evaluation/scores.py"],
)
def test_a_change_of_the_mathematics_shows(copy: Path, name: str) -> None:
    with (copy / name).open("a") as file:
        file.write("\n# changed\n")
    assert sources_digest(copy, MATHEMATICS) != mathematics_digest()


@pytest.mark.parametrize(
    "name", ["common/reporting/run_report.py", "client/node/daemon.py", "common/services/notify.py"]
)
def test_a_change_of_pages_and_daemons_does_not(copy: Path, name: str) -> None:
    with (copy / name).open("a") as file:
        file.write("\n# changed\n")
    assert sources_digest(copy, MATHEMATICS) == mathematics_digest()
