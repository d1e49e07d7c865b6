"""What a site allows, whatever the hub says. Closed unless the site's own file opens it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from common.config.settings_file import settings_text
from common.config.study import ModelConfig, StudyConfig
from common.errors import BudgetExceeded, ConfigError, SiteClosed, TrustError
from common.privacy.accounting import default_delta

ANY = "*"
_PUBLISHED = re.compile(r"\w+_Weights\.\w+")
"""A name of torchvision's for weights that everybody can have."""
EMULATED_CEILING = 1e6
"""Of an emulated hospital's evaluation account, whose patients are public: no limit, as JSON can hold it."""
OwnLevel = Literal["none", "verdict", "rounded", "full"]
OWN_LEVELS: tuple[str, ...] = get_args(OwnLevel)
"""From the one that tells least."""
Hour = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SitePolicy:
    """The site's limits; every default is the closed one.

    Attributes:
        ceiling: Lifetime epsilon of the cohort, over all studies.
        study_ceiling: Epsilon of one study; None: the lifetime ceiling.
        delta_max: Largest delta that a study may use.
        min_patients: Fewest patients with which the site trains.
        max_images: Most images of a patient that may enter a step.
        models: Networks that may be trained; ``("*",)`` for any.
        studies: Digests of studies that may run; ``("*",)`` for any.
        strategies: Ways of aggregation that the site takes part in; any by default, since what the hub does with an
            update that already carries its noise costs no privacy.
        hubs: SHA-256 (hex) of the certificates of the authorities whose hubs the site answers; ``("*",)`` for any.
        modes: Privacy modes allowed; each must be written to be allowed.
        min_sites: Fewest sites of a secure sum (``distributed``), this one among them.
        assumed_colluders: How many of them the site takes to side with the hub, where the study assumes fewer.
        after_unbounded: Whether private studies may go on with patients of a study without privacy, whose epsilon over
            all studies is infinite for good: ``refuse`` or ``allow``. Where it may, the ceilings limit what the
            private studies cost together.
        opening_hours: Local times ``("20:00", "06:00")`` between which the site works, over midnight if the second is
            the smaller; None: always. The policy's other limits hold at any hour.
        release_metrics: Whether score histograms of the site's patients, and how many a split has, may leave.
        subgroups: Columns of the manifest whose values may name groups of test patients to the hub, where a study asks
            for them; ``("*",)`` for any. Of others nothing leaves.
        own_models: What may leave of models that the site trains without noise and keeps: nothing, only whether the
            common model helps (a word on it alone and one on it with the home model), figures on a coarse grid, or
            everything, which is for public data.
        attention: Whether sums of where the model looks on the site's test patients may leave, by class; they carry no
            noise, and the maps stay.
        evaluation_ceiling: Lifetime epsilon of validation and test patients from score counts with noise
            (``evaluation.noise``), an account of its own.
        runs_per_study: How many runs of one study may ask about the patients; None: any number. A run that goes on
            after a crash is the same run.
        min_split: Fewest patients of a split whose score histograms may leave.
        min_group: Fewest patients of a group, and of a class unless it is empty, that may be counted to the hub; the
            study's ``min_cell`` holds where it is larger. It holds for whatever sums and differences of all counts
            that ever left can single out (:mod:`client.site.release_floor`). With 1 in both floors the card counts
            training patients too.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    ceiling: Annotated[float, Field(ge=0)] = 0.0
    study_ceiling: Annotated[float, Field(ge=0)] | None = None
    delta_max: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    min_patients: Annotated[int, Field(ge=1)] = 20
    max_images: Annotated[int, Field(ge=1)] = 8
    models: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    strategies: tuple[str, ...] = (ANY,)
    hubs: tuple[str, ...] = ()
    modes: tuple[Literal["local", "distributed", "none"], ...] = ()
    min_sites: Annotated[int, Field(ge=3)] = 3
    assumed_colluders: Annotated[int, Field(ge=1)] = 1
    after_unbounded: Literal["refuse", "allow"] = "refuse"
    opening_hours: tuple[Hour, Hour] | None = None
    release_metrics: bool = False
    subgroups: tuple[str, ...] = ()
    own_models: OwnLevel = "none"
    attention: bool = False
    evaluation_ceiling: Annotated[float, Field(ge=0)] = 0.0
    runs_per_study: Annotated[int, Field(ge=1)] | None = 1
    min_split: Annotated[int, Field(ge=1)] = 10
    min_group: Annotated[int, Field(ge=1)] = 5

    def __post_init__(self) -> None:
        limits = [self.ceiling, self.evaluation_ceiling, 0.0 if self.study_ceiling is None else self.study_ceiling]
        if not all(0 <= limit < float("inf") for limit in limits):
            raise ValueError(f"Expected finite ceilings >= 0, got {limits}")

    @property
    def ceiling_of_a_study(self) -> float:
        """The largest epsilon that one study can have here."""
        return self.ceiling if self.study_ceiling is None else min(self.ceiling, self.study_ceiling)

    @property
    def counts_anybody(self) -> bool:
        """Whether single patients may be counted to the hub, training patients too; that is for public data."""
        return self.release_metrics and self.min_split == 1 and self.min_group == 1

    def told_subgroups(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Returns those of a study's ``evaluation.subgroups`` whose column may leave."""
        if ANY in self.subgroups:
            return tuple(wanted)
        return tuple(one for one in wanted if one.partition(":")[0].strip() in self.subgroups)

    def open_at(self, now: datetime) -> bool:
        """Returns whether the site works at this local time."""
        if self.opening_hours is None:
            return True
        start, end = self.opening_hours
        at = now.strftime("%H:%M")
        return start <= at < end if start <= end else at >= start or at < end

    @classmethod
    def emulated(cls, ceiling: float) -> SitePolicy:
        """Returns the policy of an emulated hospital, whose patients are public: only its ceiling limits."""
        return cls(
            ceiling=ceiling, delta_max=0.5, min_patients=1, max_images=1_000_000, models=(ANY,), studies=(ANY,),
            hubs=(ANY,), modes=("local", "distributed", "none"), release_metrics=True, after_unbounded="allow",
            subgroups=(ANY,),
            own_models="full", attention=True, evaluation_ceiling=EMULATED_CEILING, runs_per_study=None, min_split=1,
            min_group=1,
        )  # fmt: skip


def load_policy(path: Path) -> SitePolicy:
    """Returns the policy in a YAML file.

    Raises:
        ConfigError: The file is missing, or has an unknown or repeated key or a bad value; the site stays closed.
    """
    try:
        return TypeAdapter(SitePolicy).validate_json(settings_text(path), strict=True)
    except FileNotFoundError as error:
        raise ConfigError(f"The policy {path} cannot be read ({error.strerror}); the site stays closed") from None
    except ConfigError as error:
        raise ConfigError(f"The policy {error}; the site stays closed") from None
    except ValidationError as error:
        named = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"The policy {path} is not valid ({named}); the site stays closed") from None


def check_hub(policy: SitePolicy, authority: str) -> None:
    """Checks who asks, before what is asked: ``authority`` is the SHA-256 (hex) of the certificate that proves the hub.

    Raises:
        TrustError: The site's policy does not name it.
    """
    known = {hub.lower().replace(":", "") for hub in policy.hubs}
    _require(ANY in known or authority in known, f"the hub's authority {authority} is not among the policy's hubs")


def check_request(policy: SitePolicy, study: StudyConfig, declared_patients: int, now: datetime | None = None) -> None:
    """Checks what the hub asks for before anything is read from disk; ``now`` is the local time, by default this one.

    Raises:
        TrustError: The site's policy does not allow it.
        BudgetExceeded: The study by itself would pass the site's ceiling.
    """
    privacy = study.privacy
    if not policy.open_at(now or datetime.now()):
        raise SiteClosed("The site is outside its opening hours; the hub may ask again later")
    _require(privacy.mode in policy.modes, f"privacy.mode={privacy.mode} is not allowed here")
    _require(ANY in policy.models or study.model.name in policy.models, f"model {study.model.name} is not allowed here")
    _require(ANY in policy.studies or study.digest() in policy.studies, "this study is not allowed here")
    _require(
        ANY in policy.strategies or study.strategy.name in policy.strategies,
        f"strategy {study.strategy.name} is not allowed here",
    )
    _require(
        declared_patients >= policy.min_patients,
        f"the cohort has {declared_patients} declared patients, fewer than the policy's {policy.min_patients}",
    )
    if privacy.private:
        _check_private(policy, study, declared_patients)


def check_weights(model: ModelConfig) -> None:
    """Refuses weights at a place on this machine that the study does not name by what they hold.

    The path is the hub's word. A file of the hospital's own could be there, made from its patients without noise.

    Raises:
        TrustError: The study names a path and no digest.
    """
    if model.weights not in (None, "package") and not _PUBLISHED.fullmatch(model.weights) and not model.checkpoint:
        raise TrustError(
            f"The study asks for weights at {model.weights!r} and does not say by model.checkpoint which they are: "
            "the digest of a checkpoint's folder, or the SHA-256 of a file"
        )


def check_tuning(study: StudyConfig) -> None:
    """Refuses settings that a sweep chose on the study's own patients: each trial told of them, at no charge.

    Raises:
        TrustError: The study says so of itself.
    """
    _require(not study.tuning_problem, study.tuning_problem)


def _check_private(policy: SitePolicy, study: StudyConfig, declared_patients: int) -> None:
    privacy = study.privacy
    delta = privacy.delta if privacy.delta is not None else default_delta(declared_patients)
    _require(delta <= policy.delta_max, f"delta={delta:g} is larger than the policy's {policy.delta_max:g}")
    _require(
        privacy.max_images <= policy.max_images,
        f"max_images={privacy.max_images} is more than the policy's {policy.max_images}",
    )
    if not privacy.epsilon <= policy.ceiling_of_a_study:
        raise BudgetExceeded(
            f"The study asks for epsilon {privacy.epsilon:g}, the site's ceiling is {policy.ceiling_of_a_study:g}"
        )


def _require(allowed: bool, what: str) -> None:
    if not allowed:
        raise TrustError(f"The site's policy refuses the request: {what}")
