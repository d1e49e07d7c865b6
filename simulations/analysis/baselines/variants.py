"""The runs that one study is compared by: which overrides make each, and why one cannot be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.config.study import StudyConfig, compose
from common.errors import OncoFedError

ALONE = ("evaluation.local_baseline=false", "evaluation.personal_epochs=0")
"""No model of a hospital's own: the study's own run has measured those."""
POOLED = (
    "privacy=none", "partition=iid", "partition.sites=1", "partition.outside=[]", "strategy.quorum=1", *ALONE,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to run the study.

    Attributes:
        name: Names its folder.
        title: What it is, for people.
        overrides: Added to those of the study.
        missing: Why it cannot be run; empty: it can.
    """

    name: str
    title: str
    overrides: tuple[str, ...] = ()
    missing: str = ""


def variants(overrides: Sequence[str], sites: Sequence[str]) -> list[Variant]:
    """Returns the runs of a study with these hospitals; the first is the study itself.

    A study without privacy is compared with private ones at the default epsilon, unless it names one.
    """
    found = [
        Variant(name="study", title="the study as it is"),
        Variant(name="plain", title="federated, no privacy", overrides=("privacy=none", *ALONE)),
        Variant(name="local", title="federated, each site adds its own noise", overrides=_noise("local")),
        Variant(name="distributed", title="federated, sites share the noise", overrides=_noise("distributed")),
        Variant(name="pooled", title="all patients in one place, no privacy", overrides=POOLED),
        *(_without(site, sites) for site in sites),
    ]
    return [_checked(variant, overrides) for variant in found]


def _noise(mode: str) -> tuple[str, ...]:
    return (f"privacy.mode={mode}", *ALONE)


def _without(site: str, sites: Sequence[str]) -> Variant:
    missing = "" if len(sites) > 2 else "fewer than two hospitals would be left to train"
    changes = (f"partition.outside=[{site}]", *ALONE)
    return Variant(name=f"without-{site}", title=f"{site} has no labels", overrides=changes, missing=missing)


def _checked(variant: Variant, overrides: Sequence[str]) -> Variant:
    """Returns the variant, with the reason where its study is not valid."""
    if variant.missing:
        return variant
    try:
        compose([*overrides, *variant.overrides])
    except OncoFedError as error:
        return Variant(name=variant.name, title=variant.title, overrides=variant.overrides, missing=str(error))
    return variant


def passes(study: StudyConfig, patients: int) -> float:
    """Returns how often a training patient of a hospital of ``patients`` is used in the federated training."""
    training = study.training
    if training.method == "statistics":
        return float(training.rounds)
    if training.local_steps:
        return training.rounds * min(1.0, training.batch_patients / patients) * training.local_steps
    return training.rounds * training.local_epochs
