"""A hub subtracts what it was told of two groups that differ in one patient, and reads her diagnosis off."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from client.site.certificate import FILE as CERTIFICATE
from client.site.hospital import Cohort, Site
from client.site.policy import SitePolicy
from client.site.release_floor import FILE, KEY, check_split, refined
from common.config.study import (
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    PrivacyConfig,
    StrategyConfig,
    StudyConfig,
    TrainingConfig,
)
from common.data.loading import PatientTensors
from common.errors import DataError, SiteCode, TooFewPatients
from common.evaluation.scores import ScoreState
from common.models.weights import trainable_state
from common.models.zoo import build_model
from common.privacy.randomness import Randomness
from common.protocol.messages import Request

PATIENTS = 40
STUDY = StudyConfig(
    name="counted",
    data=DataConfig(image_size=0),
    model=ModelConfig(name="mlp", width=4),
    training=TrainingConfig(rounds=1),
    privacy=PrivacyConfig(mode="none"),
    evaluation=EvaluationConfig(subgroups=()),
)
TARGET = 7
Card = Mapping[str, Mapping[str, int | None]]


def _ages() -> list[int]:
    """As in the attack: one woman is 44 and nobody else is."""
    ages = np.random.default_rng(0).integers(38, 52, PATIENTS)
    ages[ages == 44] = 45
    ages[TARGET] = 44
    return ages.tolist()


def _attributes() -> dict[str, Mapping[str, str]]:
    return {
        f"p{i}": {"age": str(age), "decade": "old" if age >= 45 or i == TARGET else "young", "scanner": "ab"[i % 2]}
        for i, age in enumerate(_ages())
    }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return _site(tmp_path, PATIENTS)


def _site(home: Path, patients: int, policy: SitePolicy | None = None) -> Site:
    names = tuple(f"p{index}" for index in range(patients))
    labels = (torch.arange(patients) // 2 % 2).float()
    inputs = torch.rand((patients, 5), generator=torch.Generator().manual_seed(0))
    data = PatientTensors(inputs, labels, torch.arange(patients), names)
    attributes = _attributes() | {name: {"age": "60"} for name in names[PATIENTS:]}
    return Site(
        name="site_1",
        declared_patients=100,
        cohort=Cohort(train_patients=names, counts={}, load=lambda study, split: data, attributes=attributes),
        policy=policy or dataclasses.replace(SitePolicy.emulated(10.0), min_split=10, min_group=5),
        randomness=lambda purpose, round_index: Randomness.from_entropy(),
        home=home,
        ledger_path=home / "ledger.sqlite",
    )


def _asked(site: Site, *subgroups: str, min_cell: int = 5, split: str = "test") -> dict[str, ScoreState]:
    evaluation = dataclasses.replace(STUDY.evaluation, subgroups=subgroups, min_cell=min_cell)
    study = dataclasses.replace(STUDY, evaluation=evaluation)
    arrays = trainable_state(build_model(study.model, (5,), study.seed))
    if split == "test":  # which opens only for weights that were validated
        site.evaluate(Request(purpose="evaluate", study=study, run="aa", round_index=1, arrays=arrays))
    answer = site.evaluate(
        Request(purpose="evaluate", study=study, run="aa", round_index=1, split=split, arrays=arrays)
    )
    state = ScoreState.from_json(answer.document)
    return {"": state.without_groups(), **state.groups}


def _singled_out(told: list[dict[str, ScoreState]]) -> list[int]:
    """Sizes of all differences of two counts, and of a whole less two groups, below five patients."""
    counts = [np.concatenate([s.positives, s.negatives]) for part in told for s in part.values()]
    found = []
    for first, second in itertools.permutations(counts, 2):
        size = int(np.abs(first - second).sum())
        found += [size] if (first >= second).all() and 0 < size < 5 else []
    return found


def test_two_columns_of_one_study_that_agree_but_for_one_patient(site: Site) -> None:
    told = _asked(site, "age:45", "decade")
    assert {name.partition("=")[0] for name in told} == {"", "age"}
    assert _singled_out([told]) == []


def test_two_cut_points_in_two_studies(site: Site) -> None:
    first, second = _asked(site, "age:44"), _asked(site, "age:45")
    assert len(first) == 3 and set(second) == {""}
    assert _singled_out([first, second]) == []


@pytest.mark.parametrize(
    ("allowed", "told"),
    [((), {""}), (("age",), {"", "age"}), (("scanner",), {"", "scanner"}), (("*",), {"", "age"})],
)
def test_words_of_the_manifest_leave_only_of_columns_that_the_policy_names(
    site: Site, allowed: tuple[str, ...], told: set[str]
) -> None:
    """Before: a hub named any column, as of wards or referring doctors, and its words left as names of groups.

    With any column allowed the second one cuts the first into groups that are too small.
    """
    closed = dataclasses.replace(site, policy=dataclasses.replace(site.policy, subgroups=allowed))
    assert {name.partition("=")[0] for name in _asked(closed, "age:46", "scanner")} == told


def test_a_study_that_lowers_min_cell_does_not_lower_the_site_s_floor(site: Site) -> None:
    young = sum(age < 39 for age in _ages())
    assert 0 < young < 5
    assert set(_asked(site, "age:39", min_cell=0)) == {""}


def test_a_split_with_one_patient_more_is_refused_until_enough_have_joined(site: Site, tmp_path: Path) -> None:
    _asked(site)
    with pytest.raises(TooFewPatients) as refused:
        _asked(_site(tmp_path, PATIENTS + 1))
    assert refused.value.code is SiteCode.TOO_FEW
    assert _asked(_site(tmp_path, PATIENTS + 20))[""].patients == PATIENTS + 20


def _relabelled(site: Site, patients: int) -> Site:
    """The site after its people corrected the diagnosis of so many women, from the seventh on."""
    data = site.cohort.load(STUDY, "test")
    labels = data.labels.clone()
    labels[TARGET : TARGET + patients] = 1 - labels[TARGET : TARGET + patients]
    corrected = dataclasses.replace(data, labels=labels)
    return dataclasses.replace(site, cohort=dataclasses.replace(site.cohort, load=lambda study, split: corrected))


@pytest.mark.parametrize("min_cell", [5, 4], ids=["same study", "another study"])
def test_a_corrected_diagnosis_is_not_the_difference_of_two_answers(site: Site, min_cell: int) -> None:
    """Before: who was counted as benign, then as malignant, moved alone from one histogram to the other, at her score.

    The same weights are asked about before and after.
    """
    first = _asked(site)
    with pytest.raises(TooFewPatients):
        _asked(_relabelled(site, 1), min_cell=min_cell)
    assert _asked(site) == first, "with the old labels nothing new is told"


def test_diagnoses_corrected_of_a_whole_group_may_leave(site: Site) -> None:
    _asked(site)
    assert _asked(_relabelled(site, PATIENTS // 2))


def test_the_same_question_is_answered_again_and_large_groups_leave(site: Site) -> None:
    first, second = _asked(site, "scanner"), _asked(site, "scanner")
    assert first == second and len(first) == 3


def test_the_memory_outlives_the_process_names_nobody_and_must_be_readable(site: Site, tmp_path: Path) -> None:
    _asked(site, "age:44")
    text = (tmp_path / FILE).read_text()
    assert not any(f'"p{index}"' in text for index in range(PATIENTS))
    (tmp_path / FILE).write_text(text[:-20])
    with pytest.raises(DataError, match="restored"):
        _asked(site)


@pytest.mark.parametrize("lost", [FILE, KEY])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_memory_of_which_a_part_is_lost_lets_nothing_leave(
    site: Site, tmp_path: Path, lost: str, replaced: bool
) -> None:
    """Before: where the key was lost a new one was made, and the memory knew nobody any more."""
    _asked(site)
    if replaced and lost == KEY:
        _asked(_site(tmp_path / "other", PATIENTS))
        (tmp_path / "other" / KEY).replace(tmp_path / KEY)
    else:
        (tmp_path / lost).unlink()
    with pytest.raises(DataError, match="both restored"):
        _asked(_site(tmp_path, PATIENTS + 1))


def test_a_crash_before_the_memory_has_a_key_closes_nothing(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("client.site.release_floor.SiteKey", SimpleNamespace(open=dies))
        with pytest.raises(KeyboardInterrupt):
            _asked(site, split="val")
    assert (tmp_path / FILE).exists() and not (tmp_path / KEY).exists()
    assert _asked(site, split="val")


@pytest.mark.parametrize(
    ("malignant", "benign", "leaves"), [(5, 5, True), (0, 10, True), (4, 20, False), (4, 5, False), (0, 9, False)]
)
def test_a_split_below_the_policy_s_floors_does_not_leave(malignant: int, benign: int, leaves: bool) -> None:
    policy, labels = SitePolicy(), np.array([1] * malignant + [0] * benign)
    assert (policy.min_split, policy.min_group) == (10, 5)
    if leaves:
        return check_split(policy, labels)
    with pytest.raises(TooFewPatients, match="min_split"):
        check_split(policy, labels)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_small_split_is_refused(tmp_path: Path, split: str) -> None:
    with pytest.raises(TooFewPatients):
        _asked(_site(tmp_path, 9), split=split)


class TestCard:
    """Before: a card told `{patients: 50, malignant: None, benign: 48}`, and two cards one patient's diagnosis."""

    def card(self, home: Path, policy: SitePolicy, malignant: int, benign: int, study: StudyConfig = STUDY) -> Card:
        labels = [1] * malignant + [0] * benign
        splits = {"train": labels, "val": labels, "test": [1, 0] * 20}
        site = _site(home, PATIENTS, policy)
        counts = {
            split: {"patients": len(row), "malignant": sum(row), "benign": len(row) - sum(row)}
            for split, row in splits.items()
        }
        members = {f"{split}-{n}": (split, label) for split, row in splits.items() for n, label in enumerate(row)}
        cohort = dataclasses.replace(site.cohort, counts=counts, members=members)
        request = Request(purpose="enrol", study=study, run="aa")
        return dataclasses.replace(site, cohort=cohort).enrol(request).counts

    hospital = dataclasses.replace(SitePolicy.emulated(10.0), min_split=10, min_group=5)

    def test_nothing_is_counted_where_no_metrics_leave(self, tmp_path: Path) -> None:
        closed = dataclasses.replace(self.hospital, release_metrics=False)
        card = self.card(tmp_path, closed, 10, 40)
        assert all(count is None for row in card.values() for count in row.values())

    def test_a_small_class_cannot_be_subtracted(self, tmp_path: Path) -> None:
        card = self.card(tmp_path, self.hospital, 2, 48)
        assert set(card["val"].values()) == {None}
        assert card["test"] == {"patients": 40, "malignant": 20, "benign": 20}

    def test_two_cards_do_not_differ_by_a_patient(self, tmp_path: Path) -> None:
        first = self.card(tmp_path, self.hospital, 10, 40)
        other = dataclasses.replace(STUDY, name="another")
        second = self.card(tmp_path, self.hospital, 10, 41, other)
        assert first["val"]["patients"] == 50 and set(second["val"].values()) == {None}
        assert self.card(tmp_path, self.hospital, 10, 60, other)["val"]["patients"] == 70

    def test_training_patients_are_not_counted(self, tmp_path: Path) -> None:
        assert set(self.card(tmp_path, self.hospital, 25, 25)["train"].values()) == {None}

    @pytest.mark.parametrize("malignant", [2, 10])
    def test_public_data_are_counted_but_for_small_cells_and_their_sums(self, tmp_path: Path, malignant: int) -> None:
        card = self.card(tmp_path, SitePolicy.emulated(10.0), malignant, 48)
        told = {"patients": None, "malignant": None} if malignant < 5 else {"patients": 58, "malignant": 10}
        assert card["train"] == card["val"] == {**told, "benign": 48}

    @pytest.mark.parametrize(
        "told",
        [
            {"patients": {"train": {"malignant": 17, "benign": 31}}},
            {"subgroups": {"scanner": {"a": 20, "b": None}}},
            {"findings": [{"code": "alike", "severity": "warning", "count": 7}]},
        ],
    )
    def test_a_certificate_does_not_count_what_the_card_keeps(self, tmp_path: Path, told: dict[str, object]) -> None:
        """Before: a study that asks for certificates had training patients by class, and with no metrics the rest."""
        study = dataclasses.replace(STUDY, strategy=StrategyConfig(require_readiness=True))
        (tmp_path / CERTIFICATE).write_text(json.dumps({"site": "site_1", "ready": True} | told))
        with pytest.raises(DataError, match="data certify"):
            self.card(tmp_path, self.hospital, 10, 40, study)
        assert self.card(tmp_path, SitePolicy.emulated(10.0), 10, 40, study)

    def test_a_memory_that_is_damaged_lets_no_card_leave(self, tmp_path: Path) -> None:
        self.card(tmp_path, self.hospital, 10, 40)
        (tmp_path / FILE).write_text("{")
        with pytest.raises(DataError, match="restored"):
            self.card(tmp_path, self.hospital, 10, 40)


sets = st.lists(st.frozensets(st.sampled_from("abcdefgh"), min_size=1), max_size=6)


@given(sets)
@settings(max_examples=200)
def test_every_sum_and_difference_of_released_sets_is_made_of_atoms(released: list[frozenset[str]]) -> None:
    """Two people in one atom are in the same sets, whatever the order; so no combination of counts tells them apart."""
    atoms: list[frozenset[str]] = []
    for one in released:
        atoms = refined(atoms, one)
    assert sum(map(len, atoms)) == len(frozenset().union(*released, frozenset())), "atoms overlap, or miss somebody"
    for one in released:
        assert all(atom <= one or not atom & one for atom in atoms)
    signature = {a: tuple(a in one for one in released) for a in "abcdefgh"}
    assert all(len({signature[a] for a in atom}) == 1 for atom in atoms)
    assert len({signature[next(iter(atom))] for atom in atoms}) == len(atoms), "finer than need be"
