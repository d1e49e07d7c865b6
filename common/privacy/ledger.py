"""A site's durable account of privacy spent: append-only, hash-chained, signed, charged before the first gradient.

A charge is on disk before :meth:`Ledger.charge` returns, and nothing is ever given back, so a crash can only
over-count. Order is the row's number; clocks decide nothing. A cohort is known by keyed fingerprints of its
patients: renaming a folder or a study does not reset it, and a patient of two cohorts is charged for both.

Beside the file stand the site's key (``.key``), a lock (``.lock``) and the number and digest of the last row
(``.head``), which may be kept on another disk. The head is written after each commit and mended before the next, so
it is behind by one row at most; any other difference is a rollback.

Rows of other kinds stand in the same chain: studies without privacy (``unbounded``), budget that is held (``reserve``,
``release``), and what :mod:`common.privacy.notes` keeps.

Not defended against: whoever holds the private key can write a new ledger, and whoever restores file and head
together to one older moment is seen only by those who noted a later head, which every privacy statement carries: the
hub does.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from common.errors import LedgerError, TrustError
from common.privacy.accounting import Event
from common.privacy.exposure import (
    Charge,
    LedgerRow,
    OwnShare,
    Row,
    charges_in,
    cohorts_in,
    epsilon_after,
    histories_of,
    unbounded_runs,
)
from common.privacy.fingerprints import cohort_id, fingerprint, fingerprints
from common.privacy.pricing import Price, price_of
from common.trust.durable import exclusive, make_folder, sync_folder
from common.trust.journal import Entry, Head, first_bad, next_entry, read_head, write_head
from common.trust.signing import SiteKey

__all__ = ["Charge", "Ledger", "LedgerRow"]

BUSY_SECONDS = 60.0
RESTORE = (
    "run: oncofed-site ledger restore BACKUP, which charges all that may have been spent since. Never copy an old file "
    "back: it forgets"
)
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS rows (seq INTEGER PRIMARY KEY, body TEXT NOT NULL, previous TEXT NOT NULL, "
    "digest TEXT NOT NULL, signature TEXT NOT NULL)",
    "CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON rows BEGIN SELECT RAISE(ABORT, 'append-only'); END",
    "CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON rows BEGIN SELECT RAISE(ABORT, 'append-only'); END",
)
SELECT = "SELECT seq, body, previous, digest, signature FROM rows"


class Ledger:
    """The ledger in one SQLite file; a context manager; any number of processes may hold one open."""

    def __init__(
        self, path: Path, *, head_path: Path | None = None, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Opens the ledger, or makes it on first use.

        Args:
            path: The SQLite file.
            head_path: The side file with the last row's number; default: beside ``path``, suffix ``.head``.
            clock: Tells the time that is noted in a row; nothing depends on it.

        Raises:
            LedgerError: It cannot be opened or written, or a part of it is gone.
        """
        self.path = path
        self._clock = clock
        self._head_path = head_path or _beside(path, ".head")
        self._believed: Head | None = None
        with _readable_errors(path):
            if not _beside(path, ".key").exists():  # the last file of the first use, so the names above it are secured
                make_folder(path.parent)
            with exclusive(_beside(path, ".lock")):
                self._open()

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
            DataError: There is no patient.
            LedgerError: The ledger cannot be written or believed.
        """
        prints = fingerprints(self._key, patients)
        cohort = cohort_id(self._key, prints)
        if cohort not in cohorts_in(self._rows()):
            with self._writing() as (rows, append):
                if cohort not in cohorts_in(rows):
                    append({"kind": "cohort", "cohort": cohort, "patients": list(prints)})
        return cohort

    def proposed(self, patients: Collection[str]) -> tuple[str, list[Row]]:
        """Returns the cohort's name and all rows as they would be with it registered; writes nothing.

        Raises:
            DataError: There is no patient.
            LedgerError: The ledger cannot be believed.
        """
        prints, rows = fingerprints(self._key, patients), self._rows()
        cohort = cohort_id(self._key, prints)
        new = [] if cohort in cohorts_in(rows) else [{"kind": "cohort", "cohort": cohort, "patients": list(prints)}]
        return cohort, [*rows, *new]

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
        study_ceiling: float | None = None,
        charges: int | None = None,
        after_unbounded: bool = False,
        share: OwnShare | None = None,
    ) -> Charge:
        """Charges ``event`` to every patient of the cohort, durably.

        Returns the epsilon of the private studies before and after. What the limits mean: :class:`Price`. ``share`` is
        noted with the row.

        Raises:
            BudgetExceeded: :func:`common.privacy.pricing.price_of` says why; nothing was written.
            LedgerError: The ledger cannot be written or believed; nothing may train.
        """
        body = {"kind": "charge", "cohort": cohort, "study": study, "run": run, "round": round_index,
                "delta": delta, "event": asdict(event)} | ({"share": asdict(share)} if share else {})  # fmt: skip
        price = Price(
            study=study, event=event, delta=delta, accountant=accountant, ceiling=ceiling,
            study_ceiling=study_ceiling, charges=charges, after_unbounded=after_unbounded,
        )  # fmt: skip
        price_of(self._rows(), cohort, price)  # the accountant remembers, so the lock below is held for a moment only
        with self._writing() as (rows, append):
            charge = price_of(rows, cohort, price)
            append(body)
        return charge

    def charge_unbounded(self, *, cohort: str, study: str, run: str) -> None:
        """Notes, durably, that a run without privacy trains on the cohort: its epsilon is infinite from then on.

        Raises:
            LedgerError: The ledger cannot be written or believed; nothing may train.
        """
        body = {"kind": "unbounded", "cohort": cohort, "study": study, "run": run}
        self.note(lambda rows: None if any(body.items() <= row.items() for row in rows) else body)

    def note(self, decide: Callable[[Sequence[Row]], Row | None]) -> bool:
        """Adds the row that ``decide`` makes of all rows so far, durably; nothing, and False, where it returns None.

        It is asked once more, with the lock held, before its row is written; what it raises ends the call.
        """
        if decide(self._rows()) is None:
            return False
        with self._writing() as (rows, append):
            if (body := decide(rows)) is not None:
                append(body)
        return body is not None

    def append(self, body: Row) -> None:
        """Adds a row as it is, durably; a charge is made with :meth:`charge`, this is for a restored backup's."""
        self.note(lambda rows: body)

    def rows(self) -> list[Row]:
        """Returns every row's body with its ``seq`` and ``digest``, verified."""
        return self._rows()

    def fingerprint(self, patient: str) -> str:
        """Returns a patient's fingerprint, as the rows hold it."""
        return fingerprint(self._key, patient)

    def keyed(self, text: str) -> str:
        """Returns a keyed digest (64 hex digits) of a text that must not be guessed from it."""
        return self._key.fingerprint(f"text:{text}")

    def spent(self, cohort: str, delta: float, accountant: str = "prv") -> float:
        """Returns the largest epsilon over the cohort's patients, each with all events of all their cohorts.

        Infinite once a study without privacy was trained on one of them.
        """
        if unbounded_runs(self._rows(), cohort):
            return math.inf
        return epsilon_after(self.history(cohort, delta, accountant), delta, accountant)

    def history(
        self, cohort: str, delta: float, accountant: str = "prv", study: str | None = None
    ) -> tuple[LedgerRow, ...]:
        """Returns the charges of the cohort's most exposed patient in order, over all studies or in one."""
        return max(histories_of(self._rows(), cohort, study), key=lambda rows: epsilon_after(rows, delta, accountant))

    def events(self, cohort: str, study: str | None = None) -> tuple[LedgerRow, ...]:
        """Returns the charges that reached any patient of the cohort in order, over all studies or in one."""
        reached = {row for history in histories_of(self._rows(), cohort, study) for row in history}
        return tuple(sorted(reached, key=lambda row: row.seq))

    def cohorts(self, study: str) -> tuple[str, ...]:
        """Returns the cohorts that a study was charged on, in the order of their first charge."""
        spent = ("charge", "unbounded")
        charged = (row["cohort"] for row in self._rows() if row["kind"] in spent and row["study"] == study)
        return tuple(dict.fromkeys(charged))

    def charges(self) -> tuple[LedgerRow, ...]:
        """Returns every charge in order, whatever its cohort."""
        return charges_in(self._rows())

    def entries(self) -> tuple[Entry, ...]:
        """Returns every row as it is chained and signed, verified."""
        with _readable_errors(self.path), exclusive(_beside(self.path, ".lock")):
            self._verified()
            return tuple(Entry(*columns) for columns in self._db.execute(f"{SELECT} ORDER BY seq"))

    def sign(self, message: bytes) -> str:
        """Returns the signature (hex) of the site's key, which says that the site stands behind ``message``."""
        return self._key.sign(message)

    def head(self) -> Head:
        """Returns number and digest of the last row: whoever notes it can see a later rollback."""
        rows = self._rows()
        return Head(rows[-1]["seq"], rows[-1]["digest"]) if rows else Head()

    def verify(self) -> int:
        """Returns how many rows there are, after checking chain, every signature and the head.

        Raises:
            LedgerError: Names the first row that cannot be believed, or says that an older copy was restored.
        """
        self._believed = None
        return len(self._rows())

    def _open(self) -> None:
        """Makes file, head and key in this order, so a key that stands alone tells that the others were removed."""
        key_path = _beside(self.path, ".key")
        if key_path.exists() and not (self.path.exists() and self._head_path.exists()):
            raise LedgerError(
                f"The ledger {self.path} or its head {self._head_path} is gone, but its key is there: somebody removed "
                f"it. Nothing may train; {RESTORE}"
            )
        self._db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            self._prepare(key_path)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, key_path: Path) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        for statement in SCHEMA:
            self._db.execute(statement)
        sync_folder(self.path.parent)
        if not key_path.exists():
            if self._db.execute("SELECT count(*) FROM rows").fetchone()[0]:
                raise LedgerError(f"The ledger {self.path} has rows, but its key {key_path} is gone; {RESTORE}")
            write_head(self._head_path, Head())
        self._key = SiteKey.open(key_path)

    @contextmanager
    def _writing(self) -> Iterator[tuple[list[Row], Callable[[Row], None]]]:
        """Yields the verified rows and a function that adds one; it is durable, with its head, on leaving."""
        with _readable_errors(self.path), exclusive(_beside(self.path, ".lock")):
            added: list[Entry] = []
            with self._transaction():
                rows = self._verified()
                last = Head(rows[-1]["seq"], rows[-1]["digest"]) if rows else Head()
                if last != read_head(self._head_path):  # a crash came between the last commit and its head
                    write_head(self._head_path, last)
                yield rows, lambda body: added.append(self._insert(last, body))
            for entry in added:
                write_head(self._head_path, entry.head)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite has already rolled back after some failures
                self._db.execute("ROLLBACK")
            raise

    def _insert(self, last: Head, body: Row) -> Entry:
        entry = next_entry(last, {**body, "time": self._clock().isoformat(timespec="seconds")}, self._key)
        values = (entry.seq, entry.text, entry.previous, entry.digest, entry.signature)
        self._db.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", values)
        if self._db.execute(f"{SELECT} WHERE seq = ?", [entry.seq]).fetchall() != [values]:  # a trigger can swallow it
            raise LedgerError(
                f"The ledger {self.path} did not keep the row that was written: somebody changed its tables. Nothing "
                f"may train; keep the file as evidence and {RESTORE}"
            )
        return entry

    def _rows(self) -> list[Row]:
        with _readable_errors(self.path), exclusive(_beside(self.path, ".lock")):
            return self._verified()

    def _verified(self) -> list[Row]:
        """Under the lock: the head is then behind by one row if a writer died, and else not at all."""
        found = self._db.execute(f"{SELECT} ORDER BY seq").fetchall()
        entries = [Entry(*columns) for columns in found]
        bad = first_bad(entries, self.public_key, self._believed)
        if bad is not None:
            raise LedgerError(
                f"Row {bad} of the ledger {self.path} was changed, removed or moved; nothing may train. "
                f"Keep the file as evidence and {RESTORE}"
            )
        self._check_head(entries)
        self._believed = entries[-1].head if entries else None
        return [{**json.loads(entry.text), "seq": entry.seq, "digest": entry.digest} for entry in entries]

    def _check_head(self, entries: Sequence[Entry]) -> None:
        head = read_head(self._head_path)
        heads = [Head(), *(entry.head for entry in entries)]
        if head not in heads[-2:]:
            noted = "a head that is gone" if head is None else f"row {head.seq}"
            raise LedgerError(
                f"The ledger {self.path} ends at row {len(entries)}, its head tells of {noted}: an older copy was "
                f"restored or its end was cut off. Nothing may train; {RESTORE}"
            )


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


@contextmanager
def _readable_errors(path: Path) -> Iterator[None]:
    """Turns failures of disk and file into one error that stops training; keeps our own."""
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # the last when damage is in SQLite's own message
        raise LedgerError(
            f"The ledger {path} cannot be used ({error}); nothing was trained. Free the disk or mend its permissions."
        ) from None
    except TrustError as error:
        raise error if isinstance(error, LedgerError) else LedgerError(str(error)) from None
