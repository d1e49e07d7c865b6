"""The last row of each site's ledger that the hub has seen: a ledger that goes back, or has a twin, shows.

A site's files alone cannot tell that an older copy of all of them was put back. The signed statement at the end of each
run names the ledger's last row and the digests of all rows before it; the hub keeps the last and looks for it in the
next. It sees what an honest program does with an old or a copied folder, not somebody who has the key and lies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from common.errors import ConfigError, TrustError
from common.privacy.signature import check_signature
from common.protocol.received import parse_object
from common.trust.durable import exclusive, write_durably

FILE = "heads.json"
_DIGEST = re.compile(r"[0-9a-f]{64}")
Verdict = Literal["first", "later", "another key", "went back", "forked", "unproven"]
BAD = ("another key", "went back", "forked")
IN_WORDS: dict[Verdict, str] = {
    "first": "first seen",
    "later": "goes on where the hub saw it last",
    "another key": "it is another ledger, under another key",
    "went back": "it ends before the row that the hub has seen: an older copy was put back",
    "forked": "its rows are not those that the hub has seen: two copies of it were written to, or an older one was "
    "put back and written to",
    "unproven": "it is too long to tell its rows, so the hub cannot see whether it goes on where it was",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenHead:
    """The last row that a site's statement told of.

    Attributes:
        seq: Its number; 0 before the first row.
        problem: What was wrong with a later statement, until somebody has accepted it; empty: nothing.
    """

    key: str
    seq: int
    digest: str
    time: str
    problem: str = ""


class Heads:
    """Reads and changes ``heads.json``, one process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> dict[str, SeenHead]:
        """Returns the heads by site; none before the first statement.

        Raises:
            ConfigError: The file is damaged.
        """
        try:
            rows = json.loads(self._path.read_text(encoding="utf-8"))["sites"]
            return {name: SeenHead(**row) for name, row in sorted(rows.items())}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigError(f"{self._path} is damaged; restore it from the hub's backup") from None

    def take(self, site: str, statement: Mapping[str, Any]) -> Verdict:
        """Returns how the statement's ledger goes on from the last head, which it replaces unless that is bad.

        Raises:
            TrustError: The statement is not signed by the key that it names, or the first of a site names no last row.
        """
        key = check_signature(statement)
        with exclusive(self._path.with_suffix(".lock"), seconds=30.0):
            heads = self.all()
            verdict = _verdict(heads.get(site), statement)
            self._write(heads | {site: _after(heads.get(site), key, statement, verdict)})
        return verdict

    def accept(self, site: str) -> SeenHead:
        """Forgets the head of a site, which then begins anew with its next statement; returns what it was.

        Raises:
            ConfigError: There is none.
        """
        with exclusive(self._path.with_suffix(".lock"), seconds=30.0):
            heads = self.all()
            if site not in heads:
                raise ConfigError(f"The hub has seen no ledger of {site}; oncofed-hub heads lists them")
            old = heads.pop(site)
            self._write(heads)
        return old

    def _write(self, heads: Mapping[str, SeenHead]) -> None:
        rows = {name: asdict(head) for name, head in sorted(heads.items())}
        write_durably(self._path, json.dumps({"schema_version": 1, "sites": rows}, indent=2) + "\n")


def compare(known: SeenHead | None, statement: Mapping[str, Any]) -> Verdict:
    """Returns how a statement's ledger goes on from a known head.

    A restored backup is a fork whose ``restore`` row names the known head, and is then no fork: it says, signed, from
    where it goes on, and charged what may have been spent in between.
    """
    head, rows = statement["ledger_head"], statement["ledger_rows"]
    if known is None:
        return "first"
    if statement["ledger_key"] != known.key:
        return "another key"
    if known.seq == 0 or (head["seq"], head["digest"]) == (known.seq, known.digest):
        return "later"
    if rows is not None and _names(rows, known):
        return "later"
    if head["seq"] < known.seq:
        return "went back"
    if rows is None:
        return "unproven"
    return "later" if rows[known.seq - 1]["digest"] == known.digest else "forked"


def _is_head(head: object) -> bool:
    found = head if isinstance(head, Mapping) else {}
    seq, digest = found.get("seq"), found.get("digest")
    return type(seq) is int and seq >= 0 and isinstance(digest, str) and _DIGEST.fullmatch(digest) is not None


def _verdict(known: SeenHead | None, statement: Mapping[str, Any]) -> Verdict:
    """Returns :func:`compare`'s verdict; rows that cannot be read are not those that the hub has seen.

    Raises:
        TrustError: The first statement of a site names no last row.
    """
    if not _is_head(statement.get("ledger_head")):
        if known is None:
            raise TrustError("The statement names no last row of a ledger")
        return "forked"
    try:
        return compare(known, statement)
    except Exception:  # a site chooses its rows, and with them which error reading them ends in
        return "forked"


def _names(rows: list[Mapping[str, str]], known: SeenHead) -> bool:
    """Returns whether a restore that is told in full goes on from the known head."""
    told = (parse_object(row["text"]) for row in rows if "text" in row)
    over = [row["over"] for row in told if row.get("kind") == "restore"]
    return {"seq": known.seq, "digest": known.digest} in [each for heads in over for each in heads]


def _after(old: SeenHead | None, key: str, statement: Mapping[str, Any], verdict: Verdict) -> SeenHead:
    if old is not None and verdict in BAD:
        return SeenHead(**asdict(old) | {"problem": verdict})
    head, now = statement["ledger_head"], datetime.now(UTC).isoformat(timespec="seconds")
    problem = "" if old is None else old.problem
    return SeenHead(key=key, seq=head["seq"], digest=head["digest"], time=now, problem=problem)


def check_no_problem(head: SeenHead | None, site: str) -> None:
    """Refuses a site whose ledger went back or was forked, until a person has looked into it.

    Raises:
        TrustError: Says what was seen, and what to do.
    """
    if head is not None and head.problem:
        raise TrustError(
            f"The ledger of {site} is not believed: {IN_WORDS[head.problem]}. "  # type: ignore[index]
            f"Call the site; once it has restored its ledger, run: oncofed-hub heads --accept {site}"
        )
