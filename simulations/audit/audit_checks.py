"""Named checks of the private mechanism, each measured on the code that a site runs.

Statistics of an attack miss a small leak; these look at what the optimizer is handed, so they see exactly what the
plan promises: how much noise, over what divisor, on which steps, how much of one patient.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from common.data.loading import PatientTensors
from common.privacy.audit import Check, noise_check
from common.privacy.plan import PrivacyPlan
from common.privacy.randomness import Randomness
from common.privacy.verification import GRID_ERROR, TOLERANCE, recompute
from common.training.loop import train
from simulations.data.canaries import MAX_COLUMNS, Gradients, watched_steps
from simulations.engine.hospital import gradients_of_round, network, still

if TYPE_CHECKING:
    from client.site.hospital import Site
    from common.config.study import StudyConfig
VALUES = 4000
"""Fewest noise values for a standard deviation known to about 1%."""
NEVER = 1e-15
"""A sampling rate at which every batch is empty."""
PROBES = 3
ROUNDING = 1e-2
"""float32 sums of noise that cancels leave so much of the clipping norm at most."""
_SEED = 20230515
_DETACHED = 6.0
"""Standard errors that a correlation of independent noise stays within."""


def check_empty_batches(site: Site, study: StudyConfig, data: PatientTensors, plan: PrivacyPlan) -> list[Check]:
    """Returns checks that empty batches are steps, carry the plan's noise, and that no noise comes twice.

    Three calls of training in which nobody is drawn, the global generators set to the same seed before each: noise
    that a known seed repeats is then the same noise.
    """
    quiet = still(study)
    size = sum(p.numel() for p in network(study, data).parameters() if p.requires_grad)
    steps = max(plan.steps_per_round, math.ceil(VALUES / size))
    never = dataclasses.replace(plan, sampling_rate=NEVER, steps_per_round=steps)
    calls = []
    for round_index in (1, 1, 2):
        with _same_global_seed():
            calls.append(_gradients(quiet, data, never, site.randomness("train", round_index)))
    taken, noise = [len(call) for call in calls], torch.cat([call.flatten() for call in calls])
    spread = plan.noise.std / plan.expected_batch_patients
    drawn = noise[torch.isfinite(noise)].numpy().astype(np.float64)
    return [
        Check(
            "empty batches are steps",
            taken == [steps] * len(calls) and bool(torch.isfinite(noise).all()),
            f"{', '.join(map(str, taken))} steps in {len(calls)} rounds in which nobody was drawn",
            f"{steps} each, all finite",
        ),
        noise_check("noise on empty batches", drawn, spread),
        _fresh(calls, site.randomness("train", 1).seeded),
    ]


def _fresh(calls: list[Tensor], seeded: bool) -> Check:
    """Correlates the noise of whole calls, and of each step with the next; equal noise has 1."""
    name, expected = "noise is fresh and unseeded", "below what chance allows, and generators without a seed"
    if not all(call.numel() and bool(call.norm() > 0) and call.shape == calls[0].shape for call in calls):
        return Check(name, False, "no noise to compare", expected)
    pairs = [(calls[0], calls[1]), (calls[0], calls[2]), (calls[1], calls[2])]
    pairs += [(call[:-1], call[1:]) for call in calls if len(call) > 1]
    closest = max(abs(float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))) for a, b in pairs)
    limit = _DETACHED / math.sqrt(min(a.numel() for a, _ in pairs))
    words = f"closest correlation {closest:.3f} (chance: {limit:.3f}), {'seeded' if seeded else 'unseeded'}"
    return Check(name, closest < limit and not seeded, words, expected)


def check_releases_differ(site: Site, study: StudyConfig, data: PatientTensors) -> Check:
    """Returns whether a site started twice, asked the same of the same patients, answers differently."""
    answers = []
    for _ in range(2):
        with _same_global_seed():
            answers.append(gradients_of_round(site, still(study), data))
    equal = float((answers[0] == answers[1]).double().mean()) if answers[0].shape == answers[1].shape else math.nan
    return Check(
        "a round cannot be repeated",
        equal < ROUNDING,
        f"{equal:.1%} of the numbers that two rounds gave the optimizer are equal",
        f"fewer than {ROUNDING:.0%}",
    )


def check_noise_and_divisor(
    site: Site, study: StudyConfig, data: PatientTensors, plan: PrivacyPlan
) -> tuple[list[Check], float]:
    """Returns checks of the noise on patients and of the divisor, and the noise multiplier that was measured.

    Two rounds of the site that differ in the seed of the noise alone: their difference is noise. The same without
    one patient, ``declared_patients`` unchanged: the difference must be the same to rounding.
    """
    everyone, fewer = (_noise_only(site, study, part, plan) for part in (data, _without_last(data)))
    drawn = everyone[torch.isfinite(everyone)].flatten().numpy().astype(np.float64)
    spread = plan.noise.std / plan.expected_batch_patients
    apart = _relative(everyone, fewer)
    checks = [
        noise_check("noise on patients", drawn, spread),
        Check(
            "divisor and noise are public",
            apart < ROUNDING / 10,
            f"noise over divisor changes by {apart:.2%} when one patient leaves",
            "no change to rounding (0.1%)",
        ),
    ]
    measured = float(np.sqrt(np.mean(drawn**2))) if drawn.size else 0.0
    return checks, plan.noise_multiplier * measured / spread


def _noise_only(site: Site, study: StudyConfig, data: PatientTensors, plan: PrivacyPlan) -> Tensor:
    """Returns (g - g') / sqrt 2 over steps that share sampling and weights and differ in noise, (steps, D)."""
    size = sum(p.numel() for p in network(study, data).parameters() if p.requires_grad)
    repeats = min(20, math.ceil(VALUES / (plan.steps_per_round * size)))
    quiet, parts = still(study), []
    for repeat in range(repeats):
        rounds = [
            gradients_of_round(dataclasses.replace(site, randomness=_Noise(repeat, noise)), quiet, data)
            for noise in (0, 1)
        ]
        if rounds[0].shape == rounds[1].shape:
            parts.append((rounds[0] - rounds[1]) / 2**0.5)
    return torch.cat(parts) if parts else torch.zeros((0, 0))


def check_sensitivity(study: StudyConfig, data: PatientTensors, plan: PrivacyPlan) -> Check:
    """Returns whether adding one patient moves the sum before noise by at most the clipping norm.

    One step with everybody in, and the same noise with and without the patient, so that it cancels. The patients are
    the worst that a table of images can hold: many times the same image, more than ``max_images``, with the other
    label. The clipping norm is set below what one image does, so that clipping by image shows.
    """
    few = _first(data, 8)
    probes = [_probe(data, index, plan) for index in range(min(PROBES, len(data.labels)))]
    moved = max(_moved(study, few, probe, plan) for probe in probes)
    return Check(
        "one patient moves the sum by at most C",
        moved <= 1 + ROUNDING,
        f"{moved:.3f} C, the most of {len(probes)} crafted patients of {2 * plan.max_images} images",
        f"at most 1 C ({ROUNDING:.0%} for rounding)",
    )


def _probe(data: PatientTensors, index: int, plan: PrivacyPlan) -> tuple[Tensor, Tensor]:
    copies = 2 * plan.max_images
    image = data.inputs[index : index + 1]
    return image.repeat(copies, *[1] * (image.dim() - 1)), (1 - data.labels[index]).repeat(copies)


def _moved(study: StudyConfig, data: PatientTensors, probe: tuple[Tensor, Tensor], plan: PrivacyPlan) -> float:
    """Returns the distance in clipping norms by which the probe moves the sum."""
    calm = dataclasses.replace(
        study,
        training=dataclasses.replace(still(study).training, augment=False),
        model=dataclasses.replace(study.model, dropout=0.0),
    )
    clip = max(_image_norm(calm, data, probe) / (4 * plan.max_images), 1e-6)
    once = dataclasses.replace(plan, sampling_rate=1.0, steps_per_round=1, clip_norm=clip)
    joined = PatientTensors(
        torch.cat([data.inputs, probe[0]]),
        torch.cat([data.labels, probe[1]]),
        torch.cat([data.patient_of, torch.full((len(probe[1]),), data.num_patients)]),
        (*data.patients, "probe"),
    )
    without, having = (
        _gradients(calm, part, once, Randomness.from_seed(_SEED, "sensitivity"), columns=sys.maxsize)
        for part in (data, joined)
    )
    if len(without) != 1 or len(having) != 1:
        return math.inf
    change = having.double() - without.double()
    distance = float(change.norm()) * plan.expected_batch_patients / clip
    return distance if math.isfinite(distance) else math.inf


def _image_norm(study: StudyConfig, data: PatientTensors, probe: tuple[Tensor, Tensor]) -> float:
    """Returns the norm of one image's gradient by autograd alone."""
    model = network(study, data).eval()
    logit = model(probe[0][:1])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, probe[1][:1])
    trained = [p for p in model.parameters() if p.requires_grad]
    return math.sqrt(sum(float(g.double().pow(2).sum()) for g in torch.autograd.grad(loss, trained)))


def check_sampling(rows: Sequence[int], patients: int, rate: float) -> Check:
    """Returns whether the sizes of batches are those of Poisson sampling at the plan's rate.

    Args:
        rows: Patients in each step, of a cohort with one image a patient.
        patients: Patients in the cohort.
        rate: The plan's sampling rate.
    """
    from scipy.stats import binom, chi2

    name, steps, total = "patients are drawn by chance", len(rows), sum(rows)
    expected = f"mean {rate * patients:.1f}, variance {rate * (1 - rate) * patients:.1f}"
    if steps < 2:
        return Check(name, False, f"{steps} steps", expected)
    mean, variance = total / steps, float(np.var(rows, ddof=1))
    chance = 2 * min(binom.cdf(total, steps * patients, rate), binom.sf(total - 1, steps * patients, rate))
    if rate < 1:
        scaled = (steps - 1) * variance / (rate * (1 - rate) * patients)
        chance = min(chance, 2 * min(chi2.cdf(scaled, steps - 1), chi2.sf(scaled, steps - 1)))
    measured = f"mean {mean:.1f}, variance {variance:.1f} patients over {steps} steps"
    return Check(name, bool(chance > 1e-6), measured, expected)


def check_charge(claimed: float, steps: int, plan: PrivacyPlan, noise_multiplier: float) -> Check:
    """Returns whether the ledger's epsilon covers the steps that were seen, by an accountant that is not ours.

    Args:
        claimed: Epsilon that the site's answer to the last round states.
        steps: Optimizer steps seen over all rounds.
        plan: For sampling rate and delta.
        noise_multiplier: What was measured, or the plan's where the measurement agrees with it.

    Raises:
        TrustError: dp-accounting is not installed.
    """
    name = "the ledger covers what ran"
    if steps < 1 or not 0 < noise_multiplier < math.inf:
        return Check(name, False, f"{steps} steps with noise {noise_multiplier:.3g} C", "steps with noise")
    event = {"noise_multiplier": noise_multiplier, "sampling_rate": plan.sampling_rate, "steps": steps}
    found = recompute({"events": [event], "delta": plan.delta})
    slack = max(TOLERANCE * found, GRID_ERROR)
    return Check(
        name,
        claimed >= found - slack and claimed <= plan.target_epsilon * (1 + TOLERANCE),
        f"charged {claimed:.3f}; {steps} steps seen with noise {noise_multiplier:.3f} C cost {found:.3f}",
        f"charged at least {found - slack:.3f} and at most the study's {plan.target_epsilon:g}",
    )


@dataclasses.dataclass(frozen=True)
class _Noise:
    """Randomness that differs in the noise only: the one way to see noise alone from outside."""

    repeat: int
    noise: int

    def __call__(self, purpose: str, round_index: int) -> Randomness:
        same = Randomness.from_seed(_SEED, "audit", self.repeat)
        return dataclasses.replace(same, noise=Randomness.from_seed(_SEED, "audit", self.repeat, self.noise).noise)


@contextmanager
def _same_global_seed() -> Iterator[None]:
    import random

    kept = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_SEED)
        random.seed(_SEED)
        np.random.seed(_SEED)
        try:
            yield
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])


def _gradients(
    study: StudyConfig, data: PatientTensors, plan: PrivacyPlan, randomness: Randomness, columns: int = MAX_COLUMNS
) -> Tensor:
    """Returns what the optimizer was handed in one call of training, (steps, D), ``columns`` of it."""
    seen = Gradients(columns)
    with watched_steps(seen):
        train(network(study, data), data, study.training, randomness=randomness, plan=plan)
    return seen.stacked()


def _relative(everyone: Tensor, fewer: Tensor) -> float:
    if everyone.shape != fewer.shape or not bool(torch.isfinite(everyone).all() and torch.isfinite(fewer).all()):
        return math.inf
    size = float(everyone.norm())
    return float((everyone - fewer).norm()) / size if size else math.inf


def _without_last(data: PatientTensors) -> PatientTensors:
    return _first(data, data.num_patients - 1)


def _first(data: PatientTensors, count: int) -> PatientTensors:
    """Returns the first ``count`` patients."""
    kept = data.patient_of < count
    patients = data.patients[:count]
    return PatientTensors(data.inputs[kept], data.labels[kept], data.patient_of[kept], patients)
