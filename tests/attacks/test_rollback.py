"""Attacks on the ledger's memory: an older copy of all its files is put back, or a copy of them is run beside it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.site.hospital import Cohort, Site
from client.site.policy import SitePolicy
from client.site.restore import Evidence, since
from common.config.study import StudyConfig, compose
from common.errors import BudgetExceeded, DataError, LedgerError, TrustError
from common.privacy.accounting import Event
from common.privacy.backup import Since, read_backup, restore, write_backup
from common.privacy.ledger import Ledger
from common.privacy.plan import PrivacyPlan
from common.privacy.pricing import Promise, most_charges
from common.privacy.randomness import Randomness
from common.privacy.signature import signed
from common.privacy.statement import Account, privacy_statement
from server.run.heads import Heads, compare

STUDY = compose(["privacy.accountant=rdp", "privacy.epsilon=2", "training.rounds=5"])
PLAN = PrivacyPlan.for_site(STUDY.privacy, STUDY.training, 40)
PATIENTS = ("anna", "berta", "clara")


def charge(path: Path, round_index: int, study: StudyConfig = STUDY, patients: tuple[str, ...] = PATIENTS) -> None:
    with Ledger(path) as ledger:
        ledger.charge(
            cohort=ledger.register_cohort(patients), event=PLAN.event(), delta=PLAN.delta, ceiling=100.0,
            accountant="rdp", study=study.digest(), run="r", round_index=round_index,
        )  # fmt: skip


def spent(path: Path, patients: tuple[str, ...] = PATIENTS) -> float:
    with Ledger(path) as ledger:
        return ledger.spent(ledger.register_cohort(patients), PLAN.delta, "rdp")


def statement(path: Path) -> Mapping[str, Any]:
    with Ledger(path) as ledger:
        account = Account.of(ledger, ledger.register_cohort(PATIENTS), STUDY.digest(), PLAN, 100.0)
        facts: dict[str, Any] = {"study_digest": STUDY.digest(), "seeded": False, "synthetic": False}
        said = privacy_statement(site="north", plan=PLAN, account=account, declared_patients=40, **facts)
        return signed(said, ledger.sign)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with two charges."""
    place = tmp_path / "site" / "ledger.sqlite"
    for round_index in (1, 2):
        charge(place, round_index)
    return place


def copied(path: Path, to: Path) -> Path:
    shutil.copytree(path.parent, to)
    return to / path.name


class TestTheHubSees:
    @pytest.fixture
    def heads(self, tmp_path: Path) -> Heads:
        return Heads(tmp_path / "heads.json")

    def test_a_ledger_that_goes_on(self, path: Path, heads: Heads) -> None:
        assert heads.take("north", statement(path)) == "first"
        assert heads.take("north", statement(path)) == "later"
        charge(path, 3)
        assert heads.take("north", statement(path)) == "later"
        assert heads.all()["north"].seq == 4 and not heads.all()["north"].problem

    def test_all_files_put_back_together(self, path: Path, heads: Heads, tmp_path: Path) -> None:
        """The files alone cannot tell; the hub can, and remembers the later head."""
        old = copied(path, tmp_path / "old")
        charge(path, 3)
        heads.take("north", statement(path))
        assert spent(old) < spent(path)
        assert heads.take("north", statement(old)) == "went back"
        assert heads.all()["north"].seq == 4 and heads.all()["north"].problem == "went back"
        heads.take("north", statement(path))
        assert heads.all()["north"].problem == "went back", "it stays until a person has accepted it"

    def test_files_put_back_and_written_to(self, path: Path, heads: Heads, tmp_path: Path) -> None:
        old = copied(path, tmp_path / "old")
        charge(path, 3)
        heads.take("north", statement(path))
        for round_index in (4, 5, 6):
            charge(old, round_index)
        assert heads.take("north", statement(old)) == "forked"

    def test_a_clone_and_not_its_original(self, path: Path, heads: Heads, tmp_path: Path) -> None:
        heads.take("north", statement(path))
        clone = copied(path, tmp_path / "clone")
        charge(path, 3)
        charge(clone, 9)
        assert heads.take("north", statement(path)) == "later"
        assert heads.take("north", statement(clone)) == "forked"

    def test_a_new_ledger_under_a_new_key(self, path: Path, heads: Heads, tmp_path: Path) -> None:
        heads.take("north", statement(path))
        charge(tmp_path / "fresh" / "ledger.sqlite", 1)
        assert heads.take("north", statement(tmp_path / "fresh" / "ledger.sqlite")) == "another key"

    def test_a_ledger_that_shows_no_rows(self, path: Path, heads: Heads) -> None:
        heads.take("north", statement(path))
        known = heads.all()["north"]
        charge(path, 3)
        assert compare(known, dict(statement(path)) | {"ledger_rows": None}) == "unproven"

    def test_a_statement_that_was_changed_is_not_taken(self, path: Path, heads: Heads) -> None:
        with pytest.raises(TrustError):
            heads.take("north", dict(statement(path)) | {"epsilon": 0.0})
        assert heads.all() == {}

    def test_a_restored_backup_goes_on_where_the_hub_saw_it(self, path: Path, heads: Heads, tmp_path: Path) -> None:
        with Ledger(path) as ledger:
            write_backup(ledger, tmp_path / "b.json")
        charge(path, 3)
        heads.take("north", statement(path))
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        seen = heads.all()["north"]
        from common.trust.journal import Head

        restore(path, read_backup(tmp_path / "b.json"), later(heads=[Head(seen.seq, seen.digest)]))
        assert compare(seen, statement(path)) == "later"


def change_row(path: Path, seq: int) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TRIGGER no_update")
        db.execute("UPDATE rows SET body = body || ' ' WHERE seq = ?", [seq])
        db.commit()


def later(**changes: Any) -> Since:
    """What may have been spent when the study of the backup is known."""
    promise = Promise("", STUDY.digest(), PLAN.event(), most_charges(5), PLAN.delta, "rdp")
    return Since(**({"studies": [promise]} | changes))


class TestRestore:
    @settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(before=st.integers(0, 4), after=st.integers(0, 3), alone=st.booleans())
    def test_it_never_tells_less_than_was_spent(
        self, tmp_path_factory: pytest.TempPathFactory, before: int, after: int, alone: bool
    ) -> None:
        folder = tmp_path_factory.mktemp("restore")
        path = folder / "site" / "ledger.sqlite"
        with Ledger(path) as ledger:
            ledger.register_cohort(PATIENTS)
        for round_index in range(before):
            charge(path, round_index)
        with Ledger(path) as ledger:
            write_backup(ledger, folder / "b.json")
        for round_index in range(after):
            charge(path, before + round_index, patients=("anna",) if alone else PATIENTS)
        truth = {name: spent(path, (name,)) for name in PATIENTS}
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        restore(path, read_backup(folder / "b.json"), later())
        assert all(spent(path, (name,)) >= truth[name] for name in PATIENTS)
        with pytest.raises(BudgetExceeded), Ledger(path) as ledger:
            ledger.charge(
                cohort=ledger.register_cohort(PATIENTS), event=PLAN.event(), delta=PLAN.delta, ceiling=100.0,
                accountant="rdp", study=STUDY.digest(), run="r", round_index=9, charges=most_charges(5),
            )  # fmt: skip

    def test_what_statements_tell_of_is_charged_too(self, path: Path, tmp_path: Path) -> None:
        with Ledger(path) as ledger:
            write_backup(ledger, tmp_path / "b.json")
        foreign = Event(1.1, 0.3, 9)
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        restore(path, read_backup(tmp_path / "b.json"), later(lifetime=[foreign]))
        with Ledger(path) as ledger:
            assert foreign in [row.event for row in ledger.history(ledger.register_cohort(PATIENTS), 1e-5, "rdp")]

    def test_rows_of_the_damaged_file_that_can_be_believed_are_kept(self, path: Path, tmp_path: Path) -> None:
        with Ledger(path) as ledger:
            write_backup(ledger, tmp_path / "b.json")
        charge(path, 3)
        path.with_name(path.name + ".head").unlink()
        restore(path, read_backup(tmp_path / "b.json"), Since())
        with Ledger(path) as ledger:
            assert [row.round_index for row in ledger.charges()] == [1, 2, 3]

    @pytest.mark.parametrize("how", ["an old folder copied back and written to", "a damaged row", "a cut end"])
    def test_signed_rows_that_cannot_be_kept_are_charged(self, path: Path, tmp_path: Path, how: str) -> None:
        """Before, what did not go on from the backup was forgotten, with the rows at hand and the notes gone."""
        old = copied(path, tmp_path / "old")
        charge(path, 3)
        with Ledger(path) as ledger:
            write_backup(ledger, tmp_path / "b.json")
        backup = read_backup(tmp_path / "b.json")
        if how == "an old folder copied back and written to":
            shutil.rmtree(path.parent)
            shutil.copytree(old.parent, path.parent)
        other = dataclasses.replace(STUDY, name="other")
        for round_index in range(1, 10):
            charge(path, round_index, other, patients=("anna", "emma"))
        with Ledger(path) as ledger:
            ledger.note(lambda rows: {"kind": "scored", "patients": ["f"]})
        truth = {name: spent(path, (name,)) for name in (*PATIENTS, "emma")}
        if how == "a damaged row":
            change_row(path, 5)
        elif how == "a cut end":
            path.with_name(path.name + ".head").unlink()
        restore(path, backup, later(heads=[backup.head]))
        assert all(spent(path, (name,)) >= truth[name] for name in truth)
        with Ledger(path) as ledger:
            assert "f" in {patient for row in ledger.rows() if row["kind"] == "scored" for patient in row["patients"]}

    @pytest.mark.parametrize("how", ["forked", "damaged"])
    def test_a_study_without_privacy_among_them_stays_unbounded(self, path: Path, tmp_path: Path, how: str) -> None:
        old = copied(path, tmp_path / "old")
        charge(path, 3)
        with Ledger(path) as ledger:
            write_backup(ledger, tmp_path / "b.json")
        backup = read_backup(tmp_path / "b.json")
        if how == "forked":
            shutil.rmtree(path.parent)
            shutil.copytree(old.parent, path.parent)
        charge(path, 4)
        with Ledger(path) as ledger:
            ledger.charge_unbounded(cohort=ledger.register_cohort(PATIENTS), study="f" * 64, run="x")
        if how == "damaged":
            change_row(path, 5)
        restore(path, backup, later(heads=[backup.head]))
        assert spent(path) == float("inf")

    def test_no_charge_falls_between_the_old_file_and_the_new(
        self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The lock was let go while the new file was made."""
        with Ledger(path) as ledger:
            write_backup(ledger, tmp_path / "b.json")
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        from common.privacy import backup as module
        from common.services.supervisor import is_held

        held = list[bool]()
        missing = module._missing
        monkeypatch.setattr(
            module, "_missing", lambda *a: held.append(is_held(path.with_name(path.name + ".lock"))) or missing(*a)
        )
        restore(path, read_backup(tmp_path / "b.json"), later())
        assert held == [True]

    @pytest.mark.parametrize("later_rounds", [0, 1, 5])
    def test_a_ledger_that_was_set_back_replaces_no_backup(self, path: Path, tmp_path: Path, later_rounds: int) -> None:
        """Before, the next backup overwrote the evidence, and a restore from a longer fork's found nothing to do."""
        old, place = copied(path, tmp_path / "old"), tmp_path / "b.json"
        charge(path, 3)
        for _ in range(2):
            with Ledger(path) as ledger:
                write_backup(ledger, place)
        truth, kept = spent(path), place.read_bytes()
        shutil.rmtree(path.parent)
        shutil.copytree(old.parent, path.parent)
        for round_index in range(later_rounds):
            charge(path, round_index, patients=("emma", "anna"))
        truth = max(truth, spent(path))
        with pytest.raises(LedgerError, match="set back"), Ledger(path) as ledger:
            write_backup(ledger, place)
        assert place.read_bytes() == kept
        restore(path, read_backup(place), later())
        assert spent(path) >= truth
        with Ledger(path) as ledger:
            assert write_backup(ledger, place).seq == ledger.head().seq

    def test_a_backup_replaces_no_other_file(self, path: Path, tmp_path: Path) -> None:
        manifest = tmp_path / "manifest.csv"
        manifest.write_text("image,patient,label")
        for file in (manifest, path):
            before = file.read_bytes()
            with pytest.raises(LedgerError, match="no backup"), Ledger(path) as ledger:
                write_backup(ledger, file)
            assert file.read_bytes() == before

    def test_a_ledger_that_can_be_believed_is_not_set_back(self, path: Path, tmp_path: Path) -> None:
        with Ledger(path) as ledger:
            write_backup(ledger, tmp_path / "b.json")
        charge(path, 3)
        with pytest.raises(LedgerError, match="nothing to restore"):
            restore(path, read_backup(tmp_path / "b.json"), Since())
        assert spent(path) > 0

    def test_a_backup_of_another_site_or_a_changed_one_is_refused(self, path: Path, tmp_path: Path) -> None:
        other = tmp_path / "other" / "ledger.sqlite"
        charge(other, 1)
        with Ledger(other) as ledger:
            write_backup(ledger, tmp_path / "b.json")
        path.with_name(path.name + ".head").unlink()
        with pytest.raises(LedgerError, match="another key"):
            restore(path, read_backup(tmp_path / "b.json"), Since())
        document = json.loads((tmp_path / "b.json").read_text())
        document["rows"][1]["text"] = document["rows"][1]["text"].replace('"round":1', '"round":2')
        (tmp_path / "b.json").write_text(json.dumps(document))
        with pytest.raises(TrustError, match="Row 2 of the backup"):
            read_backup(tmp_path / "b.json")

    @pytest.mark.parametrize("gone", [True, False])
    @pytest.mark.parametrize("step", range(3))
    def test_a_crash_in_it_leaves_nothing_that_trains(
        self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, gone: bool
    ) -> None:
        with Ledger(path) as ledger:
            write_backup(ledger, tmp_path / "b.json")
        charge(path, 3)
        truth = spent(path)
        if gone:
            shutil.rmtree(path.parent)
            path.parent.mkdir()
        else:
            path.with_name(path.name + ".head").unlink()
        left = [step]
        replace = os.replace

        def dies(source: Any, to: Any) -> None:
            if Path(to).parent == path.parent and Path(to).name in (path.name, path.name + ".key", path.name + ".head"):
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
            replace(source, to)

        monkeypatch.setattr("common.privacy.backup.os.replace", dies)
        with pytest.raises(KeyboardInterrupt):
            restore(path, read_backup(tmp_path / "b.json"), later())
        monkeypatch.undo()
        if step or not gone:  # where nothing was put in place on an empty disk there is no ledger yet
            with pytest.raises(LedgerError), Ledger(path) as ledger:
                ledger.verify()
        restore(path, read_backup(tmp_path / "b.json"), later())
        assert spent(path) >= truth


class TestEvidence:
    @pytest.fixture
    def site(self, tmp_path: Path) -> Site:
        cohort = Cohort(
            train_patients=PATIENTS, counts={}, load=lambda study, split: pytest.fail("nothing is read"),
            members={**dict.fromkeys(PATIENTS, ("train", 1)), "dora": ("test", 0)},
        )  # fmt: skip
        return Site(
            name="north", declared_patients=40, cohort=cohort, home=tmp_path / "site",
            policy=SitePolicy(ceiling=5.0, studies=(STUDY.digest(),)),
            randomness=lambda purpose, round_index: Randomness.from_entropy(),
            ledger_path=tmp_path / "site" / "ledger.sqlite",
        )  # fmt: skip

    def backup(self, site: Site) -> Path:
        with Ledger(site.ledger_path) as ledger:
            ledger.register_cohort(PATIENTS)
            write_backup(ledger, site.home / "b.json")
        return site.home / "b.json"

    def study_file(self, tmp_path: Path, study: StudyConfig) -> Path:
        import yaml

        (tmp_path / "study.yaml").write_text(yaml.safe_dump(study.travelling()))
        return tmp_path / "study.yaml"

    def test_a_study_that_nobody_names_stops_the_restore_or_costs_the_account(self, site: Site) -> None:
        backup = read_backup(self.backup(site))
        with pytest.raises(DataError, match=STUDY.digest()):
            since(site, backup, Evidence())
        anything = dataclasses.replace(site, policy=dataclasses.replace(site.policy, studies=("*",)))
        with pytest.raises(DataError, match="any study"):
            since(anything, backup, Evidence())
        assert since(site, backup, Evidence(assume_unbounded=True)).unbounded

    def test_a_named_study_is_charged_to_its_end_and_test_patients_are_remembered(
        self, site: Site, tmp_path: Path
    ) -> None:
        backup = read_backup(self.backup(site))
        found = since(site, backup, Evidence(studies=[self.study_file(tmp_path, STUDY)]))
        assert [promise.charges for promise in found.studies] == [most_charges(5)] and not found.unbounded
        assert len(found.patients) == 3 and len(found.scored) == 1

    def test_a_named_study_without_privacy_makes_it_unbounded(self, site: Site, tmp_path: Path) -> None:
        open_ = compose(["privacy=none"])
        allowed = dataclasses.replace(site, policy=dataclasses.replace(site.policy, studies=(open_.digest(),)))
        backup = read_backup(self.backup(site))
        assert since(allowed, backup, Evidence(studies=[self.study_file(tmp_path, open_)])).unbounded

    @pytest.mark.parametrize("now", [(), ("*",)], ids=["no study is allowed any more", "every study is allowed"])
    @pytest.mark.parametrize("seen_by", ["the hub", "a statement", "the head file"])
    def test_a_later_head_that_nobody_explains_is_never_called_done(
        self, site: Site, tmp_path: Path, seen_by: str, now: tuple[str, ...]
    ) -> None:
        """On the code before, a policy without studies had the whole study forgotten, with the hub's head at hand."""
        backup = read_backup(self.backup(site))
        for round_index in range(1, 6):
            charge(site.ledger_path, round_index)
        truth, told = spent(site.ledger_path), statement(site.ledger_path)
        head = site.ledger_path.with_name("ledger.sqlite.head").read_bytes()
        shutil.rmtree(site.home)
        site.home.mkdir()
        evidence = self.evidence(tmp_path, told, seen_by)
        if seen_by == "the head file":
            site.ledger_path.with_name("ledger.sqlite.head").write_bytes(head)
        closed = dataclasses.replace(site, policy=dataclasses.replace(site.policy, studies=now))
        with pytest.raises(DataError, match="--assume-unbounded"):
            restore(site.ledger_path, backup, since(closed, backup, evidence))
        assert not site.ledger_path.exists(), "nothing is put in place"
        named = dataclasses.replace(evidence, studies=[self.study_file(tmp_path, STUDY)])
        known = dataclasses.replace(site, policy=dataclasses.replace(site.policy, studies=()))
        restore(site.ledger_path, backup, since(known, backup, named))
        assert spent(site.ledger_path) >= truth

    def test_a_study_beside_the_named_one_shows_in_the_number_of_rows(self, site: Site, tmp_path: Path) -> None:
        backup = read_backup(self.backup(site))
        long = dataclasses.replace(STUDY, training=dataclasses.replace(STUDY.training, rounds=20))
        for round_index in range(1, 26):
            charge(site.ledger_path, round_index, study=STUDY if round_index < 6 else long)
        evidence = dataclasses.replace(
            self.evidence(tmp_path, statement(site.ledger_path), "the hub"), studies=[self.study_file(tmp_path, STUDY)]
        )
        shutil.rmtree(site.home)
        site.home.mkdir()
        with pytest.raises(DataError, match="nobody has named"):
            restore(site.ledger_path, backup, since(site, backup, evidence))
        given_up = dataclasses.replace(evidence, assume_unbounded=True)
        restore(site.ledger_path, backup, since(site, backup, given_up))
        assert spent(site.ledger_path) == float("inf")

    def evidence(self, tmp_path: Path, told: Mapping[str, Any], seen_by: str) -> Evidence:
        Heads(tmp_path / "heads.json").take("north", told)
        (tmp_path / "s.json").write_text(json.dumps(told))
        return Evidence(
            statements=[tmp_path / "s.json"] if seen_by == "a statement" else (),
            heads=tmp_path / "heads.json" if seen_by == "the hub" else None,
        )

    def test_a_statement_of_another_site_is_no_evidence(self, site: Site, path: Path, tmp_path: Path) -> None:
        other = tmp_path / "elsewhere" / "ledger.sqlite"
        charge(other, 1)
        (tmp_path / "s.json").write_text(json.dumps(statement(other)))
        with pytest.raises(TrustError, match="not this site's"):
            since(site, read_backup(self.backup(site)), Evidence(statements=[tmp_path / "s.json"]))


def test_the_backup_is_for_its_owner_only(path: Path, tmp_path: Path) -> None:
    with Ledger(path) as ledger:
        write_backup(ledger, tmp_path / "b.json")
    assert (tmp_path / "b.json").stat().st_mode & 0o077 == 0
