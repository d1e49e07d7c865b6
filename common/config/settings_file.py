"""One way to read the YAML files that people edit: what they say as JSON, or why it cannot be understood.

JSON, since only there does a strict check take a list for a tuple, and ``yes`` for no number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import ConfigError

MOST_VALUES = 100_000
"""In a file; one of a kilobyte can refer to itself until it has a thousand million."""
_ODD = re.compile(r"[-+]?0[0-9_]+|.*:.*")
"""Base 8 and base 60."""
_FLOAT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")


def settings_text(path: Path) -> str:
    """Returns the file's document as a JSON text, ``{}`` where it says nothing.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: It cannot be read or is not YAML in UTF-8, says a key twice, or holds what JSON does not have.
    """
    try:
        document = _load(path.read_text(encoding="utf-8"))
        return json.dumps({} if document is None else document, default=_refuse)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text in UTF-8 (byte {error.start + 1}); save it in that encoding") from None
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply") from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # PyYAML's own for `!!bool x`, a date as key
        raise ConfigError(f"{path} cannot be understood: {error}") from None


def _load(text: str) -> Any:
    """Returns the document; numbers such as 1e-5 are numbers here, as in YAML 1.2 and everywhere else.

    Raises:
        ValueError: It is not YAML, or says a key twice.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))
    for kind in ("int", "float"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", _plain_number(kind))
    try:
        loader = Loader(text)
        root = loader.get_single_node()
        if root is not None:
            _size(root, {})
        if repeated := sorted(set(_repeated(root, set()))):
            raise ValueError(f"it says {', '.join(repeated)} twice")
        return None if root is None else loader.construct_document(root)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {(str(error).splitlines() or ['unreadable'])[0]}") from None


def _plain_number(kind: str) -> Any:
    """Returns the constructor of a number that refuses what YAML 1.1 reads otherwise than a person: 1:30 and 0100."""

    def construct(loader: Any, node: Any) -> Any:
        if _ODD.fullmatch(node.value):
            raise ValueError(f"{node.value!s:.40} is read as another number; write it in plain digits, or in quotes")
        return getattr(loader, f"construct_yaml_{kind}")(node)

    return construct


def _size(node: Any, known: dict[int, int]) -> int:
    """Returns how many values the node holds once its references are written out.

    Raises:
        ValueError: More than :data:`MOST_VALUES`, or it holds itself.
    """
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = MOST_VALUES  # while it is being counted: a node that meets itself has no end
    parts = node.value if isinstance(node.value, list) else ()
    size = 1
    for part in parts:
        for child in part if isinstance(part, tuple) else (part,):
            size += _size(child, known)
            if size > MOST_VALUES:
                raise ValueError(f"it holds more than {MOST_VALUES} values, or itself")
    known[id(node)] = size
    return size


def _repeated(node: Any, seen: set[int]) -> Iterator[str]:
    """Yields the keys that a mapping somewhere below the node says again."""
    import yaml

    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys = [str(key.value) for key, _ in node.value]
        yield from (key for key in keys if keys.count(key) > 1)
    if isinstance(node, yaml.CollectionNode):
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                yield from _repeated(part, seen)


def _refuse(value: object) -> Any:
    raise ValueError(f"it holds a {type(value).__name__}, {value!s:.40}; put texts that look like one in quotes")
