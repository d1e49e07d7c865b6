"""What a site allows, whatever the hub says. Closed unless the site's own file opens it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from common.config import StudyConfig
from common.errors import BudgetExceeded, ConfigError, TrustError
from common.privacy.accounting import default_delta

ANY = "*"


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
        modes: Privacy modes allowed; ``none`` must be written to be allowed.
        release_metrics: Whether score histograms of the site's patients may leave.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    ceiling: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    study_ceiling: Annotated[float, Field(ge=0)] | None = None
    delta_max: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    min_patients: Annotated[int, Field(ge=1)] = 20
    max_images: Annotated[int, Field(ge=1)] = 8
    models: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    modes: tuple[Literal["local", "none"], ...] = ()
    release_metrics: bool = False

    @classmethod
    def emulated(cls, ceiling: float) -> SitePolicy:
        """Returns the policy of an emulated hospital, whose patients are public: only its ceiling limits."""
        return cls(
            ceiling=ceiling, delta_max=0.5, min_patients=1, max_images=1_000_000, models=(ANY,), studies=(ANY,),
            modes=("local", "none"), release_metrics=True,
        )  # fmt: skip


def load_policy(path: Path) -> SitePolicy:
    """Returns the policy in a YAML file.

    Raises:
        ConfigError: The file is missing, or has an unknown key or a bad value; the site stays closed.
    """
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The policy {path} cannot be read ({error.strerror}); the site stays closed") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"The policy {path} is not YAML: {str(error).splitlines()[0]}; the site stays closed") from None
    try:
        return TypeAdapter(SitePolicy).validate_python(document or {})
    except ValidationError as error:
        named = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"The policy {path} is not valid ({named}); the site stays closed") from None


def check_request(policy: SitePolicy, study: StudyConfig, declared_patients: int) -> None:
    """Checks what the hub asks for before anything is read from disk.

    Raises:
        TrustError: The site's policy does not allow it.
        BudgetExceeded: The study by itself would pass the site's ceiling.
    """
    privacy = study.privacy
    _require(privacy.mode in policy.modes, f"privacy.mode={privacy.mode} is not allowed here")
    _require(ANY in policy.models or study.model.name in policy.models, f"model {study.model.name} is not allowed here")
    _require(ANY in policy.studies or study.digest() in policy.studies, "this study is not allowed here")
    _require(
        declared_patients >= policy.min_patients,
        f"the cohort has {declared_patients} declared patients, fewer than the policy's {policy.min_patients}",
    )
    if privacy.private:
        _check_private(policy, study, declared_patients)


def _check_private(policy: SitePolicy, study: StudyConfig, declared_patients: int) -> None:
    privacy = study.privacy
    delta = privacy.delta if privacy.delta is not None else default_delta(declared_patients)
    _require(delta <= policy.delta_max, f"delta={delta:g} is larger than the policy's {policy.delta_max:g}")
    _require(
        privacy.max_images <= policy.max_images,
        f"max_images={privacy.max_images} is more than the policy's {policy.max_images}",
    )
    ceiling = policy.ceiling if policy.study_ceiling is None else min(policy.ceiling, policy.study_ceiling)
    if privacy.epsilon > ceiling:
        raise BudgetExceeded(f"The study asks for epsilon {privacy.epsilon:g}, the site's ceiling is {ceiling:g}")


def _require(allowed: bool, what: str) -> None:
    if not allowed:
        raise TrustError(f"The site's policy refuses the request: {what}")
