"""What a damaged or forked ledger still proves: every row that the site's key has signed happened, wherever it stands.

A restore goes on from its backup, so rows behind a damaged one, or of a copy that went another way, cannot be kept in
the chain. Each carries its own signature over its number, its text and the digest before it, and nobody without the key
can make one. So what they say was spent is charged again after the backup's rows; to charge twice only over-counts.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from common.errors import LedgerError, TrustError
from common.privacy.exposure import Row, cohorts_in
from common.privacy.ledger import SELECT
from common.privacy.notes import scored_patients
from common.trust.journal import Entry, Head, digest_of, first_bad, read_head
from common.trust.signing import SiteKey, signature_holds


@dataclass(frozen=True, slots=True)
class Salvaged:
    """Signed rows of a ledger that are not among those it is restored from.

    Attributes:
        rows: In the order of their numbers.
        heads: Heads of the chain before its first bad row: all that led to them can be read.
    """

    rows: Sequence[Row] = ()
    heads: frozenset[Head] = frozenset()

    @property
    def unbounded(self) -> bool:
        """Whether a study without privacy was trained."""
        return bool(self.plain)

    @property
    def plain(self) -> frozenset[str]:
        """Digests of the studies without privacy that were trained."""
        return frozenset(row["study"] for row in self.rows if row["kind"] == "unbounded")

    @property
    def patients(self) -> frozenset[str]:
        """Fingerprints of the patients of its cohorts."""
        return frozenset[str]().union(*cohorts_in(self.rows).values())

    @property
    def scored(self) -> frozenset[str]:
        """Fingerprints of the patients whose scores left."""
        return scored_patients(self.rows)

    def owed(self, charged: Sequence[Row]) -> list[Row]:
        """Returns its charges that are not among as many equal ones in ``charged``, to be charged beside them."""
        paid = Counter((row["study"], _mechanism(row)) for row in charged)
        found = list[Row]()
        for row in self.rows:
            if row["kind"] != "charge":
                continue
            asked = (row["study"], _mechanism(row))
            paid[asked] -= 1
            if paid[asked] < 0:
                found.append(row)
        return found


def survivors(
    path: Path, backup: Sequence[Entry], key: SiteKey, heads: Sequence[Head]
) -> tuple[tuple[Entry, ...], Salvaged]:
    """Returns the rows to restore from, and what else the file at ``path`` proves.

    The rows are the backup's, with those of the file that still go on from them.

    Raises:
        LedgerError: The ledger that is there can be believed, or is another's.
    """
    if _key_of(path) not in (None, key.public_hex):
        raise LedgerError(f"{path} is the ledger of another key than the backup; it cannot be restored from it")
    found = _readable(path)
    bad = first_bad(found, key.public_hex)
    sound = found if bad is None else found[: bad - 1]
    whole = bad is None and bool(found) and head_or_none(path) in [entry.head for entry in found[-2:]]
    told = all(head.seq <= len(found) and (not head.seq or found[head.seq - 1].head == head) for head in heads)
    goes_on = sound[: len(backup)] == tuple(backup)
    if whole and told and goes_on and _key_of(path):
        raise LedgerError(f"The ledger {path} can be believed; there is nothing to restore")
    base = sound if goes_on else tuple(backup)
    return base, salvage(found, len(sound), base, key.public_hex)


def head_or_none(path: Path) -> Head | None:
    """Returns the head beside the ledger; None where it is gone or damaged."""
    try:
        return read_head(_beside(path, ".head"))
    except (TrustError, OSError):
        return None


def salvage(found: Sequence[Entry], sound: int, base: Sequence[Entry], public_hex: str) -> Salvaged:
    """Returns what of ``found`` its key has signed and ``base`` does not hold.

    Args:
        found: All rows that can be read, in the order of their numbers.
        sound: How many of them, from the first on, are a chain without a fault.
        base: The rows that the ledger is restored from.
        public_hex: The site's key.
    """
    kept = {entry.digest for entry in base}
    signed = [entry for entry in found if entry.digest not in kept and _is_signed(entry, public_hex)]
    rows = [json.loads(entry.text) | asdict(entry.head) for entry in signed]
    return Salvaged(rows, frozenset(entry.head for entry in found[:sound]))


def _is_signed(entry: Entry, public_hex: str) -> bool:
    texts = (entry.text, entry.previous, entry.digest, entry.signature)
    if type(entry.seq) is not int or not all(isinstance(text, str) for text in texts):
        return False
    true = digest_of(entry.seq, entry.text, entry.previous)
    return entry.digest == true and signature_holds(public_hex, bytes.fromhex(true), entry.signature)


def _mechanism(row: Row) -> tuple[float, float, int]:
    event = row["event"]
    return event["noise_multiplier"], event["sampling_rate"], event["steps"]


def _key_of(path: Path) -> str | None:
    """Returns the public key of the ledger that is there; None where its key is gone or damaged."""
    try:
        return SiteKey.read(_beside(path, ".key")).public_hex
    except TrustError:
        return None


def _readable(path: Path) -> tuple[Entry, ...]:
    """Returns the rows in order, up to where the file itself cannot be read."""
    found = list[Entry]()
    if path.exists():
        with suppress(sqlite3.Error, UnicodeDecodeError), closing(sqlite3.connect(path)) as db:
            for columns in db.execute(f"{SELECT} ORDER BY seq"):
                found.append(Entry(*columns))  # one by one: what came before an error stays
    return tuple(found)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
