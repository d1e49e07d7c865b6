"""What a peer may write into the fields of a message: checks that anybody's bytes pass or are refused by.

They know no kind of message; :mod:`common.protocol.messages` says which field must hold what.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import ConfigError

MAX_WHOLE = 2**63
MAX_DEPTH = 32
"""Far below what Python recurses through when a document is written again, and above what any of ours needs."""
MAX_INPUT_VALUES = 2**24
"""Values of one network input: a picture of 4096 x 4096."""
MAX_KEY, MAX_LINE = 128, 4_000
"""Characters of a name, and of any other text, in a document that a page may show."""
COUNTED_SPLITS = frozenset({"train", "val", "test"})
COUNTED = frozenset({"patients", "malignant", "benign"})
"""What a site's card may count, and of whom."""
MAX_FACTS = 32
"""Texts in a list, and lists and texts in what a site tells of its data set."""


def parse_json(text: object) -> Any:
    """Returns the value of a JSON text, which can be written again as it is.

    Raises:
        ConfigError: It is no JSON, nested too deeply, or holds what JSON or UTF-8 cannot: NaN, an infinity, half a
            character, a whole number beyond 64 bits.
    """
    try:
        value = json.loads(str(text), parse_int=_whole)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise ConfigError("A message field is not JSON, or holds what JSON cannot") from None
    if _deeper_than(MAX_DEPTH, value):
        raise ConfigError(f"A message field is nested more than {MAX_DEPTH} levels deep")
    return value


def parse_object(text: object) -> dict[str, Any]:
    """Returns the JSON object in the text.

    Raises:
        ConfigError: As :func:`parse_json`, or it is another kind of value.
    """
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ConfigError("A message field must hold a JSON object")
    return value


def check_whole(name: str, value: object, least: int, most: int) -> None:
    """Refuses all but a whole number in ``least..most``; True and 1.0 are none."""
    if type(value) is not int or not least <= value <= most:
        raise ConfigError(f"Expected a whole {name} in {least}..{most}")


def check_text(name: str, value: object, most: int) -> None:
    """Refuses all but a text of at most ``most`` characters."""
    if not isinstance(value, str) or len(value) > most:
        raise ConfigError(f"Expected {name} to be a text of at most {most} characters")


def check_flag(name: str, value: object) -> None:
    """Refuses all but True and False."""
    if not isinstance(value, bool):
        raise ConfigError(f"Expected {name} to be true or false")


def check_mapping(name: str, value: object) -> Mapping[Any, Any]:
    """Returns the value; refuses all but a mapping."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"Expected {name} to be a mapping")
    return value


def check_epsilon(value: object) -> None:
    """Refuses all but None and a finite number of at least 0."""
    if value is not None and not is_figure(value):
        raise ConfigError("Expected an epsilon to be a finite number of at least 0, or none")


def check_shape(shape: object) -> None:
    """Refuses all but the shape of one network input: one to three sides, together a picture's worth of values."""
    sides = shape if isinstance(shape, tuple) and 1 <= len(shape) <= 3 else (0,)
    for side in sides:
        check_whole("side of input_shape", side, 1, MAX_INPUT_VALUES)
    if math.prod(sides) > MAX_INPUT_VALUES:
        raise ConfigError(f"Expected an input_shape of at most {MAX_INPUT_VALUES} values")


def check_counts(counts: object) -> None:
    """Refuses all but whole numbers or None, by split and class; a split that is counted has all of them."""
    check_mapping("counts", counts)
    rows = dict(counts)  # type: ignore[call-overload]
    if not rows.keys() <= COUNTED_SPLITS:
        raise ConfigError(f"Expected counts of the splits {', '.join(sorted(COUNTED_SPLITS))}")
    for row in rows.values():
        check_mapping("counts of a split", row)
        if set(row) != COUNTED:
            raise ConfigError(f"Expected each counted split to have {', '.join(sorted(COUNTED))}")
        for count in row.values():
            if count is not None:
                check_whole("count", count, 0, MAX_WHOLE)


def check_texts(name: str, value: object) -> None:
    """Refuses all but a small mapping whose values are texts, or short lists of texts."""
    check_mapping(name, value)
    facts = dict(value)  # type: ignore[call-overload]
    for key, item in facts.items():
        texts = [item] if isinstance(item, str) else item
        if not isinstance(texts, list | tuple) or max(len(facts), len(texts)) > MAX_FACTS:
            raise ConfigError(f"Expected {name} to hold at most {MAX_FACTS} texts and lists of at most as many texts")
        check_text(f"a name in {name}", key, MAX_KEY)
        for text in texts:
            check_text(f"each text of {name}", text, MAX_LINE)


def check_document(document: object) -> None:
    """Refuses all but a mapping in which no name and no text, at any depth, is longer than a page can show."""
    check_mapping("document", document)
    level: list[object] = [document]
    while level:
        for text in level:
            if isinstance(text, str):
                check_text("each text of a document", text, MAX_LINE)
        for key in (key for item in level if isinstance(item, dict) for key in item):
            check_text("each name in a document", key, MAX_KEY)
        level = [child for item in level for child in _children(item)]


def is_figure(value: object) -> bool:
    """Returns whether this is a finite number of at least 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _whole(digits: str) -> int:
    value = int(digits)
    if abs(value) > MAX_WHOLE:
        raise ValueError("beyond 64 bits")
    return value


def _deeper_than(levels: int, value: object) -> bool:
    level = [value]
    for _ in range(levels):
        level = [child for item in level for child in _children(item)]
    return bool(level)


def _children(item: object) -> Sequence[object]:
    if isinstance(item, dict):
        return list(item.values())
    return item if isinstance(item, list) else ()
