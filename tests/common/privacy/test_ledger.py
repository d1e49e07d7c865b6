"""The ledger over-counts at worst: under crashes, many writers, tampering, full disks and odd clocks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BudgetExceeded, ConfigError, DataError, LedgerError, OncoFedError
from common.privacy import notes
from common.privacy.accounting import Event, epsilon_of
from common.privacy.ledger import Charge, Ledger
from common.privacy.pricing import Price
from common.trust.journal import Head, write_head

EVENT = Event(noise_multiplier=4.0, sampling_rate=0.1, steps=10)
OTHER = Event(noise_multiplier=2.0, sampling_rate=0.05, steps=7)
DELTA = 1e-5
PATIENTS = ("anna", "berta", "clara")


def charge(ledger: Ledger, cohort: str, event: Event = EVENT, **changes: Any) -> Charge:
    """One charge of the fast accountant, with room to spare unless ``changes`` says otherwise."""
    wanted: dict[str, Any] = {"delta": DELTA, "ceiling": 100.0, "accountant": "rdp", "study": "a", "run": "1",
                              "round_index": 1}  # fmt: skip
    return ledger.charge(cohort=cohort, event=event, **(wanted | changes))


def hold(ledger: Ledger, cohort: str, *, study: str = "a", rounds: int, ceiling: float, run: str = "1") -> None:
    """Accepts a study of so many rounds of ``EVENT``."""
    price = Price(study=study, event=EVENT, delta=DELTA, accountant="rdp", ceiling=ceiling)
    ledger.note(lambda rows: notes.reservation(rows, cohort, price, rounds, run))


def cost(*events: Event) -> float:
    return epsilon_of(events, DELTA, "rdp")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "site" / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path) as opened:
        yield opened


@pytest.fixture
def four_rows(path: Path) -> Path:
    """A closed ledger: one cohort and three charges."""
    with Ledger(path) as opened:
        cohort = opened.register_cohort(PATIENTS)
        for index in range(3):
            charge(opened, cohort, round_index=index)
    return path


class TestComposition:
    def test_composes_over_runs_studies_and_reopening(self, path: Path) -> None:
        charges = []
        for study, run, event in (("a", "1", EVENT), ("a", "2", EVENT), ("b", "3", OTHER)):
            with Ledger(path) as opened:
                charges.append(charge(opened, opened.register_cohort(PATIENTS), event, study=study, run=run))
        assert [c.before for c in charges] == [0.0, cost(EVENT), cost(EVENT, EVENT)]
        assert [c.after for c in charges] == [cost(EVENT), cost(EVENT, EVENT), cost(EVENT, EVENT, OTHER)]

    def test_a_cohort_is_its_patients_not_their_order_or_spelling(self, ledger: Ledger) -> None:
        cohort = ledger.register_cohort(["Bj\u00f6rk", "anna"])
        assert ledger.register_cohort(["anna", "Bjo\u0308rk", "anna"]) == cohort
        assert ledger.register_cohort(["anna"]) != cohort

    def test_shared_patients_pay_for_both_cohorts(self, ledger: Ledger) -> None:
        left, right = ledger.register_cohort(["a", "b"]), ledger.register_cohort(["b", "c"])
        apart = ledger.register_cohort(["z"])
        charge(ledger, left)
        assert charge(ledger, right, OTHER) == Charge(cost(EVENT), cost(EVENT, OTHER))
        assert ledger.spent(left, DELTA, "rdp") == ledger.spent(right, DELTA, "rdp") == cost(EVENT, OTHER)
        assert ledger.spent(apart, DELTA, "rdp") == 0.0

    def test_a_chain_of_overlaps_charges_nobody_for_strangers(self, ledger: Ledger) -> None:
        """Nobody is in all three cohorts, so no patient has spent all three."""
        cohorts = [ledger.register_cohort(pair) for pair in (["a", "b"], ["b", "c"], ["c", "d"])]
        for cohort in cohorts:
            charge(ledger, cohort)
        assert {ledger.spent(cohort, DELTA, "rdp") for cohort in cohorts} == {cost(EVENT, EVENT)}

    @given(
        st.lists(st.sets(st.sampled_from("abcde"), min_size=1).map(frozenset), min_size=1, max_size=4),
        st.data(),
    )
    def test_spent_is_the_largest_over_patients_of_a_naive_account(
        self, tmp_path_factory: pytest.TempPathFactory, cohorts: list[frozenset[str]], data: st.DataObject
    ) -> None:
        charged = data.draw(st.lists(st.tuples(st.sampled_from(cohorts), st.sampled_from([EVENT, OTHER])), max_size=4))
        with Ledger(tmp_path_factory.mktemp("ledger") / "l.sqlite") as opened:
            names = {members: opened.register_cohort(members) for members in cohorts}
            for members, event in charged:
                charge(opened, names[members], event)
            for members in cohorts:
                naive = max(cost(*(event for held, event in charged if patient in held)) for patient in members)
                assert opened.spent(names[members], DELTA, "rdp") == naive

    def test_events_are_exact_and_in_order(self, ledger: Ledger) -> None:
        odd = Event(noise_multiplier=0.1 + 0.2, sampling_rate=1 / 3, steps=3)
        cohort = ledger.register_cohort(PATIENTS)
        charge(ledger, cohort, odd)
        charge(ledger, cohort, study="b", run="r", round_index=7)
        first, second = ledger.events(cohort)
        assert first.event == odd
        assert (second.study, second.run, second.round_index, second.delta) == ("b", "r", 7, DELTA)
        assert ledger.events(cohort, "b") == (second,)

    def test_the_events_of_a_cohort_include_those_of_an_earlier_one_with_its_patients(self, ledger: Ledger) -> None:
        """A study whose site gains a patient must not look as if it began anew."""
        charge(ledger, ledger.register_cohort(["a", "b"]))
        grown = ledger.register_cohort(["a", "b", "c"])
        charge(ledger, grown)
        assert len(ledger.events(grown, "a")) == len(ledger.history(grown, DELTA, "rdp", "a")) == 2

    def test_history_is_that_of_the_most_exposed_patient(self, ledger: Ledger) -> None:
        left, right = ledger.register_cohort(["a", "b"]), ledger.register_cohort(["b"])
        charge(ledger, left)
        charge(ledger, right, OTHER)
        assert [row.event for row in ledger.history(left, DELTA, "rdp")] == [EVENT, OTHER]


class TestCeiling:
    def test_refuses_and_writes_nothing(self, ledger: Ledger) -> None:
        cohort = ledger.register_cohort(PATIENTS)
        charge(ledger, cohort)
        with pytest.raises(BudgetExceeded, match=r"spent epsilon .* above the site's ceiling"):
            charge(ledger, cohort, ceiling=(cost(EVENT) + cost(EVENT, EVENT)) / 2)
        assert ledger.spent(cohort, DELTA, "rdp") == cost(EVENT)

    def test_a_refusal_leaves_with_a_code_only(self) -> None:
        assert BudgetExceeded("numbers").code == "budget-refused"

    def test_a_ceiling_met_exactly_is_kept(self, ledger: Ledger) -> None:
        charge(ledger, ledger.register_cohort(PATIENTS), ceiling=cost(EVENT))

    @pytest.mark.parametrize("ceiling", [float("nan"), 0.0, -1.0])
    def test_a_ceiling_that_says_nothing_is_closed(self, ledger: Ledger, ceiling: float) -> None:
        cohort = ledger.register_cohort(PATIENTS)
        with pytest.raises(BudgetExceeded):
            charge(ledger, cohort, ceiling=ceiling)

    def test_the_ceiling_of_a_study_counts_that_study_alone(self, ledger: Ledger) -> None:
        cohort = ledger.register_cohort(PATIENTS)
        charge(ledger, cohort, study="a", study_ceiling=cost(EVENT))
        charge(ledger, cohort, study="b", study_ceiling=cost(EVENT))
        with pytest.raises(BudgetExceeded, match="for one study"):
            charge(ledger, cohort, study="a", study_ceiling=cost(EVENT))

    def test_an_unknown_cohort_accountant_or_delta_charges_nothing(self, ledger: Ledger) -> None:
        cohort = ledger.register_cohort(PATIENTS)
        with pytest.raises(LedgerError, match="register it first"):
            charge(ledger, "0" * 32)
        with pytest.raises(ConfigError):
            charge(ledger, cohort, accountant="gdp")
        with pytest.raises(ConfigError):
            charge(ledger, cohort, delta=float("nan"))
        assert ledger.events(cohort) == ()

    def test_an_empty_cohort_is_refused(self, ledger: Ledger) -> None:
        with pytest.raises(DataError):
            ledger.register_cohort([])

    def test_what_can_be_held_is_what_can_be_charged(self, ledger: Ledger) -> None:
        cohort = ledger.register_cohort(PATIENTS)
        charge(ledger, cohort, OTHER, study="before")
        ceiling = cost(OTHER, *[EVENT] * 4)
        with pytest.raises(BudgetExceeded, match=f"end at epsilon {cost(OTHER, *[EVENT] * 9):.3f} .* in round 5 of 9"):
            hold(ledger, cohort, rounds=9, ceiling=ceiling)
        hold(ledger, cohort, rounds=4, ceiling=ceiling)
        for _ in range(4):
            charge(ledger, cohort, ceiling=ceiling)
        with pytest.raises(BudgetExceeded):
            charge(ledger, cohort, ceiling=ceiling)


class TestPrivacyOfTheFile:
    def test_no_identifier_of_a_patient_is_in_any_file(self, path: Path) -> None:
        with Ledger(path) as opened:
            charge(opened, opened.register_cohort(["patient-4711", "patient-4712"]))
            held = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert b"patient-47" not in held

    def test_two_sites_name_the_same_patients_differently(self, tmp_path: Path) -> None:
        with Ledger(tmp_path / "a" / "l") as one, Ledger(tmp_path / "b" / "l") as two:
            assert one.register_cohort(PATIENTS) != two.register_cohort(PATIENTS)


class TestClock:
    def test_a_clock_set_back_changes_nothing(self, path: Path) -> None:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        for days in (0, -400, 3):
            with Ledger(path, clock=lambda days=days: now + timedelta(days=days)) as opened:
                cohort = opened.register_cohort(PATIENTS)
                charge(opened, cohort)
        with Ledger(path) as opened:
            assert [row.time[:10] for row in opened.events(cohort)] == ["2026-01-01", "2024-11-27", "2026-01-04"]
            assert opened.spent(cohort, DELTA, "rdp") == cost(EVENT, EVENT, EVENT)
            assert opened.verify() == 4


# --- crashes ---------------------------------------------------------------------------------------------------------

CHEAP = """
import os, resource, signal, sys
from pathlib import Path
import common.privacy.exposure as exposure
exposure.epsilon_of = lambda events, delta, accountant: float(len(events))  # spares each process the import of torch
"""
CRASHER = """
import common.trust.durable as durable, common.privacy.ledger as module
from common.privacy.accounting import Event

point, path, charges = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
armed = False

def around(owner, name, before, after):
    inner = getattr(owner, name)
    def wrapped(*args, **kwargs):
        if armed and point == before: die()
        result = inner(*args, **kwargs)
        if armed and point == after: die()
        return result
    setattr(owner, name, wrapped)

around(module.Ledger, "_insert", "before-insert", "before-commit")
around(module, "write_head", "after-commit", "after-head")
around(durable.os, "fsync", "before-head-fsync", "")
around(durable.Path, "replace", "before-head-rename", "after-head-rename")

with module.Ledger(path) as ledger:
    cohort = ledger.register_cohort(["a", "b"])
    for index in range(charges):
        armed = index == charges - 1
        ledger.charge(cohort=cohort, event=Event(4.0, 0.1, 10), delta=1e-5, ceiling=100.0, accountant="rdp",
                      study="s", run="r", round_index=index)
        print("returned", index, flush=True)
"""
POINTS = (
    "before-insert", "before-commit", "after-commit", "before-head-fsync", "before-head-rename", "after-head-rename",
    "after-head",
)  # fmt: skip
COMMITTED = POINTS[2:]


class TestCrash:
    @pytest.mark.parametrize("point", POINTS)
    def test_kill_at_any_point_loses_nothing_that_was_returned(
        self, point: str, path: Path, project_root: Path
    ) -> None:
        died = subprocess.run(
            [sys.executable, "-c", CHEAP + CRASHER, point, str(path), "3"],
            cwd=project_root,
            capture_output=True,
            text=True,
        )
        assert died.returncode == -signal.SIGKILL, died.stderr
        returned = died.stdout.count("returned")
        assert returned == 2
        with Ledger(path) as opened:
            cohort = opened.register_cohort(["a", "b"])
            assert len(opened.events(cohort)) == (3 if point in COMMITTED else 2)
            assert opened.spent(cohort, DELTA, "rdp") >= cost(*[EVENT] * returned)
            charge(opened, cohort)
            assert opened.verify() == opened.head().seq
        assert json.loads(_head(path).read_text())["seq"] == opened_rows(path), "the head was mended"

    def test_crash_after_crash_is_no_rollback(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each writer mends the head that the one before left behind, so it never falls behind by two."""
        with Ledger(path) as opened:
            cohort = opened.register_cohort(PATIENTS)

            def lost_after_a_commit(head_path: Path, head: Head) -> None:
                if not opened._db.in_transaction:
                    raise OSError(5, "power lost")
                write_head(head_path, head)

            with monkeypatch.context() as patch:
                patch.setattr("common.privacy.ledger.write_head", lost_after_a_commit)
                for _ in range(3):
                    with pytest.raises(LedgerError, match="power lost"):
                        charge(opened, cohort)
        with Ledger(path) as opened:
            assert opened.verify() == 4
            assert opened.spent(cohort, DELTA, "rdp") == cost(EVENT, EVENT, EVENT)

    def test_a_crash_while_the_ledger_is_made_leaves_one_that_opens(self, path: Path) -> None:
        """The key is the last of the three files, so what a crash leaves is file, or file and head."""
        for left in (path.name,), (path.name, _head(path).name):
            shutil.rmtree(path.parent, ignore_errors=True)
            Ledger(path).close()
            for file in list(path.parent.iterdir()):
                if file.name not in left:
                    file.unlink()
            with Ledger(path) as opened:
                charge(opened, opened.register_cohort(PATIENTS))
                assert opened.verify() == 2


def _head(path: Path) -> Path:
    return path.with_name(path.name + ".head")


def opened_rows(path: Path) -> int:
    with sqlite3.connect(path) as db:
        count = int(db.execute("SELECT count(*) FROM rows").fetchone()[0])
    db.close()
    return count


# --- many writers ----------------------------------------------------------------------------------------------------


SPENDER = """
from common.errors import BudgetExceeded
from common.privacy.accounting import Event
from common.privacy.ledger import Ledger

sys.stdin.read()  # all begin when the test closes their pipes
accepted = 0
try:
    while True:
        with Ledger(Path(sys.argv[1])) as ledger:
            cohort = ledger.register_cohort(["anna", "berta", "clara"])
            ledger.charge(cohort=cohort, event=Event(4.0, 0.1, 10), delta=1e-5, ceiling=40.0, accountant="rdp",
                          study="s", run="r", round_index=accepted)
        accepted += 1
except BudgetExceeded:
    print(accepted)
"""


class TestManyProcesses:
    def test_together_they_spend_the_ceiling_and_no_more(self, path: Path, project_root: Path) -> None:
        """They start on no file at all, so making it is contended too."""
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", CHEAP + SPENDER, str(path)],
                cwd=project_root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for _ in range(4)
        ]  # fmt: skip
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.close()
            worker.stdin = None
        accepted = [int(worker.communicate(timeout=120)[0]) for worker in workers]
        with Ledger(path) as opened:
            cohort = opened.register_cohort(PATIENTS)
            assert sum(accepted) == len(opened.events(cohort)) == 40
            assert opened.verify() == 41


# --- tampering -------------------------------------------------------------------------------------------------------

Tamper = Callable[[sqlite3.Connection], object]


def _edit(db: sqlite3.Connection) -> None:
    body = json.loads(db.execute("SELECT body FROM rows WHERE seq = 2").fetchone()[0])
    body["event"]["noise_multiplier"] = 400.0
    db.execute("UPDATE rows SET body = ? WHERE seq = 2", [json.dumps(body, sort_keys=True, separators=(",", ":"))])


def _edit_and_mend_the_chain(db: sqlite3.Connection) -> None:
    """All that somebody without the key can do."""
    from common.trust.journal import digest_of

    _edit(db)
    previous = db.execute("SELECT digest FROM rows WHERE seq = 1").fetchone()[0]
    for seq, body in db.execute("SELECT seq, body FROM rows WHERE seq > 1 ORDER BY seq").fetchall():
        digest = digest_of(seq, body, previous)
        db.execute("UPDATE rows SET previous = ?, digest = ? WHERE seq = ?", (previous, digest, seq))
        previous = digest


def _swap(db: sqlite3.Connection) -> None:
    rows = {seq: rest for seq, *rest in db.execute("SELECT * FROM rows WHERE seq IN (2, 3)")}
    db.execute("DELETE FROM rows WHERE seq IN (2, 3)")
    db.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", [(2, *rows[3]), (3, *rows[2])])


def _drop_and_renumber(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM rows WHERE seq = 2")
    db.execute("UPDATE rows SET seq = seq - 1 WHERE seq > 2")


def _second_writer(db: sqlite3.Connection) -> None:
    """A well-formed row of somebody with another key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from common.trust.journal import Head, next_entry
    from common.trust.signing import SiteKey

    digest = db.execute("SELECT digest FROM rows WHERE seq = 4").fetchone()[0]
    entry = next_entry(Head(4, digest), {"kind": "cohort"}, SiteKey(Ed25519PrivateKey.generate()))
    values = (entry.seq, entry.text, entry.previous, entry.digest, entry.signature)
    db.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", values)


TAMPERINGS: dict[str, tuple[Tamper, str]] = {
    "edited": (_edit, "Row 2 "),
    "edited and re-chained": (_edit_and_mend_the_chain, "Row 2 "),
    "deleted first": (lambda db: db.execute("DELETE FROM rows WHERE seq = 1"), "Row 1 "),
    "deleted middle": (lambda db: db.execute("DELETE FROM rows WHERE seq = 3"), "Row 3 "),
    "deleted and renumbered": (_drop_and_renumber, "Row 2 "),
    "swapped": (_swap, "Row 2 "),
    "signature of another row": (
        lambda db: db.execute("UPDATE rows SET signature = (SELECT signature FROM rows WHERE seq = 4) WHERE seq = 3"),
        "Row 3 ",
    ),
    "signature not hex": (lambda db: db.execute("UPDATE rows SET signature = 'zz' WHERE seq = 3"), "Row 3 "),
    "signature a blob": (lambda db: db.execute("UPDATE rows SET signature = x'00ff' WHERE seq = 3"), "Row 3 "),
    "body a blob": (lambda db: db.execute("UPDATE rows SET body = x'00ff' WHERE seq = 3"), "Row 3 "),
    "last row cut off": (lambda db: db.execute("DELETE FROM rows WHERE seq = 4"), "ends at row 3, .* row 4"),
    "all cut off": (lambda db: db.execute("DELETE FROM rows"), "ends at row 0, .* row 4"),
    "second writer": (_second_writer, "Row 5 "),
    "table dropped": (lambda db: db.execute("DROP TABLE rows"), "ends at row 0, .* row 4"),
}


class TestTamper:
    @pytest.mark.parametrize("name", TAMPERINGS)
    def test_verify_names_the_first_bad_row_and_nothing_can_be_charged(self, name: str, four_rows: Path) -> None:
        tamper, message = TAMPERINGS[name]
        _tamper(four_rows, tamper)
        with Ledger(four_rows) as opened:
            for use in (
                opened.verify,
                lambda: opened.register_cohort(PATIENTS),
                lambda: charge(opened, "0" * 32),
                lambda: opened.spent("0" * 32, DELTA),
            ):
                with pytest.raises(LedgerError, match=message):
                    use()
        assert LedgerError.exit_code == 5

    @pytest.mark.parametrize("name", ["edited", "edited and re-chained", "last row cut off"])
    def test_tampering_is_seen_by_a_ledger_that_is_already_open(self, name: str, four_rows: Path) -> None:
        tamper, message = TAMPERINGS[name]
        with Ledger(four_rows) as opened:
            opened.verify()
            _tamper(four_rows, tamper)
            with pytest.raises(LedgerError, match=message):
                charge(opened, "0" * 32)

    @pytest.mark.parametrize("statement", ["UPDATE rows SET body = ''", "DELETE FROM rows"])
    def test_plain_sql_cannot_change_a_row(self, four_rows: Path, statement: str) -> None:
        db = sqlite3.connect(four_rows)
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(statement)
        db.close()

    def test_a_restored_older_copy_is_a_rollback(self, path: Path, tmp_path: Path) -> None:
        with Ledger(path) as opened:
            cohort = opened.register_cohort(PATIENTS)
            charge(opened, cohort)
        shutil.copy(path, tmp_path / "backup")
        with Ledger(path) as opened:
            charge(opened, cohort)
        shutil.copy(tmp_path / "backup", path)
        with Ledger(path) as opened, pytest.raises(LedgerError, match="older copy was restored"):
            charge(opened, cohort)

    def test_an_older_head_is_no_way_around(self, path: Path, tmp_path: Path) -> None:
        """A head may be one row behind after a crash, never two."""
        with Ledger(path) as opened:
            cohort = opened.register_cohort(PATIENTS)
            shutil.copy(_head(path), tmp_path / "head")
            charge(opened, cohort)
            charge(opened, cohort)
        shutil.copy(tmp_path / "head", _head(path))
        with Ledger(path) as opened, pytest.raises(LedgerError, match="tells of row 1"):
            opened.verify()

    def test_a_rewritten_past_of_the_same_length_is_seen(self, path: Path, tmp_path: Path) -> None:
        """Rows that the site's own key signed, but not those that the head tells of."""
        with Ledger(path) as opened:
            cohort = opened.register_cohort(PATIENTS)
        copy = tmp_path / "copy"
        shutil.copytree(path.parent, copy)
        for folder, event in ((path.parent, EVENT), (copy, OTHER)):
            with Ledger(folder / path.name) as opened:
                charge(opened, cohort, event)
        shutil.copy(copy / path.name, path)
        with Ledger(path) as opened, pytest.raises(LedgerError, match="older copy"):
            opened.verify()

    @pytest.mark.parametrize("suffix", ["", ".head", ".key"])
    def test_a_removed_part_is_missed(self, four_rows: Path, suffix: str) -> None:
        four_rows.with_name(four_rows.name + suffix).unlink()
        with pytest.raises(LedgerError, match="gone"):
            Ledger(four_rows)

    def test_starting_over_with_the_old_key_is_refused(self, four_rows: Path) -> None:
        four_rows.unlink()
        _head(four_rows).unlink()
        with pytest.raises(LedgerError, match="gone"):
            Ledger(four_rows)

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"seq": "x", "digest": ""}', "null"])
    def test_a_damaged_head_is_named(self, four_rows: Path, text: str) -> None:
        _head(four_rows).write_text(text)
        with Ledger(four_rows) as opened, pytest.raises(LedgerError, match="is damaged"):
            opened.verify()

    def test_a_head_on_another_disk(self, path: Path, tmp_path: Path) -> None:
        elsewhere = tmp_path / "other" / "head"
        elsewhere.parent.mkdir()
        with Ledger(path, head_path=elsewhere) as opened:
            charge(opened, opened.register_cohort(PATIENTS))
        assert json.loads(elsewhere.read_text())["seq"] == 2
        assert not _head(path).exists()

    def test_a_file_that_is_no_ledger(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
        with pytest.raises(LedgerError, match="cannot be used"):
            Ledger(path)


def _tamper(path: Path, tamper: Tamper) -> None:
    db = sqlite3.connect(path)
    for trigger in ("no_update", "no_delete"):
        db.execute(f"DROP TRIGGER {trigger}")
    tamper(db)
    db.commit()
    db.close()


# --- disks -----------------------------------------------------------------------------------------------------------

FULL_DISK = """
from common.errors import LedgerError
from common.privacy.accounting import Event
from common.privacy.ledger import Ledger

with Ledger(Path(sys.argv[1])) as ledger:
    cohort = ledger.register_cohort(["a", "b"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
    returned = 0
    try:
        for index in range(1000):
            ledger.charge(cohort=cohort, event=Event(4.0, 0.1, 10), delta=1e-5, ceiling=1e6, accountant="rdp",
                          study="s", run="r", round_index=index)
            returned += 1
    except LedgerError as error:
        print(returned, error)
"""


class TestDisk:
    @pytest.mark.parametrize("limit", [10, 9_000, 33_000, 60_000])
    def test_a_full_disk_is_a_clean_refusal_and_forgets_nothing(
        self, path: Path, project_root: Path, limit: int
    ) -> None:
        done = subprocess.run(
            [sys.executable, "-c", CHEAP + FULL_DISK, str(path), str(limit)],
            cwd=project_root,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "cannot be used" in done.stdout
        returned = int(done.stdout.split()[0])
        with Ledger(path) as opened:
            cohort = opened.register_cohort(["a", "b"])
            assert returned <= len(opened.events(cohort)) <= returned + 1
            charge(opened, cohort)

    @pytest.mark.parametrize("call", ["os.fsync", "Path.replace"])
    def test_a_failing_head_is_a_clean_refusal_that_over_counts(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        with Ledger(path) as opened:
            cohort = opened.register_cohort(PATIENTS)
            with monkeypatch.context() as patch:
                patch.setattr(f"common.trust.durable.{call}", _full)
                with pytest.raises(LedgerError, match="No space left"):
                    charge(opened, cohort)
            assert len(opened.events(cohort)) == 1
            assert charge(opened, cohort) == Charge(cost(EVENT), cost(EVENT, EVENT))

    def test_a_read_only_ledger_is_a_clean_refusal(self, four_rows: Path) -> None:
        with Ledger(four_rows) as opened:
            cohort = opened.register_cohort(PATIENTS)
            opened._db.execute("PRAGMA query_only = ON")  # what SQLite says on a disk mounted read-only
            with pytest.raises(LedgerError, match="readonly"):
                charge(opened, cohort)
            opened._db.execute("PRAGMA query_only = OFF")
            assert len(opened.events(cohort)) == 3

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(OncoFedError, match="cannot be used"):
            Ledger(tmp_path / "file" / "ledger.sqlite")


def _full(*_: object, **__: object) -> None:
    raise OSError(28, os.strerror(28))
