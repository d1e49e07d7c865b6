"""Which published data set a table of labels belongs to: its reader has the set's own rules for label and patient."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from common.data.formats import READERS

TELLING = 4
"""So many columns of one publisher are no chance; two named Image and Label are."""


def layout_of(header: Iterable[str]) -> str:
    """Returns the name of the reader all of whose needed columns a table has; empty where there is none.

    >>> layout_of(["ID1", "LeftRight", "Age", "abnormality", "classification"])
    'cmmd'
    """
    columns = frozenset(header)
    fitting = [name for name, module in READERS.items() if any(columns >= needed for needed in _needed(module))]
    return fitting[0] if len(fitting) == 1 else ""


def _needed(module: str) -> list[frozenset[str]]:
    """Returns the needed columns of each table that a reader opens."""
    reader = import_module(module)
    tables = [getattr(reader, name, ()) for name in ("NEEDED", "FINDINGS", "FILES")]
    return [frozenset(columns) for columns in tables if isinstance(columns, tuple) and len(columns) >= TELLING]
