"""One audit of a study's privacy: checks of the running mechanism, canaries, a membership attack, beside the claim."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from common.config.study import ModelConfig
from common.errors import ConfigError
from common.models.zoo import build_model
from common.privacy.audit import Bools, Check, Floats, attack_ceiling, canary_bound, gaussian_estimate, most_possible
from common.privacy.randomness import Randomness
from common.provenance import code_digest
from simulations.audit import audit_checks
from simulations.audit.attacks import FEWEST_MODELS, Attack, attack_models, joined
from simulations.data.canaries import (
    Canaries,
    CanaryScorer,
    ColumnScorer,
    Step,
    study_canaries,
    watched_steps,
    worst_case_canaries,
)
from simulations.engine.emulation import build_site, site_names
from simulations.engine.hospital import hospital, network, plan_of, request, still

if TYPE_CHECKING:
    from client.site.hospital import Site
    from common.config.study import StudyConfig
    from common.data.loading import PatientTensors
    from common.models.classifier import Classifier
    from common.privacy.plan import PrivacyPlan

SCHEMA_VERSION = 1
PLAIN_BATCH = 16
FIT_ERRORS = 4.0
"""Standard errors by which a Gaussian fit must pass the claim before it counts against it."""
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """How much an audit does.

    Attributes:
        canaries: Made-up patients on the study's own network.
        worst_case: Made-up patients with orthogonal gradients on a linear network; they are cheap.
        models: Networks of the membership attack, private and plain each; 0 leaves the attack out.
        plain_passes: Passes over the patients of each plain network.
        confidence: Of every bound and interval.
    """

    canaries: int = 100
    worst_case: int = 4000
    models: int = 8
    plain_passes: float = 40.0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if min(self.canaries, self.worst_case) < 20:
            raise ConfigError("An audit needs at least 20 canaries of each kind; fewer can show nothing")
        if 0 < self.models < FEWEST_MODELS:
            raise ConfigError(f"An attack needs models to learn from; choose --models {FEWEST_MODELS} or more, or 0")
        if not 0.5 < self.confidence < 1 or self.plain_passes <= 0:
            raise ConfigError("Expected 0.5 < confidence < 1 and plain passes > 0")


def hospital_randomness(purpose: str, round_index: int) -> Randomness:
    """Returns what a hospital uses: streams under a key of the operating system."""
    return Randomness.from_entropy()


def audit_study(study: StudyConfig, options: AuditOptions, say: Say = lambda text: None) -> dict[str, Any]:
    """Returns the audit of the study's first site as a JSON document; ``passed`` says whether every check did.

    The site is the emulated one with a hospital's randomness instead of a seed.

    Raises:
        ConfigError: The study is not private, or cannot be composed of these data.
        DataError: The data cannot be read.
    """
    if not study.privacy.private:
        raise ConfigError("A study with privacy=none claims nothing to audit; choose privacy=local")
    if study.training.method == "statistics":
        raise ConfigError("The audit attacks DP-SGD; choose a study with training.method=dp_sgd")
    if study.privacy.distributed:
        raise ConfigError(
            "An audit attacks what one site releases, which is no release in a secure sum; audit privacy=local"
        )
    torch.set_num_threads(1)
    names = site_names(study)
    with tempfile.TemporaryDirectory(prefix="oncofed-audit-") as folder:
        sites = [build_site(study, name, Path(folder)) for name in names]
        site = dataclasses.replace(sites[0], randomness=hospital_randomness)
        pool = joined([part.cohort.load(study, "train") for part in sites])
        return audit_site(site, study, pool, options, say)


def audit_site(
    site: Site, study: StudyConfig, pool: PatientTensors, options: AuditOptions, say: Say = lambda text: None
) -> dict[str, Any]:
    """Returns the audit of one site; ``pool`` holds the patients of the membership attack, the site's own or more."""
    started = time.monotonic()
    data, plan = site.cohort.load(study, "train"), plan_of(study, site)
    say("checking the mechanism")
    checks, noise = mechanism_checks(site, study, data, plan)
    say(f"training with {options.canaries} canaries")
    own, more = _study_canaries(site, study, data, plan, options, noise)
    checks += more
    say(f"training with {options.worst_case} worst-case canaries")
    worst, more = _worst_case(site, study, plan, options)
    checks += more
    attack = _attacks(study, pool, plan, options, say) if options.models else None
    if attack:
        checks.append(_attack_check(attack))
    return {
        "schema_version": SCHEMA_VERSION,
        "study": {"name": study.name, "digest": study.digest(), "code_digest": code_digest()},
        "site": {"name": site.name, "declared_patients": site.declared_patients},
        "claim": {"epsilon": plan.target_epsilon, "delta": plan.delta, "accountant": plan.accountant},
        "plan": dataclasses.asdict(plan) | {"sensitivities": list(plan.sensitivities)},
        "passed": all(check.passed for check in checks),
        "checks": [dataclasses.asdict(check) for check in checks],
        "canaries": {"study": own, "worst_case": worst},
        "attack": attack,
        "seconds": round(time.monotonic() - started, 1),
    }


def mechanism_checks(
    site: Site, study: StudyConfig, data: PatientTensors, plan: PrivacyPlan
) -> tuple[list[Check], float]:
    """Returns the checks that need no attack, and the noise multiplier to believe."""
    checks = audit_checks.check_empty_batches(site, study, data, plan)
    more, measured = audit_checks.check_noise_and_divisor(site, study, data, plan)
    checks += [
        *more,
        audit_checks.check_releases_differ(site, study, data),
        audit_checks.check_sensitivity(study, data, plan),
    ]
    return checks, plan.noise_multiplier if all(check.passed for check in more) else measured


def release(site: Site, study: StudyConfig, data: PatientTensors, seen: Callable[[Step], None]) -> tuple[float, int]:
    """Trains all rounds as the site does, its update applied to the global weights after each.

    Returns:
        Epsilon that the last answer states, and the optimizer steps that were seen.
    """
    from common.protocol.aggregation import apply
    from common.protocol.messages import TrainAnswer

    steps, claimed = 0, 0.0

    def count(step: Step) -> None:
        nonlocal steps
        steps += 1
        seen(step)

    with hospital(site, data) as asked, watched_steps(count):
        asking = request(study, data)
        for round_index in range(1, study.training.rounds + 1):
            answer = asked.train(dataclasses.replace(asking, round_index=round_index))
            assert isinstance(answer, TrainAnswer)
            asking = dataclasses.replace(asking, arrays=apply(asking.arrays, answer.arrays))
            claimed = 0.0 if answer.epsilon_spent is None else answer.epsilon_spent
    return claimed, steps


def _study_canaries(
    site: Site, study: StudyConfig, data: PatientTensors, plan: PrivacyPlan, options: AuditOptions, noise: float
) -> tuple[dict[str, Any], list[Check]]:
    generator = torch.Generator().manual_seed(study.seed)
    canaries = study_canaries(options.canaries, data.inputs.shape[1:], generator)
    scorer = CanaryScorer(network(study, data), canaries, plan, study.training.positive_weight)
    claimed, steps = release(site, study, canaries.joined(data), scorer)
    found = _bound(scorer.scores.numpy(), canaries, plan, options)
    charge = audit_checks.check_charge(claimed, steps, plan, noise)
    return found, [charge, _bound_check("canaries on the study's network", found, plan)]


def _worst_case(
    site: Site, study: StudyConfig, plan: PrivacyPlan, options: AuditOptions
) -> tuple[dict[str, Any], list[Check]]:
    generator = torch.Generator().manual_seed(study.seed + 1)
    linear = dataclasses.replace(still(study), model=ModelConfig(name="linear"))
    start = build_model(linear.model, (options.worst_case,), linear.seed).head.weight.detach().flatten()
    canaries = worst_case_canaries(start, plan.clip_norm, generator)
    scorer = ColumnScorer(canaries)
    release(site, linear, canaries.alone(), scorer)
    found = _bound(scorer.scores.numpy(), canaries, plan, options)
    sampling = audit_checks.check_sampling(scorer.rows, int(canaries.included.sum()), plan.sampling_rate)
    checks = [sampling, _bound_check("worst-case canaries", found, plan)]
    return found, [*checks, _fit_check(scorer.scores.numpy(), canaries, plan, found["estimate"])]


def _bound(scores: Floats, canaries: Canaries, plan: PrivacyPlan, options: AuditOptions) -> dict[str, Any]:
    included: Bools = canaries.included.numpy()
    finite = np.nan_to_num(scores, nan=0.0)
    bound = canary_bound(finite, included, delta=plan.delta, confidence=options.confidence)
    most = most_possible(canaries=len(included), delta=plan.delta, confidence=options.confidence)
    estimate = gaussian_estimate(finite, included, plan.delta)
    return dataclasses.asdict(bound) | {
        "most_possible": most,
        "estimate": estimate if np.isfinite(estimate) else None,
    }


def _bound_check(name: str, found: dict[str, Any], plan: PrivacyPlan) -> Check:
    low = found["epsilon"]
    return Check(
        name,
        low <= plan.target_epsilon,
        f"epsilon >= {low:.2f} ({found['correct']} of {found['guesses']} guesses right)",
        f"at most the claimed {plan.target_epsilon:g}",
    )


def _fit_check(scores: Floats, canaries: Canaries, plan: PrivacyPlan, estimate: float | None) -> Check:
    """The bound needs thousands of canaries to pass a claim of 8; a Gaussian fit does with hundreds."""
    low = gaussian_estimate(np.nan_to_num(scores), canaries.included.numpy(), plan.delta, FIT_ERRORS)
    return Check(
        "worst-case canaries, Gaussian fit",
        low <= plan.target_epsilon,
        f"epsilon about {estimate:.2f}, surely above {low:.2f}" if estimate is not None else "no noise at all",
        f"not surely above the claimed {plan.target_epsilon:g}",
    )


def _attacks(
    study: StudyConfig, everybody: PatientTensors, plan: PrivacyPlan, options: AuditOptions, say: Say
) -> dict[str, Any]:
    from simulations.audit.attacks import chosen

    most = max(2, round(2 * plan.expected_batch_patients / plan.sampling_rate))
    pool = chosen(everybody, np.arange(everybody.num_patients) < most)
    generator = np.random.default_rng(study.seed)
    arms = {"private": _private(study, plan), "plain": _plain(study, options)}
    found: dict[str, Any] = {"ceiling": attack_ceiling(plan.target_epsilon, plan.delta)}
    for name, trained in arms.items():
        say(f"attacking {options.models} {name} models")
        attack: Attack = attack_models(trained, pool, options.models, generator, confidence=options.confidence)
        found[name] = dataclasses.asdict(attack)
    return found


def _attack_check(attack: dict[str, Any]) -> Check:
    private, ceiling = attack["private"], attack["ceiling"]
    return Check(
        "membership attack",
        bool(private["low"] <= ceiling),
        f"AUC {private['auc']:.3f} ({private['low']:.3f}-{private['high']:.3f})",
        f"at most {ceiling:.4f}, which the claim allows",
    )


def _private(study: StudyConfig, plan: PrivacyPlan) -> Callable[[PatientTensors], Classifier]:
    from common.training.loop import train

    def trained(part: PatientTensors) -> Classifier:
        model = network(study, part)
        for _ in range(plan.rounds):
            train(model, part, study.training, randomness=Randomness.from_entropy(), plan=plan)
        return model

    return trained


def _plain(study: StudyConfig, options: AuditOptions) -> Callable[[PatientTensors], Classifier]:
    """As a site would train for itself: the optimizer of the local baseline, small batches, many passes."""
    from common.training.loop import train

    training = dataclasses.replace(
        study.training, optimizer=study.evaluation.local_optimizer, lr=study.evaluation.local_lr, local_steps=0,
        local_epochs=options.plain_passes, batch_patients=PLAIN_BATCH,
    )  # fmt: skip

    def trained(part: PatientTensors) -> Classifier:
        model = network(study, part)
        train(model, part, training, randomness=Randomness.from_entropy(), plan=None)
        return model

    return trained
