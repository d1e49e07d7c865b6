"""A site's durable account of privacy spent: append-only, hash-chained, signed, charged before the first gradient.

A charge is on disk before :meth:`Ledger.charge` returns, and nothing is ever given back, so a crash can only
over-count. Order is the sequence number; clocks decide nothing. A cohort is known by keyed fingerprints of its
patients: renaming a folder or a study does not reset it, and a patient of two cohorts is charged for both.

Not defended against: whoever holds the site's private key can write a new ledger.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from common.errors import BudgetExceeded, LedgerError
from common.privacy.accounting import Event, epsilon_of
from common.trust.signing import SiteKey, signature_holds

GENESIS = "0" * 64
LOCK_SECONDS = 60.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (
    seq INTEGER PRIMARY KEY, body TEXT NOT NULL, previous TEXT NOT NULL, digest TEXT NOT NULL, signature TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON rows BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON rows BEGIN SELECT RAISE(ABORT, 'append-only'); END;
"""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a charge changed: the cohort's epsilon before and after it."""

    before: float
    after: float


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One charged event."""

    seq: int
    time: str
    cohort: str
    study: str
    run: str
    round_index: int
    delta: float
    event: Event


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where a study will end: epsilon after its last round, and the first round that the ceiling would refuse."""

    epsilon_at_end: float
    refused_round: int | None


class Ledger:
    """The ledger in one SQLite file, beside it the site's key (``.key``) and the last row's number (``.head``)."""

    def __init__(self, path: Path, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Opens or makes the ledger.

        Raises:
            LedgerError: It cannot be opened or written.
        """
        self.path = path
        self._clock = clock
        self._head_path = path.with_suffix(path.suffix + ".head")
        with _readable_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._key = SiteKey.open(path.with_suffix(path.suffix + ".key"))
            self._db = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
            self._prepare()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    @property
    def public_key(self) -> str:
        """The key under which rows are signed, hex."""
        return self._key.public_hex

    def register_cohort(self, patients: Collection[str]) -> str:
        """Returns the cohort's name, a function of its patients and the site's key, noted on first use.

        Raises:
            LedgerError: The ledger cannot be written or believed.
        """
        prints = sorted(self._key.fingerprint(patient) for patient in set(patients))
        cohort = hashlib.sha256("".join(prints).encode()).hexdigest()[:32]
        with _readable_errors(self.path), self._transaction() as rows:
            if cohort not in _cohorts(rows):
                self._append(rows, {"kind": "cohort", "cohort": cohort, "patients": prints})
        self._write_head()
        return cohort

    def charge(
        self,
        *,
        cohort: str,
        event: Event,
        delta: float,
        ceiling: float,
        accountant: str,
        study: str,
        run: str,
        round_index: int,
    ) -> Charge:
        """Charges ``event`` to every patient of the cohort, durably, and returns the epsilon before and after.

        Raises:
            BudgetExceeded: The cohort would pass ``ceiling``; nothing was written.
            LedgerError: The ledger cannot be written or believed; nothing may train.
        """
        with _readable_errors(self.path), self._transaction() as rows:
            before = _spent(rows, cohort, delta, accountant, [])
            after = _spent(rows, cohort, delta, accountant, [event])
            if after > ceiling:
                raise BudgetExceeded(
                    f"The cohort has spent epsilon {before:.3f}; this request would make it {after:.3f}, above the "
                    f"site's ceiling of {ceiling:g} (delta {delta:.1e}). The privacy officer can raise the ceiling."
                )
            body = {"kind": "charge", "cohort": cohort, "study": study, "run": run, "round": round_index,
                    "delta": delta, "event": asdict(event)}  # fmt: skip
            self._append(rows, body)
        self._write_head()
        return Charge(before, after)

    def spent(self, cohort: str, delta: float, accountant: str = "prv") -> float:
        """Returns the largest epsilon over the cohort's patients, each with all events of all their cohorts."""
        return _spent(self._verified(), cohort, delta, accountant, [])

    def events(self, cohort: str, study: str | None = None) -> tuple[LedgerRow, ...]:
        """Returns the cohort's own charges in order, all or those of one study."""
        return tuple(
            row for row in _charges(self._verified()) if row.cohort == cohort and study in (None, row.study)
        )

    def forecast(
        self, *, cohort: str, event: Event, rounds: int, delta: float, ceiling: float, accountant: str
    ) -> Forecast:
        """Returns where ``rounds`` more rounds of ``event`` would lead."""
        rows = self._verified()

        def after(count: int) -> float:
            return _spent(rows, cohort, delta, accountant, [event] * count)

        refused = next((count for count in range(1, rounds + 1) if after(count) > ceiling), None)
        return Forecast(after(rounds), refused)

    def verify(self) -> int:
        """Returns how many rows there are, after checking chain, signatures and the head.

        Raises:
            LedgerError: Names the first row that cannot be believed, or says that an older copy was restored.
        """
        return len(self._verified())

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    @contextmanager
    def _transaction(self) -> Iterator[list[dict[str, Any]]]:
        """Yields the verified rows under the write lock; commits on leaving, durably."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._verified()
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _append(self, rows: Sequence[dict[str, Any]], body: dict[str, Any]) -> None:
        seq, previous = len(rows) + 1, rows[-1]["digest"] if rows else GENESIS
        text = json.dumps({**body, "time": self._clock().isoformat(timespec="seconds")}, sort_keys=True)
        digest = _digest(seq, text, previous)
        self._db.execute(
            "INSERT INTO rows VALUES (?, ?, ?, ?, ?)",
            (seq, text, previous, digest, self._key.sign(bytes.fromhex(digest))),
        )

    def _verified(self) -> list[dict[str, Any]]:
        head = self._read_head()
        with _readable_errors(self.path):
            found = self._db.execute("SELECT seq, body, previous, digest, signature FROM rows ORDER BY seq").fetchall()
        rows, previous = [], GENESIS
        for place, (seq, text, claimed, digest, signature) in enumerate(found, start=1):
            honest = seq == place and claimed == previous and digest == _digest(seq, text, previous)
            if not honest or not signature_holds(self.public_key, bytes.fromhex(digest), signature):
                raise LedgerError(
                    f"Row {place} of the ledger {self.path} was changed, removed or moved; nothing may train. "
                    "Keep the file as evidence and restore the newest backup."
                )
            rows.append({**json.loads(text), "seq": seq, "digest": digest})
            previous = digest
        self._check_head(head, rows)
        return rows

    def _check_head(self, head: tuple[int, str], rows: list[dict[str, Any]]) -> None:
        """The head is written after each commit, so a crash leaves it behind, never ahead."""
        seq, digest = head
        if seq > len(rows) or (seq and rows[seq - 1]["digest"] != digest) or (seq == 0 and len(rows) > 2):
            raise LedgerError(
                f"The ledger {self.path} ends at row {len(rows)}, but row {seq} was already written: an older copy "
                "was restored or its end was cut off. Nothing may train; restore the newest backup."
            )

    def _read_head(self) -> tuple[int, str]:
        try:
            head = json.loads(self._head_path.read_text(encoding="utf-8"))
            return int(head["seq"]), str(head["digest"])
        except FileNotFoundError:
            return 0, GENESIS
        except (ValueError, KeyError, TypeError):
            raise LedgerError(f"{self._head_path} is damaged; restore it with the ledger from one backup") from None

    def _write_head(self) -> None:
        """Monotone: a slower process never puts an older head over a newer one, for the rows are read under lock."""
        with _readable_errors(self._head_path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                last = self._db.execute("SELECT seq, digest FROM rows ORDER BY seq DESC LIMIT 1").fetchone()
                if last and last[0] != self._read_head()[0]:
                    _write_durably(self._head_path, json.dumps({"seq": last[0], "digest": last[1]}))
            finally:
                self._db.execute("ROLLBACK")


def _spent(rows: Sequence[dict[str, Any]], cohort: str, delta: float, accountant: str, more: list[Event]) -> float:
    """The largest epsilon over the patients of ``cohort``, who differ in which other cohorts they are in."""
    cohorts = _cohorts(rows)
    if cohort not in cohorts:
        raise LedgerError("The cohort is not in the ledger; register it first")
    charged: dict[str, list[Event]] = {}
    for row in _charges(rows):
        charged.setdefault(row.cohort, []).append(row.event)
    kinds = {frozenset(name for name, members in cohorts.items() if patient in members) for patient in cohorts[cohort]}
    histories = {tuple(event for name in sorted(kind) for event in charged.get(name, [])) for kind in kinds}
    return max(epsilon_of([*history, *more], delta, accountant) for history in histories)


def _cohorts(rows: Sequence[dict[str, Any]]) -> dict[str, frozenset[str]]:
    return {row["cohort"]: frozenset(row["patients"]) for row in rows if row["kind"] == "cohort"}


def _charges(rows: Sequence[dict[str, Any]]) -> list[LedgerRow]:
    return [
        LedgerRow(row["seq"], row["time"], row["cohort"], row["study"], row["run"], row["round"], row["delta"],
                  Event(**row["event"]))
        for row in rows
        if row["kind"] == "charge"
    ]  # fmt: skip


def _digest(seq: int, text: str, previous: str) -> str:
    return hashlib.sha256(f"{seq}\n{previous}\n{text}".encode()).hexdigest()


def _write_durably(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _readable_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise LedgerError(
            f"The ledger {path} cannot be used ({error}); nothing was trained. Free the disk or mend its permissions."
        ) from None
