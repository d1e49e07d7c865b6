"""The threat model makes no statement that no test holds."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "threat-model.md"
TEST = re.compile(r"`(tests/[\w/]+\.py(?:::\w+)+)`")


def rows(text: str) -> list[str]:
    """The body rows of the tables whose last column is `held by`."""
    found: list[str] = []
    held = False
    for line in text.splitlines():
        if not line.startswith("|"):
            held = False
        elif line.rstrip("| ").endswith("held by"):
            held = True
        elif held and not set(line) <= set("|-: "):
            found.append(line)
    return found


def defined(source: str) -> set[tuple[str, ...]]:
    """The names of a test file's functions, methods and classes, each with the class around it."""
    names: set[tuple[str, ...]] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add((node.name,))
        if isinstance(node, ast.ClassDef):
            names |= {(node.name, inner.name) for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return names


def faults(text: str) -> list[str]:
    """What is wrong with the page: rows that nothing holds, tests that are not there."""
    bare = [row for row in rows(text) if not TEST.search(row) and "**not covered**" not in row]
    missing = [name for name in TEST.findall(text) if not exists(name)]
    return bare + missing


def exists(name: str) -> bool:
    path, *names = name.split("::")
    return (ROOT / path).is_file() and tuple(names) in defined((ROOT / path).read_text())


def test_every_row_is_held_by_a_test_that_exists_or_says_it_is_not() -> None:
    text = PAGE.read_text()
    assert len(rows(text)) > 50
    assert faults(text) == []


@pytest.mark.parametrize(
    "row",
    [
        "| a promise | kept | |",
        "| a promise | kept | `tests/test_gone.py::test_it` |",
        "| a promise | kept | `tests/test_threat_model.py::test_that_was_renamed` |",
        "| a promise | kept | `tests/test_threat_model.py` |",
    ],
)
def test_a_row_without_a_test_is_seen(row: str) -> None:
    assert faults(f"| pitfall | here | held by |\n|---|---|---|\n{row}\n") != []


def test_what_the_usual_checks_do_not_run_is_said() -> None:
    uncollected = [row for row in rows(PAGE.read_text()) if re.search(r"/(?!test_)\w+\.py::", row)]
    assert uncollected and all("*on demand*" in row for row in uncollected)
