"""Turns what a sweep searches in units that carry over into the settings of the study at hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from statistics import median

from common.config.study import StudyConfig
from common.errors import ConfigError
from simulations.analysis.sweep.settings import Settings
from simulations.analysis.sweep.space import Unit, Value, as_overrides


def trial_overrides(settings: Settings, values: Mapping[str, Value]) -> list[str]:
    """Returns the overrides of a trial's study, with measured values in the study's own settings.

    Raises:
        ConfigError: A value cannot be measured in its unit in this study.
    """
    measured = {name: unit for name in values if (unit := settings.space.space[name].unit)}
    plain = {name: value for name, value in values.items() if name not in measured}
    found = [*settings.overrides, *as_overrides(plain)]
    for name, unit in sorted(measured.items(), key=lambda pair: pair[1] == "noise"):
        value = _setting(unit, float(values[name]), settings.study(found[len(settings.overrides) :]))
        found += as_overrides({name: value})
    return found


def _setting(unit: Unit, value: float, study: StudyConfig) -> Value:
    if unit == "patients":
        return max(1, round(value * training_patients(study)))
    return value / noise_of_a_step(study, training_patients(study))


def noise_of_a_step(study: StudyConfig, patients: int) -> float:
    """Returns the standard deviation of the noise that a step at learning rate 1 adds to each weight of a site.

    It is noise multiplier x clip norm / expected patients (Abadi et al. 2016, algorithm 1), the multiplier by RDP.

    Raises:
        ConfigError: The study adds no noise.
    """
    from common.privacy.plan import PrivacyPlan

    if not study.privacy.private or study.training.method != "dp_sgd":
        raise ConfigError("unit: noise measures the learning rate of private training by DP-SGD; this study has none")
    privacy = dataclasses.replace(study.privacy, accountant="rdp")
    plan = PrivacyPlan.for_site(privacy, study.training, patients)
    return plan.noise_multiplier * plan.clip_norm / plan.expected_batch_patients


def training_patients(study: StudyConfig) -> int:
    """Returns how many patients the median emulated hospital trains on."""
    from simulations.engine.emulation import emulated_cohorts, site_names

    hospitals = emulated_cohorts(study)
    cohorts = [hospitals[name].patients().values() for name in site_names(study)]
    return max(1, round(median(sum(records[0].split == "train" for records in cohort) for cohort in cohorts)))
