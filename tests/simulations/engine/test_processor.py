"""Where a simulation's networks run, and an emulated hospital that answers all of a run on another device."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import common.training.device as device_module
from common.config.overrides import split_overrides
from common.config.study import StudyConfig, compose
from common.errors import ConfigError, DeviceError
from common.models.weights import trainable_state
from common.protocol.messages import DocumentAnswer, Purpose, Request, TrainAnswer
from common.training.study_model import study_model
from simulations.engine.emulation import build_site
from simulations.engine.processor import Processor
from simulations.engine.run import prepare
from simulations.engine.superlink import federation_config
from tests.far_device import FAR, FarDevice

TINY = [
    "data.patients=120", "data.image_size=16", "training.rounds=2", "training.local_epochs=1", "partition.sites=2",
    "evaluation.local_epochs=2", "evaluation.personal_epochs=1", "privacy.accountant=rdp",
]  # fmt: skip


@pytest.mark.parametrize("setting", ["gpu", "cuda:", "cuda:x", "cuda:100", "mps", ""])
def test_another_word_is_no_device(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"simulation\.device"):
        compose([f"simulation.device='{setting}'"])


def test_a_gpu_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="device=cuda:77"):
        prepare([*TINY, "simulation.device=cuda:77"], "inprocess", tmp_path / "run", None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("device", "engine", "seen", "override", "environment"),
    [
        ("cpu", "flower", "", [], {}),
        ("cuda:0", "inprocess", "", ["simulation.device=cuda:0"], {"CUDA_VISIBLE_DEVICES": "0"}),
        ("cuda:1", "inprocess", "", ["simulation.device=cuda:1"], {"CUDA_VISIBLE_DEVICES": "1"}),
        ("cuda:1", "flower", "", ["simulation.device=cuda:0"], {"CUDA_VISIBLE_DEVICES": "1"}),
        ("cuda:1", "flower", "4,6", ["simulation.device=cuda:0"], {"CUDA_VISIBLE_DEVICES": "6"}),
    ],
)
def test_every_process_of_a_run_gets_the_chosen_device(
    device: str, engine: str, seen: str, override: list[str], environment: dict[str, str]
) -> None:
    found = Processor(device, "a card")
    assert found.override(engine) == override
    assert found.environment({"CUDA_VISIBLE_DEVICES": seen} if seen else {}) == environment
    study = compose([*split_overrides(" ".join(override))])
    assert study.simulation.device == (override[0].partition("=")[2] if override else "auto")


def test_ray_reserves_a_share_of_the_gpu() -> None:
    assert "num-gpus=0.25" in federation_config(4, 1, Processor("cuda:0", "").gpus_per_client)
    assert federation_config(4, 1, Processor("cpu", "").gpus_per_client).endswith("num-gpus=0")


def test_the_device_does_not_travel() -> None:
    assert compose([]).digest() == compose(["simulation.device=cpu"]).digest()


def _answers(study: StudyConfig, folder: Path) -> dict[str, Any]:
    """What an emulated hospital says in a run: its card, its update, scores, and how its own models do."""
    site = build_site(study, "site_1", folder)
    arrays: dict[str, Any] = {}

    def ask(purpose: Purpose, **keys: Any) -> Request:
        return Request(purpose=purpose, study=study, run="ab", arrays=arrays, **keys)

    card = site.enrol(ask("enrol"))
    arrays |= trainable_state(study_model(study, card.input_shape))
    return {
        "card": card, "train": site.train(ask("train", round_index=1)),
        "val": site.evaluate(ask("evaluate", round_index=1)), "test": site.evaluate(ask("evaluate", split="test")),
        "own": site.baseline(ask("baseline")),
    }  # fmt: skip


def test_a_hospital_answers_from_another_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for its update, its scores and its own models, it says there what it says here, to rounding."""
    study = compose(TINY)
    here = _answers(study, tmp_path / "here")
    monkeypatch.setattr(device_module, "chosen", lambda setting: FAR)
    with FarDevice() as far:
        there = _answers(study, tmp_path / "there")
    assert far.rows
    assert (here["card"].device, there["card"].device) == ("cpu", FAR.type)
    assert dataclasses.replace(there["card"], device="cpu") == here["card"]
    first, second = here["train"], there["train"]
    assert isinstance(first, TrainAnswer) and isinstance(second, TrainAnswer)
    assert first.epsilon_spent == second.epsilon_spent
    for name, values in first.arrays.items():
        np.testing.assert_allclose(second.arrays[name], values, rtol=1e-3, atol=1e-4)
    for asked in ("val", "test", "own"):
        assert isinstance(there[asked], DocumentAnswer) and there[asked].document.keys() == here[asked].document.keys()
    assert not torch.are_deterministic_algorithms_enabled()
