"""A home is put together again from a backup of its ledger, and a hub asks once more what it was told before.

On the code before, only the ledger was compared with anything: without `questions/` each validation and the test of a
study could be asked anew, without `released.json` a split with one patient more was counted, and after
`ledger restore` a study that nobody could count any more was still answered.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from client.site.hospital import Site
from client.site.release_floor import FILE as RELEASED
from client.site.release_floor import KEY
from common.config.study import StudyConfig
from common.errors import DataError, OncoFedError, QuestionRefused
from common.privacy.backup import Since, read_backup, restore, write_backup
from common.privacy.ledger import Ledger
from common.privacy.plan import PrivacyPlan
from common.privacy.pricing import Promise, most_charges
from tests.attacks.test_free_questions import PLAIN, STUDY, ask
from tests.attacks.test_free_questions import site as site
from tests.attacks.test_groups_subtracted import PATIENTS, _asked, _site

OTHER = dataclasses.replace(STUDY, name="agreed on anew")


def refused(site: Site, study: StudyConfig) -> list[str]:
    """Returns which of all questions of a run are refused; the second half is of another run."""
    found = []
    for run in ("ab", "cd"):
        for purpose, split in (("enrol", "val"), ("train", "val"), ("evaluate", "val"), ("evaluate", "test")):
            try:
                ask(site, purpose, 1, 5, study=study, split=split, run=run)
            except QuestionRefused:
                found.append(f"{purpose} {split} {run}")
            except OncoFedError:
                pass
    return found


ALL = [f"{what} {run}" for run in ("ab", "cd") for what in ("enrol val", "train val", "evaluate val", "evaluate test")]


@pytest.mark.parametrize("study", [STUDY, PLAIN], ids=["private", "plain"])
def test_a_ledger_without_the_count_of_questions_answers_none_of_them(site: Site, study: StudyConfig) -> None:
    ask(site, "train", 1, study=study)
    shutil.rmtree(site.home / "questions")
    assert refused(site, study) == ALL
    assert refused(site, dataclasses.replace(study, name="agreed on anew")) != ALL


def restored(site: Site, backup: Path) -> None:
    """The ledger's file was lost after the backup; the study is known, and charged to its end."""
    site.ledger_path.with_name(site.ledger_path.name + ".head").unlink()
    site.ledger_path.unlink()
    plan = PrivacyPlan.for_site(STUDY.privacy, STUDY.training, site.declared_patients)
    charges = most_charges(STUDY.training.rounds)
    spent = Promise("", STUDY.digest(), plan.event(), charges, plan.delta, plan.accountant, 0)
    restore(site.ledger_path, read_backup(backup), Since(studies=[spent]))


@pytest.mark.parametrize("kept", [False, True], ids=["questions lost", "questions of the backup"])
def test_a_study_that_a_restore_charged_to_its_end_asks_nothing_more(site: Site, tmp_path: Path, kept: bool) -> None:
    ask(site, "train", 1)
    with Ledger(site.ledger_path) as ledger:
        write_backup(ledger, tmp_path / "backup.json")
    shutil.copytree(site.home / "questions", tmp_path / "old")
    ask(site, "evaluate", 1, 1)
    shutil.rmtree(site.home / "questions")
    if kept:
        shutil.copytree(tmp_path / "old", site.home / "questions")
    restored(site, tmp_path / "backup.json")
    assert refused(site, STUDY) == ALL
    assert "evaluate val ab" not in refused(site, OTHER)


def test_a_statement_of_it_is_still_made(site: Site, tmp_path: Path) -> None:
    ask(site, "train", 1)
    with Ledger(site.ledger_path) as ledger:
        write_backup(ledger, tmp_path / "backup.json")
    restored(site, tmp_path / "backup.json")
    assert ask(site, "statement").document["rounds"] == most_charges(STUDY.training.rounds)


def hospital(home: Path, patients: int) -> Site:
    """A hospital whose ledger knows who is in the test."""
    found = _site(home, patients)
    members = {name: ("test", index // 2 % 2) for index, name in enumerate(found.cohort.train_patients)}
    return dataclasses.replace(found, cohort=dataclasses.replace(found.cohort, members=members))


def lose_memory(home: Path) -> None:
    (home / RELEASED).unlink()
    (home / KEY).unlink()


def test_scores_that_left_are_not_forgotten_with_the_memory_of_whom(tmp_path: Path) -> None:
    _asked(hospital(tmp_path, PATIENTS))
    lose_memory(tmp_path)
    for patients in (PATIENTS, PATIENTS + 1):
        with pytest.raises(DataError, match="both restored"):
            _asked(hospital(tmp_path, patients))


def test_a_crash_between_ledger_and_answer_closes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Site, "_scores", dies)
        with pytest.raises(KeyboardInterrupt):
            _asked(hospital(tmp_path, PATIENTS))
    assert (tmp_path / RELEASED).exists()
    assert _asked(hospital(tmp_path, PATIENTS))


def test_patients_whom_only_a_restore_supposes_scored_close_nothing(site: Site, tmp_path: Path) -> None:
    floors = dataclasses.replace(site, policy=dataclasses.replace(site.policy, min_split=10, min_group=5))
    ask(floors, "train", 1)
    with Ledger(site.ledger_path) as ledger:
        write_backup(ledger, tmp_path / "backup.json")
        prints = [ledger.fingerprint("a"), ledger.fingerprint("b")]
    site.ledger_path.with_name(site.ledger_path.name + ".head").unlink()
    site.ledger_path.unlink()
    restore(site.ledger_path, read_backup(tmp_path / "backup.json"), Since(scored=prints))
    assert ask(floors, "evaluate", 1, study=OTHER)
