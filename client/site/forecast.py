"""What a study would cost a site before it joins: epsilon, the round at which a ceiling stops it, and the noise."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from client.site.accounts import Standing
from client.site.joining import joining, joining_text
from common.config.settings_file import settings_text
from common.config.study import StudyConfig, from_dict
from common.errors import ConfigError
from common.privacy.accounting import epsilon_of
from common.privacy.exposure import LedgerRow
from common.privacy.mechanism_facts import mechanism
from common.privacy.plan import PrivacyPlan
from common.privacy.pricing import most_charges
from common.privacy.shares import LEAST_HONEST, own_multiplier
from common.privacy.statement import plain_words, strength

NOTHING = Standing()
SITES = (3, 10, 30)
"""Sizes of a consortium for which shared noise is told: how many will join is not known before."""


def read_study(path: Path) -> StudyConfig:
    """Returns the study in a YAML file.

    Raises:
        ConfigError: It cannot be read, or is no study.
    """
    try:
        document = json.loads(settings_text(path))
    except (OSError, ConfigError) as error:
        raise ConfigError(f"{path} cannot be read as a study ({str(error).splitlines()[0]})") from None
    if not isinstance(document, dict) or not document:
        raise ConfigError(f"{path} is no study: expected the keys data, model, training, privacy, ...")
    return from_dict(document)


def forecast(study: StudyConfig, patients: int, ceiling: float | None, standing: Standing = NOTHING) -> dict[str, Any]:
    """Returns epsilon at the end, the first refused round (None: none) and the noise to signal of a step.

    Noise to signal is the standard deviation of a step's noise over the most that all its expected patients together
    can add, both on the sum of gradients and for each trained parameter: ``sigma C / (q n C)``. It falls with the
    number of patients, and is 1 where one parameter's noise is as large as the whole signal can be.

    Args:
        study: What would run, or runs.
        patients: Declared training patients.
        ceiling: Epsilon that the site allows over all studies; None: not asked for.
        standing: What the ledger charged to these patients so far, for this study and others, and holds for others.

    Raises:
        ConfigError: The study is not private, or cannot be planned for so many patients.
    """
    if not study.privacy.private:
        raise ConfigError(
            "The study is not private (privacy.mode=none): from its first round on the epsilon of these patients over "
            "all studies would be unbounded, and there is nothing to forecast"
        )
    history = standing.history
    plan, digest = PrivacyPlan.for_site(study.privacy, study.training, patients), study.digest()
    own = [row for row in history if row.study == digest]
    done = max((row.round_index for row in own), default=0)
    left = max(0, plan.rounds - done)

    def after(rounds: int, before: Sequence[LedgerRow] = history) -> float:
        return epsilon_of([*(row.event for row in before), *[plan.event()] * rounds], plan.delta, plan.accountant)

    def beside(rounds: int) -> float:
        events = [*(row.event for row in history), *standing.held, *[plan.event()] * rounds]
        return epsilon_of(events, plan.delta, plan.accountant)

    fits = None if ceiling is None else bisect_right(range(1, left + 1), ceiling, key=beside)
    found = {
        "patients": patients, "rounds": plan.rounds, "rounds_done": done, "event_of_a_round": asdict(plan.event()),
        "delta": plan.delta, "epsilon_at_end": after(left, own), "lifetime_spent": after(0),
        "lifetime_at_end": after(left), "unbounded": standing.unbounded, "ceiling": ceiling,
        "lifetime_with_what_is_held": beside(left), "charges_allowed": most_charges(plan.rounds),
        "refused_at_once": ceiling is not None and not study.privacy.epsilon <= ceiling,
        "refused_round": None if fits is None or fits == left else done + fits + 1,
        "mechanism": mechanism(plan), "noise_to_signal": plan.noise_multiplier / plan.expected_batch_patients,
        "shared_noise": _shared(study, plan, left), "joining": joining(study, patients),
    }  # fmt: skip
    return found | {"text": _text(found)}


def _shared(study: StudyConfig, plan: PrivacyPlan, rounds: int) -> list[dict[str, Any]] | None:
    """Returns what is left of epsilon where all other sites collude, by the number of sites; None with local noise."""
    if not study.privacy.distributed:
        return None
    found = []
    for sites in SITES:
        if sites - study.privacy.colluders >= LEAST_HONEST:
            own = replace(plan.event(), noise_multiplier=own_multiplier(plan, study.privacy.colluders, sites))
            alone = epsilon_of([own] * rounds, plan.delta, plan.accountant)
            found.append({"sites": sites, "epsilon_if_all_others_collude": alone})
    return found


def _shared_text(f: Mapping[str, Any]) -> str:
    if not f["shared_noise"]:
        return ""
    rows = ", ".join(f"{row['epsilon_if_all_others_collude']:.1f} among {row['sites']}" for row in f["shared_noise"])
    return (
        " The sites share the noise, so this holds against the hub with the number of sites that the study assumes to "
        f"collude. Against the hub with all other sites the study's epsilon would be {rows} sites. Each attempt at a "
        "sum from which a site drops out is paid once more."
    )


def _text(f: Mapping[str, Any]) -> str:
    right = plain_words(f["epsilon_at_end"], f["delta"])["guess_right_at_most"]
    lead = (
        "Whoever sees all that the study's training lets leave this hospital, and knows everything else, can tell "
        f"whether one given woman took part and be right at most {math.ceil(1000 * right)} times in 1,000, where a "
        f"toss of a coin is right 500 times. As a guarantee this is {strength(f['epsilon_at_end'])}. "
    )
    done = f" {f['rounds_done']} of them are done." if f["rounds_done"] else ""
    return (
        f"{lead}In figures: {f['rounds']} rounds on {f['patients']} patients cost epsilon {f['epsilon_at_end']:.3f} at "
        f"delta {f['delta']:.1e}.{done} {_lifetime_text(f)}{_ceiling_text(f)}In each step the noise on one parameter "
        f"is {f['noise_to_signal']:.3f} of the most that all its patients can move it. The mechanism: {f['mechanism']}."
        f"{_shared_text(f)} {joining_text(f['joining'])}"
    )


def _lifetime_text(f: Mapping[str, Any]) -> str:
    open_ = ""
    if f["unbounded"]:
        open_ = (
            "Over all studies the epsilon of these patients is unbounded, because a study without privacy was trained "
            "on them; the figures are of the private studies alone. "
        )
    held = ""
    if f["lifetime_with_what_is_held"] > f["lifetime_at_end"]:
        held = f"With what is held for other accepted studies it would be {f['lifetime_with_what_is_held']:.3f}. "
    return (
        f"{open_}All studies on these patients spent {f['lifetime_spent']:.3f} so far and {f['lifetime_at_end']:.3f} "
        f"then. {held}"
    )


def _ceiling_text(f: Mapping[str, Any]) -> str:
    if f["ceiling"] is None:
        return ""
    if f["refused_at_once"]:
        passed = f"; by itself round {f['refused_round']} would pass it" if f["refused_round"] else ""
        return f"A ceiling of {f['ceiling']:g} is below what the study asks for, so it is refused at once{passed}. "
    if f["refused_round"]:
        return f"A ceiling of {f['ceiling']:g} would refuse round {f['refused_round']}. "
    return f"A ceiling of {f['ceiling']:g} would stop none of them. "
