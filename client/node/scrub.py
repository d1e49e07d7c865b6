"""Takes everything out of a log line but what the programs themselves say.

The rule is a list of what may stay, not of what must go: words that occur in messages of the installed code, names of
exceptions, small numbers, and where in the code it happened. So a name, a path, a key or a number of a patient goes
even when nobody thought of it. Words of the site's own manifest go too, where they are words of the code.
"""

from __future__ import annotations

import ast
import builtins
import errno
import importlib.util
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from common.errors import SiteCode

GONE = "[-]"
OURS = ("client", "common", "server")
CODE = (*OURS, "flwr")
_SPEAKERS = frozenset({
    "debug", "info", "warning", "warn", "error", "exception", "critical", "log", "print", "say", "flwr_exit",
    "Finding", "_network", "_require", "ArgumentParser", "add_argument",
})  # fmt: skip
_STAMP = re.compile(r"^\s*\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d{1,6})?(?:Z|[+-]\d\d:?\d\d)?\]?")
_FRAME = re.compile(r'^\s*File "(?P<path>[^"]*)", line (?P<line>\d{1,6})(?:, in (?P<name>[\w<>.]+))?\s*$')
_PATH = re.compile(r"(?:[A-Za-z]:\\|\\\\|~?/)[^\s'\",;:()\[\]]+(?:/|\\)?")
_PEM = re.compile(r"-----BEGIN.*?(?:-----END[^\n]*|\Z)", re.DOTALL)
_TOKEN = re.compile(r"[^\W_]+(?:[._@+-][^\W_]+)*|_+", re.UNICODE)
_PIECES = re.compile(r"[^\W\d_]+|\d+", re.UNICODE)
_NUMBER = re.compile(r"\d{1,3}|\d{1,4}\.\d{1,3}")
_KEPT_MARKS = frozenset(" .,:;()[]{}'\"=!?<>*/%-_#|\t")


@dataclass(frozen=True, slots=True)
class Scrubber:
    """Rewrites text.

    Attributes:
        forbidden: Words that go although the code says them too, lower case: those of the manifest.
    """

    forbidden: Collection[str] = field(default_factory=frozenset)

    def text(self, text: str) -> str:
        """Returns the text, line by line, with all that may not stay replaced by ``[-]``."""
        return "\n".join(self._line(line) for line in _PEM.sub(GONE, text).splitlines()).rstrip("\n")

    def _line(self, line: str) -> str:
        frame = _FRAME.match(line)
        if frame:
            return self._frame(frame)
        stamp = _STAMP.match(line)
        start = stamp.end() if stamp else 0
        return line[:start] + self._words(_PATH.sub(GONE, line[start:]))

    def _frame(self, frame: re.Match[str]) -> str:
        where = _module(frame["path"])
        return f"  File {where}, line {frame['line']}" if where else f"  File {GONE}"

    def _words(self, text: str) -> str:
        parts, end = [], 0
        for token in _TOKEN.finditer(text):
            parts += [_marks(text[end : token.start()]), token[0] if self._may_stay(token[0]) else GONE]
            end = token.end()
        return re.sub(r"(?:\[-\]){2,}", GONE, "".join([*parts, _marks(text[end:])]))

    def _may_stay(self, token: str) -> bool:
        if token.lower() in self.forbidden:
            return False
        if token[0].isdigit():
            return _NUMBER.fullmatch(token) is not None and token.isascii()
        pieces = _PIECES.findall(token)
        return all(piece.lower() in vocabulary() and piece.lower() not in self.forbidden for piece in pieces)


def words_of(texts: Collection[str]) -> frozenset[str]:
    """Returns every word and number of the texts, and the texts themselves, lower case."""
    found = {text.lower() for text in texts}
    for text in texts:
        found |= {token.lower() for token in _TOKEN.findall(text)} | {p.lower() for p in _PIECES.findall(text)}
    return frozenset(found)


@cache
def vocabulary() -> frozenset[str]:
    """Returns the words (lower case) that the installed OncoFed and Flower say in messages; it takes a second."""
    builtin = {name for name in dir(builtins) if name.endswith(("Error", "Exception", "Exit", "Interrupt"))}
    system = (os.strerror(number) for number in errno.errorcode)
    known = (*builtin, *system, *SiteCode, "INFO DEBUG Errno exit line in Traceback most recent call last")
    words = {word.lower() for name in known for word in _pieces(name)}
    for path in _sources():
        words |= {word.lower() for text in _said(ast.parse(path.read_text(encoding="utf-8"))) for word in _pieces(text)}
    return frozenset(words)


def _pieces(text: str) -> list[str]:
    return [piece for piece in _PIECES.findall(text) if not piece.isdigit()]


def _sources() -> Iterator[Path]:
    for package in CODE:
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            yield from sorted(Path(root).rglob("*.py"))


def _said(tree: ast.AST) -> Iterator[str]:
    """Yields texts of messages and names of exceptions; docstrings, comments and tables of names are none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Error", "Exception")):
            yield node.name
        elif isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and _speaks(node.func)):
            yield from (text.value for text in ast.walk(node)
                        if isinstance(text, ast.Constant) and isinstance(text.value, str))  # fmt: skip


def _speaks(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in _SPEAKERS or name.endswith("Error")


def _module(path: str) -> str:
    """Returns the part of a path that names a file of the installed code, nothing for any other file."""
    for package in CODE:
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            if path.startswith(f"{root}/"):
                return f"{package}/{path.removeprefix(f'{root}/')}"
    return ""


def _marks(text: str) -> str:
    return "".join(mark if mark in _KEPT_MARKS else GONE for mark in text)
