"""Whoever touches a site's ledger without its key is seen, and the site trains no more: every column, row and file.

``tests/common/privacy/test_ledger.py`` holds single tamperings to the ledger alone; here a whole site meets all of
them, asked by Flower's message as the hub would ask.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch
from flwr.app import Message

import common.training.loop
from client.app import app
from client.site.cohort_notes import check_cohort
from client.site.hospital import Cohort, Site
from client.site.policy import SitePolicy
from common.config.study import DataConfig, ModelConfig, PrivacyConfig, StudyConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.errors import LedgerError, SiteCode
from common.models.parts import select_part
from common.models.weights import trainable_state
from common.models.zoo import build_model
from common.privacy.ledger import Ledger
from common.privacy.randomness import Randomness
from common.protocol.messages import Refusal, Request, TrainAnswer, pack_request, unpack_answer
from common.trust.journal import Head, next_entry, write_head
from common.trust.signing import SiteKey
from simulations.engine.grid import InProcessGrid

STUDY = StudyConfig(
    name="watched",
    data=DataConfig(image_size=0),
    model=ModelConfig(name="mlp", width=8),
    training=TrainingConfig(rounds=9, local_steps=1, batch_patients=10),
    privacy=PrivacyConfig(epsilon=8.0, accountant="rdp"),
)
BEFORE = 2
"""One cohort, and the patients that the study begins with."""
ROWS = BEFORE + 3
"""And the charges of three rounds."""
COLUMNS = ("seq", "body", "previous", "digest", "signature")
CASES = 200
"""Damaged copies of each file; more find nothing else (tried with 2500)."""
Tamper = Callable[[Path], object]


class Hospital:
    """A site with a ledger in ``home``, asked to train through Flower."""

    def __init__(self, home: Path) -> None:
        self.home, self.ledger, self.head = home, home / "ledger.sqlite", home / "ledger.sqlite.head"
        generator = torch.Generator().manual_seed(0)
        patients = tuple(f"p{index}" for index in range(40))
        labels = torch.randint(0, 2, (40,), generator=generator).float()
        data = PatientTensors(torch.rand((40, 6), generator=generator), labels, torch.arange(40), patients)
        self.site = Site(
            name="site_1",
            declared_patients=40,
            cohort=Cohort(train_patients=patients, counts={}, load=lambda study, split: data),
            policy=SitePolicy.emulated(100.0),
            randomness=lambda purpose, round_index: Randomness.from_seed(0, "site_1", purpose, round_index),
            home=home,
            ledger_path=self.ledger,
        )
        model = build_model(STUDY.model, (6,), STUDY.seed)
        select_part(model, STUDY.model.part)
        self._weights = trainable_state(model)

    def asked_to_train(self, round_index: int, monkeypatch: pytest.MonkeyPatch) -> TrainAnswer | Refusal:
        """Returns what the site answers the hub."""
        monkeypatch.setattr("client.app.open_site", lambda context: self.site)
        request = Request(purpose="train", study=STUDY, run="ab", round_index=round_index, arrays=self._weights)
        (reply,) = InProcessGrid(app, num_nodes=1).send_and_receive([Message(pack_request(request), 1, "train")])
        answer = unpack_answer(reply.content)
        assert isinstance(answer, TrainAnswer | Refusal)
        return answer


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of a site's folder, ``0`` to ``3``: after as many rounds."""
    folder = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        hospital = Hospital(folder / "now")
        for rounds in range(4):
            if rounds:
                assert isinstance(hospital.asked_to_train(rounds, patch), TrainAnswer)
            else:
                hospital.home.mkdir()
                with Ledger(hospital.ledger) as ledger:
                    ledger.register_cohort(hospital.site.cohort.train_patients)
                    check_cohort(hospital.site, ledger, STUDY.digest())
            shutil.copytree(hospital.home, folder / str(rounds))
    return folder


@pytest.fixture
def hospital(history: Path, tmp_path: Path) -> Hospital:
    shutil.copytree(history / "3", tmp_path / "site")
    return Hospital(tmp_path / "site")


def assert_refuses(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    """The site says one word to the hub, journals it, computes nothing and leaves the evidence as it is."""
    monkeypatch.setattr(common.training.loop, "train", lambda *_, **__: pytest.fail("the site trained"))
    before = _contents(hospital.ledger)
    answer = hospital.asked_to_train(4, monkeypatch)
    assert isinstance(answer, Refusal) and answer.code is SiteCode.POLICY_REFUSED
    assert _contents(hospital.ledger) == before
    left = json.loads((hospital.home / "egress.jsonl").read_text().splitlines()[-1])
    assert left["round"] == 4 and {field["field"].rpartition(".")[2] for field in left["fields"]} == {
        "status", "site", "code", "nonce"}  # fmt: skip


def verdict(hospital: Hospital) -> str:
    with pytest.raises(LedgerError) as told, Ledger(hospital.ledger) as ledger:
        ledger.verify()
    return str(told.value)


def _contents(path: Path) -> object:
    if not path.exists():
        return None
    with closing(sqlite3.connect(path)) as db:
        try:
            return db.execute("SELECT * FROM rows").fetchall()
        except sqlite3.Error as error:
            return str(error)


# --- rows ------------------------------------------------------------------------------------------------------------


def _sql(*statements: str) -> Tamper:
    """Returns a tampering by hand: triggers off, the statements, and whoever looks finds no trigger missing."""

    def tamper(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            for statement in ("DROP TRIGGER no_update", "DROP TRIGGER no_delete", *statements):
                db.execute(statement)

    return tamper


def _edits() -> Iterator[tuple[str, Tamper, str]]:
    values = {
        "a number": "7",
        "a blob": "x'00'",
        "nothing": "''",
        "another row's": "(SELECT {c} FROM rows WHERE seq={o})",
    }
    for row, column, (name, value) in itertools.product(range(1, ROWS + 1), COLUMNS[1:], values.items()):
        other = ROWS if row == 1 else row - 1
        change = value.format(c=column, o=other)
        yield (
            f"{column} of row {row}: {name}",
            _sql(f"UPDATE rows SET {column} = {change} WHERE seq = {row}"),
            f"Row {row} ",
        )
    for row in range(1, ROWS + 1):
        yield f"seq of row {row}", _sql(f"UPDATE rows SET seq = 9 WHERE seq = {row}"), f"Row {row} "


def _removals() -> Iterator[tuple[str, Tamper, str]]:
    rows = range(1, ROWS + 1)
    for size in rows:
        for gone in itertools.combinations(rows, size):
            kept = [row for row in rows if row not in gone]
            first = min(gone)
            tail = kept == list(range(1, len(kept) + 1))
            text = ",".join(map(str, gone))
            said = f"ends at row {len(kept)}, its head tells of row {ROWS}" if tail else f"Row {first} "
            yield f"rows {text} removed", _sql(f"DELETE FROM rows WHERE seq IN ({text})"), said
    for row in rows[:-1]:
        close_up = [f"DELETE FROM rows WHERE seq = {row}", f"UPDATE rows SET seq = seq - 1 WHERE seq > {row}"]
        yield f"row {row} removed, the rest renumbered", _sql(*close_up), f"Row {row} "


def _swaps() -> Iterator[tuple[str, Tamper, str]]:
    for one, two in itertools.combinations(range(1, ROWS + 1), 2):
        moves = [f"UPDATE rows SET seq = {a} WHERE seq = {b}" for a, b in ((-1, one), (one, two), (two, -1))]
        yield f"rows {one} and {two} swapped", _sql(*moves), f"Row {one} "
    again = f"INSERT INTO rows SELECT {ROWS + 1}, body, previous, digest, signature FROM rows WHERE seq = {ROWS}"
    yield "the last row twice", _sql(again), f"Row {ROWS + 1} "


def _foreign_row(path: Path) -> None:
    """All that a second writer without the site's key can do: a sound row and a sound head, signed by another."""
    with Ledger(path) as ledger:
        last = ledger.head()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        entry = next_entry(last, {"kind": "cohort"}, SiteKey.open(path.parent / "foreign.key"))
        db.execute("INSERT INTO rows VALUES (?,?,?,?,?)", [getattr(entry, c) for c in ("seq", "text", *COLUMNS[2:])])
    write_head(path.with_name(path.name + ".head"), entry.head)


def _signed_anew(path: Path) -> None:
    """The whole ledger again without its last charge, under a key of the forger's own; the site's key is left."""
    forged = path.parent / "forged" / path.name
    with Ledger(forged) as ledger:
        ledger.register_cohort(["p1"])
    for suffix in ("", ".head"):
        shutil.copy(forged.with_name(forged.name + suffix), path.with_name(path.name + suffix))


ROW_TAMPERINGS = {
    name: (tamper, said)
    for name, tamper, said in (
        *_edits(), *_removals(), *_swaps(),
        ("a row of a second writer", _foreign_row, f"Row {ROWS + 1} "),
        ("all of it signed by another key", _signed_anew, "Row 1 "),
    )
}  # fmt: skip


@pytest.mark.parametrize("name", ROW_TAMPERINGS)
def test_the_first_bad_row_is_named_and_the_site_does_not_train(
    name: str, hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    tamper, said = ROW_TAMPERINGS[name]
    tamper(hospital.ledger)
    assert said in verdict(hospital)
    assert_refuses(hospital, monkeypatch)


def test_untouched_it_trains(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(hospital.asked_to_train(4, monkeypatch), TrainAnswer)
    with Ledger(hospital.ledger) as ledger:
        assert ledger.verify() == ROWS + 1


# --- tables that swallow ---------------------------------------------------------------------------------------------

SWALLOWS = {
    "drops the row": "BEFORE INSERT ON rows BEGIN SELECT RAISE(IGNORE); END",
    "deletes the row": "AFTER INSERT ON rows BEGIN DELETE FROM rows WHERE seq = new.seq; END",
    "empties the row": "AFTER INSERT ON rows BEGIN UPDATE rows SET body = '' WHERE seq = new.seq; END",
}


@pytest.mark.parametrize("name", SWALLOWS)
def test_a_row_that_does_not_stay_is_no_charge(name: str, hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows and the head are right until the next charge; that one must already be refused."""
    _sql(f"CREATE TRIGGER t {SWALLOWS[name]}")(hospital.ledger)
    monkeypatch.setattr(Ledger, "_open", _without_our_triggers(Ledger._open))
    assert_refuses(hospital, monkeypatch)


def _without_our_triggers(opened: Callable[[Ledger], None]) -> Callable[[Ledger], None]:
    """As if another writer dropped them after the ledger was opened."""

    def wrapped(self: Ledger) -> None:
        opened(self)
        for trigger in ("no_update", "no_delete"):
            self._db.execute(f"DROP TRIGGER IF EXISTS {trigger}")

    return wrapped


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_an_older_ledger_file_is_a_rollback(
    rounds: int, hospital: Hospital, history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(history / str(rounds) / "ledger.sqlite", hospital.ledger)
    assert f"ends at row {rounds + BEFORE}, its head tells of row {ROWS}" in verdict(hospital)
    assert_refuses(hospital, monkeypatch)


@pytest.mark.parametrize("rounds", [0, 1])
def test_an_older_head_is_seen(rounds: int, hospital: Hospital, history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(history / str(rounds) / "ledger.sqlite.head", hospital.head)
    assert f"head tells of row {rounds + BEFORE}" in verdict(hospital)
    assert_refuses(hospital, monkeypatch)


def test_a_head_one_row_behind_is_mended_and_nothing_is_forgotten(
    hospital: Hospital, history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is what a crash between the two files leaves, so it must be borne; the ledger has all its rows."""
    shutil.copy(history / "2" / "ledger.sqlite.head", hospital.head)
    assert isinstance(hospital.asked_to_train(4, monkeypatch), TrainAnswer)
    with Ledger(hospital.ledger) as ledger:
        assert ledger.verify() == ROWS + 1


@pytest.mark.parametrize("suffix", ["", ".head", ".key"])
@pytest.mark.parametrize("how", ["removed", "emptied", "of another site"])
def test_a_file_that_is_gone_or_foreign_is_missed(
    suffix: str, how: str, hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = hospital.ledger.with_name(hospital.ledger.name + suffix)
    if how == "removed":
        part.unlink()
    elif how == "emptied":
        part.write_bytes(b"")
    else:
        other = Ledger(tmp_path / "other" / "ledger.sqlite")
        other.register_cohort(["x"])
        other.close()
        shutil.copy(tmp_path / "other" / part.name, part)
    verdict(hospital)
    assert_refuses(hospital, monkeypatch)


def test_a_journal_with_rows_that_is_thrown_away_is_a_rollback(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash the newest rows are in SQLite's journal only."""
    with Ledger(hospital.ledger) as ledger:
        ledger.register_cohort(["x"])
        ledger.register_cohort(["y"])
        crashed = shutil.copytree(hospital.home, tmp_path / "crashed")
    found = Hospital(crashed)
    wal = found.ledger.with_name(found.ledger.name + "-wal")
    assert wal.stat().st_size > 0
    wal.unlink()
    assert f"ends at row {ROWS}, its head tells of row {ROWS + 2}" in verdict(found)
    assert_refuses(found, monkeypatch)


def test_ledger_head_and_key_restored_together_are_seen_by_whoever_kept_a_statement(
    hospital: Hospital, history: Path
) -> None:
    """The limit that the documentation states: the files alone cannot tell, a head noted elsewhere can."""
    with Ledger(hospital.ledger) as ledger:
        noted = ledger.head()
    for part in history.glob("1/ledger.sqlite*"):
        shutil.copy(part, hospital.home)
    with Ledger(hospital.ledger) as ledger:
        assert ledger.verify() == BEFORE + 1
        assert noted != Head() and ledger.head() != noted and ledger.head().seq < noted.seq


@pytest.mark.parametrize("suffix", ["", ".head", ".key"])
def test_any_byte_that_matters_is_seen(suffix: str, history: Path, tmp_path: Path) -> None:
    """A flipped bit or a cut end is refused, or it changes nothing that the ledger says."""
    honest = (history / "3" / f"ledger.sqlite{suffix}").read_bytes()
    with Ledger(_copy(history / "3", tmp_path / "honest")) as ledger:
        said = (ledger.verify(), ledger.head())
    chance, refused = random.Random(0), 0
    for case in range(CASES):
        damaged = bytearray(honest)
        if case % 6:
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        else:
            del damaged[chance.randrange(len(damaged)) :]
        path = _copy(history / "3", tmp_path / str(case))
        path.with_name(path.name + suffix).write_bytes(damaged)
        try:
            with Ledger(path) as ledger:
                assert (ledger.verify(), ledger.head()) == said
        except LedgerError:
            refused += 1
    assert refused > CASES // 6


def _copy(home: Path, to: Path) -> Path:
    return shutil.copytree(home, to) / "ledger.sqlite"
