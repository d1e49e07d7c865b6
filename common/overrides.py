"""Hydra overrides as text: of one string, as Flower's run-config carries them, and of a YAML file."""

from __future__ import annotations

import shlex
from pathlib import Path

from common.errors import ConfigError


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
