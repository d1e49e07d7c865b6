"""The ledger's chain inside a privacy statement: enough to see that its events are the ledger's, and no more.

Of the study's own charges, and where a backup was restored, the whole row is told, of every other row (other studies,
patients' fingerprints) only its digest and signature. A told row's digest covers the digest before it, so it cannot be
moved or changed; every signature shows that the site's key made the row. A row that is not told may be anything but a
row of another key.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from common.errors import TrustError
from common.trust.journal import GENESIS, Entry, digest_of
from common.trust.signing import signature_holds

MAX_ROWS = 5000
"""A longer chain is not told: with its statement it has to fit into one message."""


def told_rows(entries: Sequence[Entry], told: Collection[int]) -> list[dict[str, str]] | None:
    """Returns all rows in order, with their text where their number is in ``told``; None for more than 5,000 rows."""
    if len(entries) > MAX_ROWS:
        return None
    return [
        {"digest": entry.digest, "signature": entry.signature} | ({"text": entry.text} if entry.seq in told else {})
        for entry in entries
    ]


def check_chain(statement: Mapping[str, Any]) -> None:
    """Checks the statement's ledger rows; one that tells none passes, for then its signature alone stands behind it.

    Raises:
        TrustError: Names the first bad row, or says that the events or the head are not those of the rows.
        KeyError, TypeError, ValueError, AttributeError: The statement does not have the expected fields.
    """
    rows = statement.get("ledger_rows")
    if rows is None:
        return
    site, previous, charges = statement.get("site"), GENESIS, list[dict[str, Any]]()
    for place, row in enumerate(rows, start=1):
        if not _holds(row, place, previous, statement["ledger_key"]):
            raise TrustError(
                f"The statement of {site} tells of a ledger whose row {place} was changed, moved or removed"
            )
        told = json.loads(row["text"]) if "text" in row else {"kind": ""}
        charges += [told] if told["kind"] == "charge" else []
        previous = row["digest"]
    if statement["ledger_head"] != {"seq": len(rows), "digest": previous}:
        raise TrustError(f"The statement of {site} names a last row of the ledger that is not the last of its rows")
    if [_event(charge) for charge in charges] != statement["events"]:
        raise TrustError(f"The events in the statement of {site} are not those that its ledger charged")
    if any(charge["study"] != statement["study_digest"] for charge in charges):
        raise TrustError(f"The statement of {site} counts charges of another study as its own")


def _holds(row: Mapping[str, str], place: int, previous: str, public_hex: str) -> bool:
    if "text" in row and row["digest"] != digest_of(place, row["text"], previous):
        return False
    return signature_holds(public_hex, bytes.fromhex(row["digest"]), row["signature"])


def _event(charge: Mapping[str, Any]) -> dict[str, Any]:
    share = {"share": charge["share"]} if "share" in charge else {}
    return {"round": charge["round"], "time": charge["time"], **charge["event"], **share}
