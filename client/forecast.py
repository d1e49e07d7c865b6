"""What a study would cost a site before it joins: epsilon, the round at which a ceiling stops it, and the noise."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.config import StudyConfig, from_dict
from common.errors import ConfigError
from common.privacy.accounting import epsilon_of
from common.privacy.plan import PrivacyPlan


def read_study(path: Path) -> StudyConfig:
    """Returns the study in a YAML file.

    Raises:
        ConfigError: It cannot be read, or is no study.
    """
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as a study ({str(error).splitlines()[0]})") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path} is no study: expected the keys data, model, training, privacy, ...")
    return from_dict(document)


def forecast(study: StudyConfig, patients: int, ceiling: float | None) -> dict[str, Any]:
    """Returns epsilon at the end, the first refused round (None: none) and the noise to signal of a step.

    Noise to signal is the standard deviation of a step's noise over the most that all its expected patients together
    can add, both on the sum of gradients and for each trained parameter: ``sigma C / (q n C)``. It falls with the
    number of patients, and is 1 where one parameter's noise is as large as the whole signal can be.

    Raises:
        ConfigError: The study is not private, or cannot be planned for so many patients.
    """
    if not study.privacy.private:
        raise ConfigError("The study is not private (privacy.mode=none): it has no epsilon to forecast")
    plan = PrivacyPlan.for_site(study.privacy, study.training, patients)
    event = plan.event()

    def after(rounds: int) -> float:
        return epsilon_of([event] * rounds, plan.delta, plan.accountant)

    fits = None if ceiling is None else bisect_right(range(1, plan.rounds + 1), ceiling, key=after)
    refused = None if fits is None or fits == plan.rounds else fits + 1
    ratio = plan.noise_multiplier / plan.expected_batch_patients
    return {
        "patients": patients, "rounds": plan.rounds, "event_of_a_round": asdict(event), "delta": plan.delta,
        "epsilon_at_end": after(plan.rounds), "ceiling": ceiling, "refused_round": refused, "noise_to_signal": ratio,
        "text": _text(patients, plan, after(plan.rounds), ceiling, refused, ratio),
    }  # fmt: skip


def _text(
    patients: int, plan: PrivacyPlan, epsilon: float, ceiling: float | None, refused: int | None, ratio: float
) -> str:
    stop = "" if ceiling is None else f" A ceiling of {ceiling:g} would stop none of them."
    if refused is not None:
        stop = f" A ceiling of {ceiling:g} would refuse round {refused}."
    return (
        f"{plan.rounds} rounds on {patients} patients cost epsilon {epsilon:.3f} at delta {plan.delta:.1e}.{stop} "
        f"In each step the noise on one parameter is {ratio:.3f} of the most that all its patients can move it."
    )
