"""A statement carries the ledger's signed rows, so that events which the ledger never charged are caught."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import TrustError
from common.privacy.accounting import Event
from common.privacy.chain import MAX_ROWS, check_chain, told_rows
from common.privacy.ledger import Ledger
from common.trust.journal import Head, digest_of, next_entry
from common.trust.signing import SiteKey

STUDY, OTHER = "a" * 64, "b" * 64
Statement = dict[str, Any]
Edit = Callable[[Statement], object]


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Statement:
    """Two rounds of another study, then three of this one, on one cohort: rows 1, 2-3 and 4-6."""
    with Ledger(tmp_path_factory.mktemp("site") / "ledger.sqlite") as ledger:
        cohort = ledger.register_cohort(["anna", "berta"])
        for study, rounds in ((OTHER, 2), (STUDY, 3)):
            for index in range(1, rounds + 1):
                ledger.charge(cohort=cohort, event=Event(1.5, 0.1, 10), delta=1e-5, ceiling=9.0, accountant="rdp",
                              study=study, run="r", round_index=index)  # fmt: skip
        rows = ledger.history(cohort, 1e-5, "rdp", STUDY)
        return {
            "site": "site_1", "study_digest": STUDY, "ledger_key": ledger.public_key,
            "ledger_head": {"seq": ledger.head().seq, "digest": ledger.head().digest},
            "ledger_rows": told_rows(ledger.entries(), {row.seq for row in rows}),
            "events": [{"round": row.round_index, "time": row.time, "noise_multiplier": 1.5, "sampling_rate": 0.1,
                        "steps": 10} for row in rows],
        }  # fmt: skip


def rehashed(statement: Statement, place: int, **changes: Any) -> None:
    """Changes a row's text and mends its digest, as somebody without the key could."""
    rows = statement["ledger_rows"]
    body = json.loads(rows[place - 1]["text"]) | changes
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    rows[place - 1] |= {"text": text, "digest": digest_of(place, text, rows[place - 2]["digest"])}


def by_another_key(statement: Statement) -> None:
    """Writes the last row anew, whole and linked, under another key."""
    key = SiteKey.open(Path(statement["elsewhere"]) / "key")
    rows = statement["ledger_rows"]
    entry = next_entry(Head(5, rows[4]["digest"]), json.loads(rows[5]["text"]) | {"round": 3}, key)
    rows[5] = {"digest": entry.digest, "signature": entry.signature, "text": entry.text}
    statement["ledger_head"]["digest"] = entry.digest


EDITS: dict[str, tuple[Edit, str]] = {
    "text of a row": (lambda s: s["ledger_rows"][4].update(text="{}"), "row 5"),
    "text and digest of a row": (lambda s: rehashed(s, 5, round=9), "row 5"),
    "a row removed": (lambda s: s["ledger_rows"].pop(3), "row 4"),
    "a row that is not told removed": (lambda s: s["ledger_rows"].pop(1), "row 3"),
    "two rows swapped": (lambda s: s["ledger_rows"].insert(3, s["ledger_rows"].pop(4)), "row 4"),
    "another signature": (lambda s: s["ledger_rows"][0].update(signature="00" * 64), "row 1"),
    "the end cut off": (lambda s: s["ledger_rows"].pop(), "last row"),
    "another key": (by_another_key, "row 6"),
    "another key named": (lambda s: s.update(ledger_key="00" * 32), "row 1"),
    "a row no longer told": (lambda s: s["ledger_rows"][4].pop("text"), "not those"),
    "quieter noise in an event": (lambda s: s["events"][0].update(noise_multiplier=9.0), "not those"),
    "an event too few": (lambda s: s["events"].pop(), "not those"),
    "another study": (lambda s: s.update(study_digest=OTHER), "another study"),
}


def test_the_ledgers_own_rows_hold(untouched: Statement) -> None:
    check_chain(untouched)
    check_chain(json.loads(json.dumps(untouched)))


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_is_named(edit: str, untouched: Statement, tmp_path: Path) -> None:
    statement = copy.deepcopy(untouched) | {"elsewhere": str(tmp_path)}
    change, words = EDITS[edit]
    change(statement)
    with pytest.raises(TrustError, match=words):
        check_chain(statement)


def test_other_studies_and_patients_are_not_told(untouched: Statement) -> None:
    told = [place for place, row in enumerate(untouched["ledger_rows"], start=1) if "text" in row]
    assert told == [4, 5, 6]
    assert OTHER not in json.dumps(untouched) and "patients" not in json.dumps(untouched)


def test_a_chain_too_long_for_a_message_is_left_out(untouched: Statement, tmp_path: Path) -> None:
    entry = next_entry(Head(), {}, SiteKey.open(tmp_path / "key"))
    assert told_rows([entry] * MAX_ROWS, ()) is not None
    assert told_rows([entry] * (MAX_ROWS + 1), ()) is None
    check_chain(untouched | {"ledger_rows": None})
