"""A hub asks about patients as often as it likes, with weights of its choice: it gets the study's own questions only.

On the code before, `evaluate` and `baseline` were answered without limit: three questions a split told which patients
are in it and their diagnoses, thirty-two read all columns of one patient, and `baseline` told who was trained on.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Message
from hypothesis import given
from hypothesis import strategies as st

from client.app import app
from client.site.hospital import Cohort, Site
from client.site.policy import SitePolicy
from client.site.questions import SPARE, UNPROVEN, AskedInRun
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
from common.errors import BudgetExceeded, NotReleased, OncoFedError, QuestionRefused, SiteCode
from common.models.parts import select_part
from common.models.weights import trainable_state
from common.models.zoo import build_model
from common.privacy.ledger import Ledger
from common.privacy.randomness import Randomness
from common.protocol.aggregation import blend
from common.protocol.messages import Arrays, DocumentAnswer, Refusal, Request, pack_request, unpack_answer
from simulations.engine.grid import InProcessGrid

ROUNDS = 6
STUDY = StudyConfig(
    name="asked",
    data=DataConfig(image_size=0),
    model=ModelConfig(name="mlp", width=8),
    training=TrainingConfig(rounds=ROUNDS, local_steps=1, batch_patients=10),
    privacy=PrivacyConfig(epsilon=8.0, accountant="rdp"),
    evaluation=EvaluationConfig(bins=256, local_epochs=1, personal_epochs=1, resamples=20),
)
PLAIN = dataclasses.replace(STUDY, privacy=PrivacyConfig(mode="none"))
HOSPITAL = dataclasses.replace(SitePolicy.emulated(100.0), runs_per_study=1, own_models="verdict")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A hospital that allows every study, one run each, and a verdict about its own models."""
    generator = torch.Generator().manual_seed(0)
    patients = tuple(f"p{index}" for index in range(60))
    labels = torch.randint(0, 2, (60,), generator=generator).float()
    data = PatientTensors(torch.rand((60, 6), generator=generator), labels, torch.arange(60), patients)
    return Site(
        name="north",
        declared_patients=60,
        cohort=Cohort(train_patients=patients, counts={}, load=lambda study, split: data),
        policy=HOSPITAL,
        randomness=lambda purpose, round_index: Randomness.from_entropy(),
        home=tmp_path / "site",
        ledger_path=tmp_path / "site" / "ledger.sqlite",
    )


def weights(seed: int) -> Arrays:
    """Weights of the hub's choice."""
    model = build_model(STUDY.model, (6,), seed)
    select_part(model, STUDY.model.part)
    return trainable_state(model)


def ask(site: Site, purpose: str, round_index: int = 0, seed: int = 0, **fields: Any) -> Any:
    """Returns the site's answer; whoever asks has a fresh process of the site before it, as in a hospital."""
    given = {"study": STUDY, "run": "ab", "arrays": weights(seed)} | fields
    request = Request(purpose=purpose, round_index=round_index, **given)  # type: ignore[arg-type]
    return getattr(dataclasses.replace(site), purpose)(request)


def answered(call: Callable[[], object]) -> bool:
    try:
        call()
    except QuestionRefused:
        return False
    return True


def charges(site: Site) -> int:
    if not site.ledger_path.exists():
        return 0
    with Ledger(site.ledger_path) as ledger:
        return len(ledger.charges())


@pytest.mark.parametrize("study", [STUDY, PLAIN], ids=["private", "plain"])
def test_three_questions_a_split_are_not_answered(site: Site, study: StudyConfig) -> None:
    """What placed 46 of 48 patients in their split with their diagnosis: the same round with new weights."""
    found = [answered(lambda s=seed: ask(site, "evaluate", 1, s, study=study)) for seed in range(8)]
    assert found == [True] * (1 + SPARE) + [False] * (7 - SPARE)
    found = [answered(lambda s=seed: ask(site, "evaluate", 1, s, study=study, split="test")) for seed in range(8)]
    assert found.count(True) == 1


def test_as_many_questions_as_one_likes_end_with_those_of_the_study(site: Site) -> None:
    """What read all columns of one patient took 32 questions; here each round is tried, and each with many weights."""
    rounds = [1 + index % (2 * ROUNDS) for index in range(40)]
    found = [answered(lambda r=r, s=s: ask(site, "evaluate", r, s)) for s, r in enumerate(rounds)]
    assert found.count(True) <= UNPROVEN + SPARE, "no training followed, so no more than these"


def test_the_allowances_are_what_the_documents_say() -> None:
    """Written out, since every bound here is told in terms of them."""
    assert (UNPROVEN, SPARE) == (3, 1)


class TestStopped:
    """Before: a study that the ceiling refused got a validation of each round with weights of the hub's choice."""

    LONG = dataclasses.replace(STUDY, name="long", training=dataclasses.replace(STUDY.training, rounds=30))

    def validations(self, site: Site, first: int = 1) -> int:
        rounds = range(first, 31)
        return sum(answered(lambda r=r: ask(site, "evaluate", r, 100 + r, study=self.LONG)) for r in rounds)

    def poor(self, site: Site) -> Site:
        return dataclasses.replace(site, policy=dataclasses.replace(site.policy, ceiling=8.0))

    def test_a_study_that_was_never_charged_gets_three_validations(self, site: Site) -> None:
        poor = self.poor(site)
        for r in range(1, ROUNDS + 1):
            ask(poor, "train", r, r - 1, run="cd")
        for purpose in ("enrol", "train"):
            with pytest.raises(BudgetExceeded):
                ask(poor, purpose, 1, study=self.LONG)
        assert self.validations(poor) == 3 and charges(poor) == ROUNDS

    @pytest.mark.parametrize("charged", [0, 1, 4])
    def test_after_a_charge_as_many_more_as_were_charged(self, site: Site, charged: int) -> None:
        """Charges of another run count for nothing."""
        policy = dataclasses.replace(site.policy, runs_per_study=2, after_unbounded="refuse")
        strict = dataclasses.replace(site, policy=policy)
        for r in (1, 2, 3):
            ask(strict, "train", r, r - 1, study=self.LONG, run="cd")
        for r in range(1, charged + 1):
            ask(strict, "train", r, r - 1, study=self.LONG)
        ask(strict, "train", 1, study=PLAIN)  # from here on the policy lets no private round be charged
        with pytest.raises(BudgetExceeded):
            ask(strict, "train", charged + 1, charged, study=self.LONG)
        assert self.validations(strict) == 3 + charged

    @pytest.mark.parametrize("epsilon", [8.0, 1e-7], ids=["ceiling", "no noise that large"])
    def test_a_training_that_is_refused_proves_no_validation(self, site: Site, epsilon: float) -> None:
        """Before: each refused round proved the validation before it, so 30 were answered and nothing was charged."""
        long, poor = (
            dataclasses.replace(self.LONG, privacy=PrivacyConfig(epsilon=epsilon, accountant="rdp")),
            self.poor(site),
        )
        for r in range(1, ROUNDS + 1):
            ask(poor, "train", r, r - 1, run="cd")
        found = []
        for r in range(1, 30):
            found.append(answered(lambda r=r: ask(poor, "evaluate", r, 100 + r, study=long)))
            with pytest.raises(OncoFedError):
                ask(poor, "train", r + 1, 100 + r, study=long)
        assert found.count(True) == UNPROVEN and charges(poor) == ROUNDS

    def test_one_that_trained_to_its_end_of_budget_is_tested(self, site: Site) -> None:
        strict = dataclasses.replace(site, policy=dataclasses.replace(site.policy, after_unbounded="refuse"))
        for r in (1, 2):
            ask(strict, "train", r, r - 1)
            ask(strict, "evaluate", r, r)
        ask(strict, "train", 1, study=PLAIN)
        for r in (3, 4, 5):
            with pytest.raises(BudgetExceeded):
                ask(strict, "train", r, r - 1)
            ask(strict, "evaluate", r, r)
        ask(strict, "evaluate", 0, 5, split="test")


def test_validation_goes_on_only_where_the_next_round_starts_from_what_was_validated(site: Site) -> None:
    ask(site, "train", 1, 0)
    ask(site, "evaluate", 1, 1)
    with pytest.raises(QuestionRefused):
        ask(site, "train", 2, 7)
    assert charges(site) == 1
    ask(site, "train", 2, 1)
    assert charges(site) == 2


def test_a_whole_study_is_answered_and_not_one_question_more(site: Site) -> None:
    for r in range(1, ROUNDS + 1):
        ask(site, "train", r, r - 1)
        ask(site, "evaluate", r, r)
    ask(site, "evaluate", 0, ROUNDS, split="test")
    for r in (0, ROUNDS + 1, 120):
        for purpose in ("train", "evaluate"):
            with pytest.raises(QuestionRefused):
                ask(site, purpose, r, ROUNDS)
    assert charges(site) == ROUNDS


def test_a_site_that_was_down_goes_on(site: Site) -> None:
    """It hears nothing of rounds 2 and 3, and of round 5 the validation only."""
    for r in (1, 4):
        ask(site, "train", r, r - 1)
        ask(site, "evaluate", r, r)
    ask(site, "evaluate", 5, 5)
    ask(site, "train", 6, 5)
    ask(site, "evaluate", 6, 6)
    ask(site, "evaluate", 0, 4, split="test")


def test_the_test_is_for_weights_that_were_validated(site: Site) -> None:
    ask(site, "evaluate", 1, 1)
    with pytest.raises(QuestionRefused):
        ask(site, "evaluate", 0, 2, split="test")
    ask(site, "evaluate", 0, 1, split="test")


def test_a_study_that_leaves_the_test_unopened_gets_no_test(site: Site) -> None:
    closed = dataclasses.replace(STUDY, evaluation=dataclasses.replace(STUDY.evaluation, test=False))
    ask(site, "evaluate", 1, 0, study=closed)
    with pytest.raises(QuestionRefused, match="unopened"):
        ask(site, "evaluate", 0, 0, split="test", study=closed)
    with pytest.raises(QuestionRefused):
        ask(site, "baseline", 0, 0, study=closed)


def test_the_same_question_has_the_same_answer(site: Site) -> None:
    """A hub that crashed asks again, and learns nothing by it."""
    once = ask(site, "evaluate", 1, 1).document
    assert ask(site, "evaluate", 1, 1).document == once
    test = ask(site, "evaluate", 0, 1, split="test").document
    own = ask(site, "baseline", 0, 1).document
    assert ask(site, "evaluate", 0, 1, split="test").document == test
    assert ask(site, "baseline", 0, 1).document == own


def test_another_run_of_the_study_asks_nothing_more(site: Site) -> None:
    ask(site, "enrol")
    ask(site, "enrol", run="cd")
    ask(site, "evaluate", 1, 1)
    for purpose in ("enrol", "train", "evaluate"):
        with pytest.raises(QuestionRefused):
            ask(site, purpose, 1, 2, run="cd")
    other = dataclasses.replace(STUDY, name="another")
    ask(site, "evaluate", 1, 2, run="cd", study=other)
    ask(site, "statement", run="cd")
    twice = dataclasses.replace(site, policy=dataclasses.replace(HOSPITAL, runs_per_study=2))
    ask(twice, "evaluate", 1, 2, run="cd")


def test_what_was_asked_outlives_the_process_and_damage_closes(site: Site) -> None:
    ask(site, "evaluate", 1, 1)
    (path,) = (site.home / "questions").glob("*.json")
    whole = path.read_text()
    for damage in ("", "{", "[]", whole.replace("validated", "valid"), whole[:-5]):
        path.write_text(damage)
        with pytest.raises(QuestionRefused):
            ask(site, "evaluate", 1, 1)


def test_a_refusal_is_a_code_and_stands_in_the_egress_journal(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.app.open_site", lambda context: site)
    request = Request(purpose="evaluate", study=STUDY, run="ab", round_index=ROUNDS + 1, arrays=weights(0))
    (reply,) = InProcessGrid(app, num_nodes=1).send_and_receive([Message(pack_request(request), 1, "evaluate")])
    assert unpack_answer(reply.content) == Refusal(site="north", code=SiteCode.QUESTION_REFUSED)
    line = json.loads((site.home / "egress.jsonl").read_text().splitlines()[-1])
    assert (line["refusal"], line["purpose"], line["round"]) == ("question-refused", "evaluate", ROUNDS + 1)


def opened(site: Site, study: StudyConfig = STUDY) -> Site:
    """Returns the site once its test was opened."""
    ask(site, "evaluate", 1, 1, study=study)
    ask(site, "evaluate", 0, 1, split="test", study=study)
    return site


class TestOwnModels:
    """Models trained without noise: who was trained on showed in 20 of 20 answers."""

    def test_the_default_keeps_them(self, site: Site) -> None:
        closed = dataclasses.replace(site, policy=dataclasses.replace(HOSPITAL, own_models=SitePolicy().own_models))
        with pytest.raises(NotReleased):
            ask(opened(closed), "baseline", 0, 1)

    def test_a_study_that_turned_them_off_gets_none(self, site: Site) -> None:
        off = dataclasses.replace(STUDY, evaluation=dataclasses.replace(STUDY.evaluation, local_baseline=False))
        with pytest.raises(QuestionRefused):
            ask(opened(site, off), "baseline", 0, 1, study=off)

    def test_they_are_compared_once_with_the_model_of_the_test(self, site: Site) -> None:
        with pytest.raises(QuestionRefused):
            ask(site, "baseline", 0, 1)
        opened(site)
        ask(site, "baseline", 0, 1)
        for seed in (0, 2):
            with pytest.raises(QuestionRefused):
                ask(site, "baseline", 0, seed)

    def test_a_verdict_has_no_figure(self, site: Site) -> None:
        found = ask(opened(site), "baseline", 0, 1)
        assert isinstance(found, DocumentAnswer)
        assert set(found.document) == {"level", "verdict", "joining"}
        assert found.document["verdict"] in ("helps", "hurts", "cannot tell")

    def test_rounded_figures_lie_on_the_grid(self, site: Site) -> None:
        rounded = dataclasses.replace(site, policy=dataclasses.replace(HOSPITAL, own_models="rounded"))
        found = ask(opened(rounded), "baseline", 0, 1).document
        figures = [*found["auroc"].values(), *(v for row in found["differences"].values() for v in row.values())]
        assert figures and all(abs(v / 0.05 - round(v / 0.05)) < 1e-9 for v in figures)
        assert set(found) == {"level", "verdict", "joining", "auroc", "differences"}, "no histogram and no threshold"

    def test_full_is_for_public_data(self, site: Site) -> None:
        public = dataclasses.replace(site, policy=SitePolicy.emulated(100.0))
        assert set(ask(opened(public), "baseline", 0, 1).document) == {"schema_version", "models", "differences"}


class TestAveraging:
    """The hub validates a running average while rounds start from the raw weights: the site computes it too."""

    STUDY = dataclasses.replace(STUDY, strategy=StrategyConfig(averaging=0.5))

    def test_the_true_average_is_proven_in_every_round(self, site: Site) -> None:
        average = weights(1)
        for r in range(1, ROUNDS + 1):
            ask(site, "train", r, r - 1, study=self.STUDY)
            average = blend(average, weights(r), 0.5 if r > 1 else 0.0)
            ask(site, "evaluate", r, arrays=average, study=self.STUDY)
        (path,) = (site.home / "questions").glob("*.json")
        assert json.loads(path.read_text())["ab"]["proven"] == [str(r) for r in range(1, ROUNDS)]

    def test_anything_else_is_refused(self, site: Site) -> None:
        ask(site, "evaluate", 1, 1, study=self.STUDY)
        ask(site, "train", 2, 1, study=self.STUDY)
        ask(site, "evaluate", 2, 7, study=self.STUDY)
        with pytest.raises(QuestionRefused):
            ask(site, "train", 3, 2, study=self.STUDY)


Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(st.sampled_from(["train", "validate", "test", "own"]), st.integers(1, 8), st.integers(0, 5)), max_size=60
)


@given(steps)
def test_no_sequence_of_questions_gets_more_than_the_study_asks(asked: list[Step]) -> None:
    record, answers = AskedInRun(), set[Step]()
    for kind, r, w in asked:
        try:
            match kind:
                case "train":
                    record = record.train(r, str(w), str(w))
                case "validate":
                    record = record.validate(r, str(w))
                case "test":
                    record, r = record.open_test(str(w)), 0
                case _:
                    record, r = record.compare_own(str(w)), 0
        except OncoFedError:
            continue
        answers.add((kind, r, w))
    count = {kind: sum(k == kind for k, _, _ in answers) for kind in ("train", "validate", "test", "own")}
    assert count["train"] <= 8 + SPARE and count["validate"] <= 8 + SPARE
    assert count["test"] <= 1 and count["own"] <= 1
    seen = {w for kind, _, w in answers if kind == "validate"}
    assert all(w in seen for kind, _, w in answers if kind in ("test", "own"))
    unproven = {r for kind, r, _ in answers if kind == "validate"} - {int(r) for r in record.proven}
    assert len(unproven) <= UNPROVEN


def test_minus_zero_is_zero(site: Site) -> None:
    """An average turns -0 into 0, and the next round starts from -0."""
    with_zero = {name: np.where(np.arange(v.size).reshape(v.shape) == 0, 0.0, v) for name, v in weights(1).items()}
    minus = {name: np.where(v == 0, np.float32(-0.0), v).astype(np.float32) for name, v in with_zero.items()}
    plus = {name: v.astype(np.float32) for name, v in with_zero.items()}
    ask(site, "evaluate", 1, arrays=plus)
    ask(site, "train", 2, arrays=minus)
