"""What a site has decided about its monitor: ``monitor.yaml``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from common.config.settings_file import settings_text
from common.errors import ConfigError

FILE = "monitor.yaml"
Share = Annotated[float, Field(gt=0, lt=1)]
Days = Annotated[int, Field(ge=1, le=3650)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the monitor judges.

    Attributes:
        miss_rate: Tolerated share of malignant exams below the threshold, 1 - sensitivity; None: misses are told only.
        false_positive_rate: Tolerated share of benign exams above it; None: told only.
        disagreement: Tolerated share of readers' answers on the other side; None: told only.
        alpha: Probability that any of the outcome's tests ever alarms although no rate is above what is tolerated.
        run_length: Exams to a false alarm of the score's charts, all of them together, in the mean.
        level: False discovery rate of a window of the inputs.
        window: Exams of a window at least; a calendar week that has fewer is joined to the next.
        shortest_silence: Days that no stream alarms at.
        longest_silence: Days without an exam that always alarm.
        longest_label_silence: Days without a label that always alarm, as biopsies take weeks.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    miss_rate: Share | None = None
    false_positive_rate: Share | None = None
    disagreement: Share | None = None
    alpha: Share = 0.05
    run_length: Annotated[float, Field(ge=50, le=1e6)] = 2000.0
    level: Share = 0.05
    window: Annotated[int, Field(ge=10, le=10_000)] = 40
    shortest_silence: Days = 4
    longest_silence: Days = 14
    longest_label_silence: Days = 60


def read_rules(path: Path) -> Rules:
    """Returns the rules of a file; the defaults where there is none.

    Raises:
        ConfigError: It has an unknown key or a bad value.
    """
    try:
        return TypeAdapter(Rules).validate_json(settings_text(path), strict=False)
    except FileNotFoundError:
        return Rules()
    except ValidationError as error:
        named = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"{path} is not valid ({named})") from None
