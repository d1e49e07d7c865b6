"""Where networks run: the choice, and every step of training and scoring on a device that is not the CPU."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import common.training.device as device_module
from common.config.study import (
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    PrivacyConfig,
    StrategyConfig,
    StudyConfig,
    TrainingConfig,
)
from common.data.loading import PatientTensors
from common.errors import DeviceError
from common.explain.gradcam import gradcam
from common.models.classifier import Classifier
from common.models.parts import select_part
from common.models.statistics_head import HeadSettings, StatisticsHead
from common.models.weights import trainable_state
from common.models.zoo import build_model
from common.privacy.plan import PrivacyPlan
from common.privacy.randomness import Randomness
from common.privacy.shares import noise_share
from common.training.device import chosen, described, largest_fitting
from common.training.loop import embedded, noisy_sum, predict, train
from common.training.statistics import round_sum, train_statistics
from tests.far_device import FAR, FarDevice

SIZES = (1, 3, 2, 5, 1, 4, 2, 1, 2, 3, 1, 2, 1, 1, 2, 3, 1, 1, 2, 2)
TRAINING = TrainingConfig(rounds=2, batch_patients=12, local_steps=3, lr=0.5, physical_batch=32)


def _data(side: int = 32) -> PatientTensors:
    generator = torch.Generator().manual_seed(0)
    patient_of = torch.repeat_interleave(torch.arange(len(SIZES)), torch.tensor(SIZES))
    labels = (patient_of % 2).float()
    inputs = torch.randn(len(labels), 1, side, side, generator=generator) + labels[:, None, None, None]
    return PatientTensors(inputs, labels, patient_of, tuple(f"p{i}" for i in range(len(SIZES))))


def _model(name: str = "small_cnn", part: Any = "all", **keys: Any) -> Classifier:
    model = build_model(ModelConfig(name=name, width=8, **keys), (1, 32, 32), 0)
    select_part(model, part)
    return model


def _plan(engine: str = "book_keeping", training: TrainingConfig = TRAINING) -> PrivacyPlan:
    plan = PrivacyPlan.for_site(PrivacyConfig(accountant="rdp", clip_norm=0.3, max_images=3), training, len(SIZES))
    return dataclasses.replace(plan, engine=engine)


def _trained(model: Classifier, plan: PrivacyPlan | None, training: TrainingConfig = TRAINING) -> np.ndarray:
    train(model, _data(), training, randomness=Randomness.from_seed(3), plan=plan, proximal_mu=0.1)
    return np.concatenate([values.ravel() for values in trainable_state(model).values()])


# --- the choice ------------------------------------------------------------------------------------------------------


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Gives torch its settings back."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    yield
    torch.use_deterministic_algorithms(False)
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, untouched: None) -> Callable[[int], None]:
    """Makes torch find so many CUDA devices."""

    def found(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return found


@pytest.mark.parametrize(
    ("setting", "count", "device"),
    [("cpu", 0, "cpu"), ("cpu", 2, "cpu"), ("auto", 0, "cpu"), ("auto", 2, "cuda:0"), ("cuda", 1, "cuda:0"),
     ("cuda:1", 2, "cuda:1")],
)  # fmt: skip
def test_a_setting_stands_for_a_device(setting: str, count: int, device: str, gpus: Callable[[int], None]) -> None:
    gpus(count)
    assert str(chosen(setting)) == device


@pytest.mark.parametrize(("setting", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_device_that_is_not_there_is_refused_with_what_to_do(
    setting: str, count: int, gpus: Callable[[int], None]
) -> None:
    gpus(count)
    with pytest.raises(DeviceError, match=rf"device={setting}.*write device=cpu"):
        chosen(setting)


def test_a_gpu_repeats_itself_in_full_float32(gpus: Callable[[int], None]) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    gpus(1)
    chosen("auto")
    assert torch.are_deterministic_algorithms_enabled() and device_module.os.environ["CUBLAS_WORKSPACE_CONFIG"]
    assert not (torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)
    assert not torch.backends.cudnn.benchmark


def test_the_cpu_is_left_as_it_is(untouched: None) -> None:
    chosen("cpu")
    chosen("auto")
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_device_is_described(gpus: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device.index}")
    assert described(torch.device("cpu")) == "cpu"
    assert described(torch.device("cuda", 1)) == "cuda:1 (card 1)"


@given(wanted=st.integers(1, 4096), least=st.integers(1, 64), memory=st.integers(0, 5000))
def test_the_first_half_that_fits_is_taken(wanted: int, least: int, memory: int) -> None:
    wanted, tried = max(wanted, least), list[int]()

    def work(size: int) -> int:
        tried.append(size)
        if size > memory:
            raise torch.OutOfMemoryError
        return size

    if memory < least:
        with pytest.raises(DeviceError, match=f"too little memory for {least} image"):
            largest_fitting(work, wanted, least)
        assert tried[-1] == least
        return
    found = largest_fitting(work, wanted, least)
    assert least <= found <= min(wanted, memory) and tried[0] == wanted
    assert all(size > memory for size in tried[:-1])
    assert all(small in (large // 2, least) for large, small in pairwise(tried))


# --- a device that is not the CPU ------------------------------------------------------------------------------------

PLANS: dict[str, Callable[[], PrivacyPlan | None]] = {
    "plain": lambda: None, "book_keeping": _plan, "hooks": lambda: _plan("hooks")
}  # fmt: skip


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_elsewhere_ends_where_it_ends_here(kind: str, optimizer: Any) -> None:
    training = dataclasses.replace(TRAINING, optimizer=optimizer, lr=0.05, positive_weight=2.0)
    here = _trained(_model(), PLANS[kind](), training)
    with FarDevice():
        there = _trained(_model().to(FAR), PLANS[kind](), training)
    np.testing.assert_allclose(there, here, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18"])
def test_the_other_networks_take_a_private_step_elsewhere(name: str) -> None:
    training = dataclasses.replace(TRAINING, local_steps=1)
    here = _trained(_model(name, "last_block"), _plan(training=training), training)
    with FarDevice():
        there = _trained(_model(name, "last_block").to(FAR), _plan(training=training), training)
    np.testing.assert_allclose(there, here, rtol=2e-3, atol=2e-4)


def test_augmentation_and_dropout_draw_the_same_elsewhere() -> None:
    training = dataclasses.replace(TRAINING, augment=True)
    here = _trained(_model(dropout=0.3), None, training)
    with FarDevice():
        there = _trained(_model(dropout=0.3).to(FAR), None, training)
    np.testing.assert_allclose(there, here, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("part", ["all", "head"])
def test_scores_and_features_come_back(part: Any) -> None:
    here, data = predict(_model(part=part), _data()), _data()
    with FarDevice():
        model = _model(part=part).to(FAR)
        there, features = predict(model, data), embedded(model, data.inputs)
    assert there.device.type == features.device.type == "cpu"
    torch.testing.assert_close(there, here)
    torch.testing.assert_close(features, embedded(_model(part=part), _data().inputs))


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "occlusion"])
def test_heatmaps_come_back(method: Any) -> None:
    images = _data().inputs[:4]
    here = gradcam(_model(), images, method=method)
    with FarDevice():
        there = gradcam(_model().to(FAR), images, method=method)
    assert there.device.type == "cpu"
    torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-4)


def test_a_part_of_a_secure_sum_is_noised_here() -> None:
    training = dataclasses.replace(TRAINING, local_steps=1)
    privacy = PrivacyConfig(mode="distributed", accountant="rdp", max_images=3)
    study = StudyConfig(training=training, privacy=privacy)
    share = noise_share(study, [20, 20, 20], 20, 1, 1)
    plan = PrivacyPlan.for_site(study.privacy, training, 20)
    keys: dict[str, Any] = {"plan": plan, "share": share}
    here = noisy_sum(_model(), _data(), training, randomness=Randomness.from_seed(1), **keys)
    with FarDevice():
        there = noisy_sum(_model().to(FAR), _data(), training, randomness=Randomness.from_seed(1), **keys)
    assert here.dtype == there.dtype == np.int64
    assert np.abs(here - there).max() * plan.noise.grid < 1e-4


def test_the_features_of_the_statistics_training_are_made_elsewhere_and_its_sums_here() -> None:
    study = StudyConfig(
        data=DataConfig(image_size=32), training=TrainingConfig(method="statistics", rounds=3),
        model=ModelConfig(part="head"), privacy=PrivacyConfig(mode="none"),
        strategy=StrategyConfig(weighting="equal"), evaluation=EvaluationConfig(select_by="last"),
    )  # fmt: skip

    def network() -> Classifier:
        model = _model(part="head")
        settings = HeadSettings(axes=6, spread_axes=4, gamma=0.5, scale=1.0, step=0.5, noise=0.0, prior=0.5)
        model.add_module("head", StatisticsHead(torch.linspace(2, 1, model.head.in_features), settings))
        return model

    here = network()
    for index in (1, 2):
        train_statistics(here, _data(), study, index, randomness=Randomness.from_seed(0), plan=None)
    with FarDevice():
        there = network().to(FAR)
        for index in (1, 2):
            train_statistics(there, _data(), study, index, randomness=Randomness.from_seed(0), plan=None)
        total, scores = round_sum(there, _data(), study, 3), predict(there, _data())
    assert total.device.type == "cpu" and total.dtype == torch.float64
    torch.testing.assert_close(total, round_sum(here, _data(), study, 3), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores, predict(here, _data()))


# --- its memory ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize("memory", [16, 20, 1000])
def test_the_result_does_not_hang_on_the_memory(kind: str, memory: int) -> None:
    here = _trained(_model(), PLANS[kind]())
    with FarDevice(memory):
        there = _trained(_model().to(FAR), PLANS[kind]())
    np.testing.assert_allclose(there, here, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("memory", [16, 40, 1000])
def test_private_batches_have_one_size_whoever_is_in_them(memory: int) -> None:
    """So no patient's presence changes the way that another's numbers take, or whether memory suffices."""
    with FarDevice(memory) as far:
        _trained(_model().to(FAR), _plan())
    assert len(set(far.rows)) == 1 and far.rows[0] <= min(32, memory)


def test_without_privacy_one_image_at_a_time_is_enough() -> None:
    data = _data()
    alone = PatientTensors(data.inputs[:6], torch.tensor([0.0, 1, 0, 1, 0, 1]), torch.arange(6), tuple("abcdef"))
    with FarDevice(1) as far:
        model = _model().to(FAR)
        train(model, alone, TRAINING, randomness=Randomness.from_seed(3), plan=None)
        predict(model, alone)
    assert set(far.rows) == {1}


@pytest.mark.parametrize("kind", PLANS)
def test_too_little_memory_is_said_before_a_patient_is_looked_at(kind: str) -> None:
    plan = PLANS[kind]()
    model, drawn = _model(), Randomness.from_seed(3)
    with FarDevice(0 if plan is None else 15), pytest.raises(DeviceError, match="device=cpu"):
        train(copy.deepcopy(model).to(FAR), _data(), TRAINING, randomness=drawn, plan=plan)
    fresh = Randomness.from_seed(3)
    for stream in ("sampling", "images", "noise", "regularisation"):
        assert getattr(drawn, stream).words(2).tolist() == getattr(fresh, stream).words(2).tolist()


def test_only_sums_come_back_from_a_private_step() -> None:
    """Nothing of a patient crosses over but the clipped sum of all, which is noised here."""
    with FarDevice() as far:
        model = _model().to(FAR)
        trained = sum(p.numel() for p in model.parameters())
        train(model, _data(), TRAINING, randomness=Randomness.from_seed(3), plan=_plan())
    assert set(far.moved) == {trained}
