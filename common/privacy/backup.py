"""A backup of a ledger, and the ledger made from it again: it charges all that may have been spent since.

A backup holds every row and the key under which the rows are signed, so it is as secret as the key. Who restores one
cannot know what was charged after it was made, and nobody else can be asked: the hub may not know, or may lie.
So every study that may have run since is charged to its end, and where a study may have run that nobody can name, the
patients' epsilon is unbounded from then on.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import LedgerError, TrustError
from common.privacy.accounting import Event
from common.privacy.explained import check_explained
from common.privacy.exposure import LedgerRow, Row, charges_in, cohorts_in
from common.privacy.fingerprints import cohort_id, memberships
from common.privacy.ledger import SCHEMA, Ledger
from common.privacy.notes import exactly_scored, release_everything, scored_patients
from common.privacy.pricing import Promise, most_charges, promises_in
from common.privacy.salvaged import Salvaged, head_or_none, survivors
from common.trust.durable import exclusive, sync_folder
from common.trust.journal import Entry, Head, first_bad, read_head, write_head
from common.trust.pki import write_private
from common.trust.signing import SiteKey

SCHEMA_VERSION = 1
USUAL_DELTA = 1e-5
"""Noted in a charge of events that only a statement tells of; composition takes the delta that is asked for."""
RUN = "restore"
"""Name of the run under which a restore charges."""


@dataclass(frozen=True, slots=True)
class Backup:
    """Every row of a ledger, and its private key as PEM."""

    key_pem: str
    entries: tuple[Entry, ...]

    @property
    def head(self) -> Head:
        """The last row."""
        return self.entries[-1].head if self.entries else Head()


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """What may have happened after a backup was made.

    Attributes:
        studies: Budget of the studies that may have run, each as the number of charges that it may reach in all.
        heads: Later heads that somebody has seen; the restored ledger names them.
        lifetime: Events over all studies, as later statements tell them.
        unbounded: Whether a study without privacy, or one that nobody can name, may have run.
        plain: Digests of studies that may have run without privacy, as far as is known; what they asked is forgotten.
        patients: Fingerprints of the patients who may have been trained on.
        scored: Fingerprints of the patients who may have been validated or tested on.
    """

    studies: Sequence[Promise] = ()
    heads: Sequence[Head] = ()
    lifetime: Sequence[Event] = ()
    unbounded: bool = False
    plain: Collection[str] = ()
    patients: Collection[str] = ()
    scored: Collection[str] = ()


def write_backup(ledger: Ledger, path: Path) -> Head:
    """Writes the file, readable by its owner only, and returns the head that it ends with.

    Raises:
        LedgerError: The ledger cannot be believed, or the file is there and is no earlier backup of it.
    """
    entries = ledger.entries()
    if path.exists():
        _check_earlier(path, entries, ledger.public_key)
    key = ledger.path.with_name(ledger.path.name + ".key").read_text(encoding="ascii")
    document = {"schema_version": SCHEMA_VERSION, "key": key, "rows": [asdict(entry) for entry in entries]}
    write_private(path, json.dumps(document).encode())
    return entries[-1].head if entries else Head()


def _check_earlier(path: Path, entries: Sequence[Entry], public_hex: str) -> None:
    """Refuses to replace what may be the only evidence of what was spent, or any other file."""
    try:
        old = read_backup(path)
    except TrustError:
        raise LedgerError(f"{path} is there and is no backup of a ledger; name a file of its own") from None
    key = SiteKey.from_pem(old.key_pem).public_hex
    if key != public_hex or old.entries != tuple(entries[: len(old.entries)]):
        raise LedgerError(
            f"The backup {path} has rows that this ledger does not have: the ledger was set back, or is another one. "
            "Keep that file. If it is of this site, stop the daemon and run: oncofed-site ledger restore with it"
        )


def read_backup(path: Path) -> Backup:
    """Returns a backup whose rows are all signed by its key.

    Raises:
        TrustError: It cannot be read, or was changed.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        entries = tuple(Entry(**row) for row in document["rows"])
        key = SiteKey.from_pem(document["key"])
        bad = first_bad(entries, key.public_hex)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrustError(f"{path} cannot be read as a backup of a ledger ({type(error).__name__})") from None
    if bad is not None:
        raise TrustError(f"Row {bad} of the backup {path} was changed, removed or moved; use another backup")
    return Backup(document["key"], entries)


def restore(path: Path, backup: Backup, since: Since) -> int:
    """Puts the ledger at ``path`` together from a backup and what may have been spent since; returns the rows added.

    What of the old file can still be believed and goes on from the backup is taken over; what its other signed rows
    say was spent is charged anew. A crash at any point leaves files that do not fit together, so that nothing trains
    until the restore is repeated.

    Raises:
        DataError: The ledger was seen with later rows than the known studies explain, and ``since`` is not unbounded.
        LedgerError: The ledger that is there can be believed, or is another's.
    """
    key = SiteKey.from_pem(backup.key_pem)
    with exclusive(_beside(path, ".lock")):  # to the end, so that no charge falls between the old file and the new
        (base, lost), heads = survivors(path, backup.entries, key, since.heads), [*since.heads, *_old_head(path)]
        rows = [json.loads(entry.text) | asdict(entry.head) for entry in base]
        if not since.unbounded:
            unread = [head for head in heads if head not in lost.heads]
            check_explained(rows, unread, _studies([*rows, *lost.rows], since), lost.rows)
        folder = path.parent / f".{path.name}.restoring"
        fresh = _rebuilt(folder / path.name, backup.key_pem, base)
        with Ledger(fresh) as ledger:
            added = _missing(ledger.rows(), base[-1].head if base else Head(), heads, _with(since, lost), key, lost)
            for body in added:
                ledger.append(body)
        _put_in_place(fresh, path)
    return len(added)


def _with(since: Since, lost: Salvaged) -> Since:
    """Returns what may have been spent, with what rows that cannot be kept say of it."""
    return replace(
        since,
        unbounded=since.unbounded or lost.unbounded,
        plain=lost.plain.union(since.plain),
        patients=lost.patients.union(since.patients),
        scored=lost.scored.union(since.scored),
    )


def _missing(
    rows: Sequence[Row], start: Head, heads: Iterable[Head], since: Since, key: SiteKey, lost: Salvaged
) -> list[Row]:
    """Returns the rows that charge all that may have been spent after ``start``."""
    known = {(row["seq"], row["digest"]) for row in rows}
    over = [asdict(head) for head in dict.fromkeys(heads) if head.seq and (head.seq, head.digest) not in known]
    found: list[Row] = [{"kind": "restore", "from": asdict(start), "over": over}]
    prints = sorted(set(since.patients).union(*cohorts_in(rows).values()))
    if prints:
        cohort = cohort_id(key, prints)
        if cohort not in cohorts_in(rows):
            found.append({"kind": "cohort", "cohort": cohort, "patients": prints})
        kinds = _histories(rows, cohort, prints)
        studies = _studies([*rows, *lost.rows], since)
        charges = [body for study in studies for body in _to_its_end(kinds, study, cohort)]
        charges += [_again(row, cohort) for row in lost.owed(charges)]
        found += charges
        found += _beyond(kinds, charges, since.lifetime, cohort)
        open_ = sorted(since.plain) or [RUN] * since.unbounded
        found += [{"kind": "unbounded", "cohort": cohort, "study": study, "run": RUN} for study in open_]
    found += release_everything(rows)
    # How often patients were counted since, and with how much noise, nobody can tell: as if it had been without.
    new = sorted(scored_patients(rows).union(since.scored) - exactly_scored(rows))
    return [*found, {"kind": "scored", "patients": new, "run": RUN}] if new else found


def _studies(rows: Sequence[Row], since: Since) -> list[Promise]:
    """Returns every study that may have run, at the largest number of charges that anybody promised it."""
    largest: dict[str, Promise] = {}
    promised = (replace(one, charges=most_charges(one.charges)) for one in promises_in(rows))
    for one in (*promised, *since.studies):
        if one.study not in largest or one.charges > largest[one.study].charges:
            largest[one.study] = one
    return list(largest.values())


def _histories(rows: Sequence[Row], cohort: str, prints: Sequence[str]) -> list[list[LedgerRow]]:
    """Returns the charges of each kind of patient among all of them."""
    kinds = memberships({**cohorts_in(rows), cohort: frozenset(prints)}, cohort)
    return [[charge for charge in charges_in(rows) if charge.cohort in kind] for kind in kinds]


def _to_its_end(kinds: Sequence[Sequence[LedgerRow]], study: Promise, cohort: str) -> list[Row]:
    """Returns as many charges as take the patient who was charged least to the study's end."""
    done = min(sum(charge.study == study.study for charge in history) for history in kinds)
    return [_charge(study, cohort)] * max(0, study.charges - done)


def _charge(study: Promise, cohort: str) -> Row:
    return {"kind": "charge", "cohort": cohort, "study": study.study, "run": RUN, "round": 0, "delta": study.delta,
            "event": asdict(study.event)}  # fmt: skip


def _again(row: Row, cohort: str) -> Row:
    """Returns the charge of a row that is not kept, made on the cohort of everybody who may have been reached."""
    return {name: row[name] for name in ("kind", "study", "delta", "event", "share") if name in row} | {
        "cohort": cohort, "run": RUN, "round": row["round"],
    }  # fmt: skip


def _beyond(
    kinds: Sequence[Sequence[LedgerRow]], charges: Sequence[Row], lifetime: Sequence[Event], cohort: str
) -> list[Row]:
    """Returns charges for what statements tell of and some patient was not charged."""
    more = [Event(**row["event"]) for row in charges]
    found = list[Row]()
    for event in lifetime:
        held = min(_steps(event, [*(row.event for row in history), *more]) for history in kinds)
        if event.steps > held:
            part = Event(event.noise_multiplier, event.sampling_rate, event.steps - held)
            found.append(_charge(Promise(cohort, RUN, part, 1, USUAL_DELTA, "prv"), cohort))
            more.append(part)
    return found


def _steps(like: Event, events: Sequence[Event]) -> int:
    mechanism = (like.noise_multiplier, like.sampling_rate)
    return sum(event.steps for event in events if (event.noise_multiplier, event.sampling_rate) == mechanism)


def _old_head(path: Path) -> list[Head]:
    head = head_or_none(path)
    return [head] if head else []


def _rebuilt(path: Path, key_pem: str, entries: Sequence[Entry]) -> Path:
    """Returns a ledger of these rows in a folder of its own."""
    path.parent.mkdir(exist_ok=True, mode=0o700)
    for old in path.parent.iterdir():
        old.unlink()
    with closing(sqlite3.connect(path)) as db:
        for statement in SCHEMA:
            db.execute(statement)
        rows = [(entry.seq, entry.text, entry.previous, entry.digest, entry.signature) for entry in entries]
        db.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", rows)
        db.commit()
    write_head(_beside(path, ".head"), entries[-1].head if entries else Head())
    write_private(_beside(path, ".key"), key_pem.encode())
    return path


def _put_in_place(fresh: Path, path: Path) -> None:
    """Key, then head, then rows: whatever is there in between does not fit together, and is refused."""
    with closing(sqlite3.connect(fresh)) as db:
        db.execute("PRAGMA journal_mode=DELETE")  # all rows are in the one file from here on
    kept = path.parent / f"{path.name}.before-{read_head(_beside(fresh, '.head')).seq}"  # type: ignore[union-attr]
    for suffix in ("", "-wal"):  # evidence
        with suppress(FileExistsError, FileNotFoundError):
            os.link(_beside(path, suffix), _beside(kept, suffix))
    for suffix in (".key", ".head"):
        os.replace(_beside(fresh, suffix), _beside(path, suffix))
        sync_folder(path.parent)
    for suffix in ("-wal", "-shm"):
        _beside(path, suffix).unlink(missing_ok=True)
    os.replace(fresh, path)
    sync_folder(path.parent)
    for rest in fresh.parent.iterdir():
        rest.unlink()
    fresh.parent.rmdir()


def events_of(statement: Mapping[str, Any]) -> list[Event]:
    """Returns the events over all studies that a statement tells of; its own where it tells no others.

    Raises:
        TrustError: They cannot be read.
    """
    try:
        rows = statement.get("lifetime_events") or statement.get("events") or ()
        return [Event(row["noise_multiplier"], row["sampling_rate"], row["steps"]) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise TrustError(f"The events of the statement cannot be read ({error!r})") from None


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
