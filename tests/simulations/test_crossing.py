"""The train-site by test-site matrix: its diagonal is what a run calls local."""

from __future__ import annotations

from common.config import compose
from common.overrides import split_overrides
from simulations.crossing import crossing
from tests.scenarios.conftest import QUICK, Federation


def test_the_diagonal_is_the_local_model_of_a_run(tmp_path) -> None:
    federation = Federation(tmp_path / "run")
    federation.run("privacy=none training.rounds=1")
    local = federation.read("evaluation.json")["models"]["local"]["sites"]
    matrix = crossing(compose(split_overrides(f"{QUICK} privacy=none training.rounds=1")))
    assert set(matrix) == set(local) and all(set(row) == set(local) for row in matrix.values())
    for site, row in matrix.items():
        assert row[site] == {key: local[site]["auroc"][key] for key in ("value", "low", "high")}
