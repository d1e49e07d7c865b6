"""Canaries and the membership attack: what they measure, against plain references and on known cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from common.config.study import ModelConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.errors import ConfigError
from common.models.zoo import Classifier, build_model
from common.privacy.plan import PrivacyPlan
from common.privacy.randomness import Randomness
from common.training.loop import train
from simulations.audit.attacks import attack_models, chosen, joined, judge_attack, likelihood_ratios
from simulations.data.canaries import (
    CanaryScorer,
    ColumnScorer,
    Step,
    study_canaries,
    watched_steps,
    worst_case_canaries,
)

PLAN = PrivacyPlan(
    sampling_rate=0.5, expected_batch_patients=10.0, steps_per_round=20, rounds=1, clip_norm=1.0,
    noise_multiplier=0.5, max_images=4, delta=1e-5, target_epsilon=50.0, accountant="rdp", engine="book_keeping",
)  # fmt: skip


def _table(patients: int, columns: int = 6, images: int = 1, seed: int = 0) -> PatientTensors:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (patients,), generator=generator).float()
    of = torch.arange(patients).repeat_interleave(images)
    inputs = torch.rand((patients * images, columns), generator=generator) * 2 - 1
    return PatientTensors(inputs, labels[of], of, tuple(f"p{i}" for i in range(patients)))


def test_the_watcher_sees_every_step_and_changes_nothing() -> None:
    data, training = _table(20, images=2), TrainingConfig(lr=0.1)
    released = []
    for watched in (True, False):
        model, steps = build_model(ModelConfig(name="mlp"), (6,), 0), list[Step]()
        randomness = Randomness.from_seed(1)
        if watched:
            with watched_steps(steps.append):
                train(model, data, training, randomness=randomness, plan=PLAN)
            rows = [step.rows for step in steps]
            assert len(rows) == 20
            assert all(count % 2 == 0 for count in rows) and 10 < np.mean(rows) < 30
        else:
            train(model, data, training, randomness=randomness, plan=PLAN)
        released.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*released)


def test_canaries_are_patients_with_one_image_in_by_a_coin() -> None:
    data = _table(10, images=2)
    canaries = study_canaries(200, (6,), torch.Generator().manual_seed(0))
    kept = int(canaries.included.sum())
    assert 70 < kept < 130
    assert canaries.joined(data).num_patients == 10 + kept
    assert torch.equal(canaries.joined(data).inputs[20:], canaries.alone().inputs)
    images = study_canaries(3, (1, 16, 16), torch.Generator().manual_seed(0))
    assert images.inputs.shape == (3, 1, 16, 16) and float(images.inputs.abs().max()) <= 1


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_a_scorer_clips_each_canary_like_a_loop_of_autograd(name: str) -> None:
    model = build_model(ModelConfig(name=name), (6,), 0)
    canaries = study_canaries(20, (6,), torch.Generator().manual_seed(0))
    plan = replace(PLAN, clip_norm=0.3, noise_multiplier=1e4)  # noise that drowns the others whitens nothing
    scorer = CanaryScorer(model, canaries, plan, positive_weight=2.0)
    trained = list(model.parameters())
    gradient = torch.randn(sum(p.numel() for p in trained), generator=torch.Generator().manual_seed(5))
    scorer(Step([p.detach() for p in trained], gradient, 0))
    for index in range(20):
        loss = F.binary_cross_entropy_with_logits(
            model(canaries.inputs[index : index + 1])[0], canaries.labels[index], pos_weight=torch.tensor(2.0)
        )
        own = torch.cat([g.flatten() for g in torch.autograd.grad(loss, trained)])
        expected = float(own @ gradient) * min(1.0, 0.3 / float(own.norm())) * plan.expected_batch_patients
        assert float(scorer.scores[index]) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_little_noise_lets_every_worst_case_canary_be_seen() -> None:
    model = build_model(ModelConfig(name="linear"), (60,), 0)
    start = model.head.weight.detach().flatten()
    canaries = worst_case_canaries(start, 1.0, torch.Generator().manual_seed(0))
    scorer = ColumnScorer(canaries)
    plan = replace(PLAN, noise_multiplier=0.05)
    with watched_steps(scorer):
        train(model, canaries.alone(), TrainingConfig(lr=1e-12), randomness=Randomness.from_seed(0), plan=plan)
    scores, included = scorer.scores.numpy(), canaries.included.numpy()
    assert scores[included].min() > scores[~included].max()
    # Each is clipped to C = 1, drawn with rate 1/2 in 20 steps, divided by 10.
    assert scores[included].mean() == pytest.approx(1.0, rel=0.1)


def test_cohorts_are_joined_and_chosen_by_patient() -> None:
    pool = joined([_table(3, images=2), _table(4, seed=1)])
    keep = np.array([True, False, True, False, True, True, False])
    part = chosen(pool, keep)
    assert part.patients == ("0/p0", "0/p2", "1/p1", "1/p2")
    assert torch.equal(part.patient_of, torch.tensor([0, 0, 1, 1, 2, 3]))
    assert torch.equal(part.patient_labels(), pool.patient_labels()[torch.from_numpy(keep)])


def test_an_attack_on_models_that_forget_is_a_coin() -> None:
    areas = []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        members = generator.random((6, 80)) < 0.5
        margins = generator.normal(size=(1, 80)) + 0.3 * generator.normal(size=(6, 80))
        areas.append(judge_attack(likelihood_ratios(margins, members), members, generator).auc)
    assert abs(np.mean(areas) - 0.5) < 0.02


def test_an_attack_on_models_that_remember_finds_members_and_the_area_is_sklearns() -> None:
    generator = np.random.default_rng(0)
    members = generator.random((8, 200)) < 0.5
    margins = 3 * generator.normal(size=(1, 200)) + 0.5 * generator.normal(size=(8, 200)) + members
    scores = likelihood_ratios(margins, members)
    found = judge_attack(scores, members, generator)
    reference = np.mean([roc_auc_score(m, s) for m, s in zip(members, scores, strict=True)])
    assert found.auc == pytest.approx(reference, abs=1e-12)
    assert found.low < found.auc < found.high and found.low > 0.8
    assert found.tpr_at_low_fpr > 0.1


def test_memorised_labels_are_found_and_private_ones_are_not() -> None:
    pool = _table(80, columns=30)
    plain = TrainingConfig(optimizer="adam", lr=0.01, batch_patients=16, local_epochs=60)
    start = ModelConfig(name="mlp", width=16)
    seeds = iter(range(100))

    def trained(part: PatientTensors, plan: PrivacyPlan | None) -> Classifier:
        model = build_model(start, (30,), 0)
        training = plain if plan is None else TrainingConfig(lr=0.5)
        train(model, part, training, randomness=Randomness.from_seed(next(seeds)), plan=plan)
        return model

    quiet = replace(PLAN, noise_multiplier=8.0, expected_batch_patients=20.0)
    private = attack_models(lambda part: trained(part, quiet), pool, 4, np.random.default_rng(0))
    open_book = attack_models(lambda part: trained(part, None), pool, 4, np.random.default_rng(0))
    assert open_book.low > 0.65
    assert private.high < 0.65


def test_an_attack_without_shadows_is_refused() -> None:
    with pytest.raises(ConfigError, match="--models"):
        attack_models(
            lambda part: build_model(ModelConfig(name="mlp"), (6,), 0), _table(5), 3, np.random.default_rng(0)
        )
