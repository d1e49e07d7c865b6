"""Hydra overrides as text: of one string, as Flower's run-config carries them, and of a YAML file."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from common.errors import ConfigError

PATHS = ("data.root", "simulation.ledger_dir", "simulation.cache_dir", "model.weights")
"""Settings whose value is a path, or a name without a sign that Hydra's grammar knows."""
_PATH = re.compile(rf"\+{{0,2}}({'|'.join(map(re.escape, PATHS))})=(.*)", re.DOTALL)


_VARIABLE = re.compile(r"\$\{[\w.]+(:[^}]*)?\}")


def take_paths(overrides: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Returns the overrides without those of paths, and the paths as they were typed, by their setting.

    A path may hold any sign: brackets, commas, quotes, every alphabet. Hydra reads ``null``, an empty value and
    ``${...}`` that names no file. Quotes around the whole, as Hydra wants them, are taken off.
    """
    others: list[str] = []
    paths: dict[str, str] = {}
    for override in overrides:
        match = _PATH.fullmatch(override)
        if match and _is_literal(match[2]):
            paths[match[1]] = _unquoted(match[2])
            continue
        if match:
            paths.pop(match[1], None)
        others.append(override)
    return others, paths


def _is_literal(value: str) -> bool:
    if value in ("", "null", "None"):
        return False
    return not _VARIABLE.search(value) or os.path.exists(os.path.expanduser(_unquoted(value)))


def _unquoted(value: str) -> str:
    quote = value[:1]
    if len(value) < 2 or quote not in "'\"" or value[-1] != quote:
        return value
    return value[1:-1].replace(f"\\{quote}", quote).replace("\\\\", "\\")


def split_overrides(text: str) -> list[str]:
    """Returns the Hydra overrides of one string, as in ``--run-config 'overrides="a=1 b=2"'``.

    Raises:
        ConfigError: A quote is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"The overrides {text!r} cannot be read: {error}. Close every quote.") from None


def read_overrides(path: Path) -> list[str]:
    """Returns the Hydra overrides of a YAML list, such as the ``overrides.yaml`` that every run leaves.

    Raises:
        ConfigError: The file cannot be read, or holds no list of overrides.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); expected a YAML list of overrides") from None
    except (ValueError, RecursionError, yaml.YAMLError):
        raise ConfigError(f"{path} is not YAML; expected a list of overrides, as in: - privacy.epsilon=3") from None
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise ConfigError(f"{path} holds no list of overrides; expected lines like: - privacy.epsilon=3")
    return found


def expanded(overrides: Sequence[str]) -> list[str]:
    """Returns the overrides with a leading ``~`` of a value made the user's home, as no shell does after ``=``.

    ``experiment=FILE.yaml`` stands for the overrides in that file, such as the ``best.yaml`` of a sweep.

    Raises:
        ConfigError: That file cannot be read, or holds no list of overrides.
    """
    pairs = [override.partition("=") for override in overrides]
    found = [key + sign + (str(Path(value).expanduser()) if value[:1] == "~" else value) for key, sign, value in pairs]
    return [word for override in found for word in _of_file(override)]


def _of_file(override: str) -> list[str]:
    key, _, value = override.partition("=")
    return read_overrides(Path(value)) if key == "experiment" and value.endswith((".yaml", ".yml")) else [override]
