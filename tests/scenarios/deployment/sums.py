"""Three hospitals share their noise over TLS: registers that people compared, masked sums, the simulator's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from common.privacy.signature import check_signature
from common.privacy.statement import verify_statement
from simulations.engine.run import run_study
from tests.scenarios.deployment.conftest import SITES, STUDY, Run, emulation

if TYPE_CHECKING:
    from tests.scenarios.deployment.conftest import Deployment

pytestmark = pytest.mark.timeout(900)
SUMMED = ("privacy.mode=distributed", "training.local_steps=1", "evaluation.local_baseline=false")


def registered(deployment: Deployment) -> None:
    """Every hospital pins the keys of all; the fingerprints that people would read each other are the same."""
    lines = "".join(deployment.site(site, "sum-key").stdout for site in SITES)
    (deployment.folder / "hospitals.txt").write_text(lines)
    said = {deployment.site(site, "trust-roster", str(deployment.folder / "hospitals.txt")).stdout for site in SITES}
    assert len(said) == 1


def begun(deployment: Deployment, name: str) -> Run:
    path = deployment.folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump([*STUDY, *SUMMED, f"name={name}"]))
    folder = deployment.run(name, str(path))
    return Run(folder, deployment.processes[f"run {name}"])


def test_three_hospitals_sum_over_tls_to_the_weights_of_the_simulator(deployment: Deployment, tmp_path: Path) -> None:
    registered(deployment)
    run = begun(deployment, "summed")
    status = run.wait(deployment)
    assert (status["status"], status["reason"]) == ("COMPLETED", ""), deployment.tails()
    assert status["secure_sum"]["void"] == [] and all(row["norms"] == {} for row in run.rounds())
    for site in SITES:
        said = run.read(f"privacy/{site}.json")
        check_signature(said)
        verify_statement(said)
        assert (said["secure_sum"]["sites"], said["secure_sum"]["honest"]) == (3, 2)
        journal = (deployment.home(site) / "egress.jsonl").read_text().splitlines()
        kinds = {field["kind"] for line in journal for field in json.loads(line)["fields"]}
        assert "uint64" in kinds and not list((deployment.home(site) / "sums").glob("*.json"))
    simulated = run_study([*emulation(deployment.data), *SUMMED], "inprocess", out=tmp_path / "simulated")
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (run.folder, simulated))
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours[name], values, err_msg=name)


def test_a_hospital_that_compared_another_key_sums_with_nobody(deployment: Deployment) -> None:
    registered(deployment)
    path = deployment.home(SITES[0]) / "register.json"
    honest = path.read_text()
    path.write_text(json.dumps(json.loads(honest) | {SITES[1]: "ab" * 32}))
    try:
        status = begun(deployment, "doubted").wait(deployment)
    finally:
        path.write_text(honest)
    assert status["status"] == "FAILED" and f"{SITES[0]} (policy-refused)" in status["reason"]
    assert "no sum" in status["reason"]
