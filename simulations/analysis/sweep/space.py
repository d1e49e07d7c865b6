"""What a sweep searches: one YAML file, its dimensions, and the overrides that a trial gets from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from common.config.study import CONFIG_DIR
from common.errors import ConfigError

if TYPE_CHECKING:
    from optuna.trial import Trial

Value = bool | int | float | str
Range = tuple[float, float]
Whole = Annotated[int, Field(strict=True)]
WholeRange = tuple[Whole, Whole]
Steps = Annotated[int, Field(ge=2, le=1000)]
Objective = Literal["auroc", "log_loss"]
Unit = Literal["noise", "patients"]
"""``noise``, of a private learning rate: the number is the standard deviation of the noise that one step adds to each
weight, learning rate x noise multiplier x clip norm / expected patients. ``patients``, of ``training.batch_patients``:
the number is the share of a site's training patients in a step."""
SPACES = CONFIG_DIR / "sweep"
_strict = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One thing that is searched: exactly one of ``float``, ``int`` and ``choice`` says where."""

    __pydantic_config__ = _strict

    float: Range | None = None
    int: WholeRange | None = None
    choice: Annotated[tuple[Value, ...], Field(min_length=1)] | None = None
    log: bool = False
    """Whether ``float`` or ``int`` is searched in equal ratios."""
    steps: Steps = 4
    """Values that a grid takes from ``float`` or ``int``, ends included."""
    unit: Unit | None = None
    """What the number is a multiple of, so that it carries over to other data; see :data:`Unit`."""
    when: Mapping[str, tuple[Value, ...]] = dataclasses.field(default_factory=dict)
    """Searched only where other dimensions, named before it, have one of these values."""

    def __post_init__(self) -> None:
        given = [kind for kind in ("float", "int", "choice") if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError("expected exactly one of float: [low, high], int: [low, high] and choice: [...]")
        ends = self.float or self.int
        if ends and not ends[0] < ends[1]:
            raise ValueError(f"expected the lower end first, got {list(ends)}")
        if ends and self.log and ends[0] <= 0:
            raise ValueError("log: true needs a lower end above 0")
        if self.unit and not self.float:
            raise ValueError("a unit goes with float: [low, high]")

    def suggest(self, name: str, trial: Trial) -> Value:
        """Returns the value that the sampler gives the trial."""
        if self.float:
            return trial.suggest_float(name, *self.float, log=self.log)
        if self.int:
            return trial.suggest_int(name, *self.int, log=self.log)
        return cast(Value, trial.suggest_categorical(name, list(self.choice or ())))

    def grid(self) -> list[Value]:
        """Returns the values that a grid tries."""
        if self.choice:
            return list(self.choice)
        low, high = self.float or self.int or (0, 0)
        shares = [step / (self.steps - 1) for step in range(self.steps)]
        even = [low * (high / low) ** share if self.log else low + (high - low) * share for share in shares]
        return list(even) if self.float else sorted({round(value) for value in even})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The dimensions by the setting (or group) that each decides, and what makes a trial better."""

    __pydantic_config__ = _strict

    space: Annotated[Mapping[str, Dimension], Field(min_length=1)]
    fixed: tuple[str, ...] = ()
    """Overrides of every trial, unless the user gives another value of the same setting."""
    objective: Objective = "auroc"
    """Figure of the pooled validation patients at the best round: ``auroc`` up, ``log_loss`` down."""

    def __post_init__(self) -> None:
        known: list[str] = []
        for name, dimension in self.space.items():
            if missing := [other for other in dimension.when if other not in known]:
                raise ValueError(f"{name} depends on {', '.join(missing)}, which must stand before it in the space")
            known.append(name)

    def suggest(self, trial: Trial) -> dict[str, Value]:
        """Returns the trial's values by dimension, those that do not apply left out."""
        found: dict[str, Value] = {}
        for name, dimension in self.space.items():
            if all(found.get(other) in allowed for other, allowed in dimension.when.items()):
                found[name] = dimension.suggest(name, trial)
        return found

    def grid(self) -> dict[str, list[Value]]:
        """Returns each dimension's values.

        Raises:
            ConfigError: A dimension depends on another, which a grid cannot say.
        """
        if dependent := [name for name, dimension in self.space.items() if dimension.when]:
            raise ConfigError(f"sampler=grid cannot search {', '.join(dependent)} with when; use tpe or random")
        return {name: dimension.grid() for name, dimension in self.space.items()}

    def points(self) -> int:
        """Returns how many points the grid has."""
        return math.prod(len(values) for values in self.grid().values())

    def to_json(self) -> dict[str, Any]:
        """Returns the space as it stands in its file."""
        document: dict[str, Any] = _ADAPTER.dump_python(self, mode="json", exclude_defaults=True)
        return document


_ADAPTER = TypeAdapter(Space)


def read_space(name: str) -> Space:
    """Returns the space of a file of ``configs/sweep``, by its name, or of a YAML file of the user's.

    Raises:
        ConfigError: There is none, or it is not valid; the message names each fault.
    """
    path = Path(name).expanduser() if name.endswith((".yaml", ".yml")) else SPACES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in SPACES.glob("*.yaml")))
        raise ConfigError(f"sweep={name}: there is no such space; expected one of {known}, or a YAML file")
    return space_of(_yaml(path), str(path.name))


def space_of(document: Any, where: str) -> Space:
    """Returns the checked space of a document.

    Raises:
        ConfigError: It is not valid.
    """
    try:
        return _ADAPTER.validate_python(document)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc'])) or where}: {item['msg']}" for item in error.errors()]
        raise ConfigError(f"The space of {where} is not valid: {'; '.join(lines)}") from None


def _yaml(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from None


def as_overrides(values: Mapping[str, Value]) -> list[str]:
    """Returns the Hydra overrides of a trial's values, numbers to four digits."""
    return [f"{name}={_literal(value)}" for name, value in values.items()]


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
