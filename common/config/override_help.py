"""What is wrong with a Hydra override, in a sentence: which keys and options there are, and which one was meant."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

_KEY = re.compile(r"(?:\+\+|\+|~)?([^=]*)(?:=(.*))?", re.DOTALL)
SPACES = "sweep"
"""The folder of search spaces, which is no group of a study."""


def problem_of(overrides: Sequence[str], study: type[Any], configs: Path) -> str | None:
    """Returns what is wrong with the first override that names no group, option or key; None where all do.

    Args:
        overrides: As the user typed them.
        study: Dataclass of the study, whose fields are the keys.
        configs: Folder of the Hydra groups.
    """
    return next((found for override in overrides if (found := _problem(override, study, configs))), None)


def _problem(override: str, study: type[Any], configs: Path) -> str | None:
    match = _KEY.fullmatch(override)
    if match is None or match[2] is None:
        return f"{override!r} is no override; expected key=value, as in privacy.epsilon=3"
    key, option = match[1], match[2].strip("'\"")
    groups = _groups(configs)
    if key in groups:
        options = sorted(path.stem for path in (configs / key).glob("*.yaml"))
        return None if option in options else f"{key}={option}: unknown{meant(option, options)}"
    keys = tuple(_keys(study))
    if key in keys or any(key.startswith(f"{one}.") for one in keys):
        return None
    room, _, last = key.rpartition(".")
    beside = [one.rpartition(".")[2] for one in keys if one.rpartition(".")[0] == room]
    if room and beside:
        return f"{key}: there is no such key in {room}{meant(last, beside)}"
    near = get_close_matches(key, [*groups, *keys], n=1)
    rooms = sorted({*groups, *(one.partition(".")[0] for one in keys)})
    return f"{key}: there is no such key; did you mean {near[0]}?" if near else f"{key}: no such key{meant(key, rooms)}"


def meant(word: str, options: Sequence[str]) -> str:
    """Returns ``; did you mean x? Expected one of: a, b``, the question only where an option is near."""
    near = get_close_matches(word, options, n=1)
    return f"{f'; did you mean {near[0]}?' if near else '.'} Expected one of: {', '.join(options)}"


def _groups(configs: Path) -> list[str]:
    folders = (path.name for path in configs.iterdir() if path.is_dir())
    return sorted(name for name in folders if not name.startswith("_") and name != SPACES)


def _keys(kind: type[Any], prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _keys(hints[field.name], f"{name}.")
        else:
            yield name
