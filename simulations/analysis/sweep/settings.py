"""What a sweep was asked for: read once from the command line, then from the file that it leaves in its folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from common.config.study import StudyConfig, compose
from common.errors import ConfigError
from common.runs.run_folder import RunFolder
from simulations.analysis.sweep.space import Space, read_space
from simulations.engine.run import absolute_paths

FILE = "sweep.yaml"
KEYS = ("sweep", "trials", "sampler", "pruner", "sampler_seed", "reruns")
CLOSED = ("evaluation.test=false", "evaluation.local_baseline=false", "evaluation.personal_epochs=0")
"""What every trial is run with: no test, and no model of a hospital's own."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that decides a sweep's trials."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    sweep: str = "head_lr"
    """Name of the space."""
    space: Space
    overrides: tuple[str, ...] = ()
    """Overrides of the study that every trial shares."""
    trials: Annotated[int, Field(ge=1, le=100_000)] = 30
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    pruner: Literal["median", "hyperband", "none"] = "median"
    """What ends a trial early, by its validation after each round."""
    sampler_seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    reruns: Annotated[int, Field(ge=0, le=100)] = 5
    """With how many new seeds the winner is run again."""
    public: bool = False
    """Whether the user says that images of a manifest are public."""

    def study(self, more: Sequence[str] = ()) -> StudyConfig:
        """Returns the study of a trial with the overrides ``more``."""
        return compose([*self.overrides, *more, *CLOSED])

    def to_json(self) -> dict[str, Any]:
        """Returns the settings as plain values."""
        document: dict[str, Any] = _ADAPTER.dump_python(self, mode="json", exclude_defaults=False)
        return document | {"space": self.space.to_json()}

    def write(self, folder: Path) -> None:
        """Writes them into the sweep's folder."""
        import yaml

        RunFolder(folder).write_text(FILE, yaml.safe_dump(self.to_json(), sort_keys=False))


_ADAPTER = TypeAdapter(Settings)


def read_settings(folder: Path) -> Settings:
    """Returns the settings of a sweep's folder.

    Raises:
        ConfigError: It holds none, or they are damaged.
    """
    import yaml

    path = folder / FILE
    if not path.is_file():
        raise ConfigError(f"{folder} holds no sweep to resume; expected a {FILE} in it")
    try:
        return _ADAPTER.validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is damaged ({error}); restore it or sweep again") from None


def settings_of(arguments: Sequence[str], *, public: bool = False) -> Settings:
    """Returns the settings that the words of a command line give: ``sweep=... trials=...`` and overrides of the study.

    Raises:
        ConfigError: A value is out of its range, the space or the study is not valid, or patients would be searched.
    """
    own = {key: value for key, sign, value in (word.partition("=") for word in arguments) if sign and key in KEYS}
    others = [word for word in arguments if word.partition("=")[0] not in KEYS]
    space = read_space(own.get("sweep", "head_lr"))
    given = {word.partition("=")[0] for word in others}
    fixed = [word for word in space.fixed if word.partition("=")[0] not in given]
    found = _checked({**own, "space": space, "overrides": (*fixed, *others), "public": public})
    found = dataclasses.replace(found, overrides=(*found.overrides, *absolute_paths(found.study())))
    _check_searched(space, given)
    _check_patients(found)
    return found if found.sampler != "grid" else dataclasses.replace(found, trials=min(found.trials, space.points()))


def _checked(document: Mapping[str, Any]) -> Settings:
    try:
        return _ADAPTER.validate_python(document)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc']))}={item['input']!r}: {item['msg']}" for item in error.errors()]
        raise ConfigError(f"The sweep is not valid: {'; '.join(lines)}") from None


def _check_searched(space: Space, given: set[str]) -> None:
    if twice := sorted(given & set(space.space)):
        raise ConfigError(f"{', '.join(twice)} is searched by the sweep; leave it out, or give another sweep=SPACE")


def _check_patients(settings: Settings) -> None:
    """Refuses to search on images that nobody called public: every trial tells of them, and no epsilon covers it."""
    study = settings.study()
    if study.data.name == "manifest" and not settings.public:
        raise ConfigError(
            "A sweep asks the same patients again and again, which no epsilon covers; it is for public or synthetic "
            "data. Add --public-data if the images of this manifest are public"
        )
