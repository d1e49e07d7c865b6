"""What a site answers to whatever comes: policy before data, codes instead of texts, nothing that is not journalled."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Message, RecordDict

from client.app import app
from client.site.hospital import Cohort, Site
from client.site.policy import SitePolicy
from common.config.study import DataConfig, ModelConfig, PrivacyConfig, StudyConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.errors import ConfigError, DataError, OncoFedError, SiteCode
from common.models.parts import select_part
from common.models.weights import trainable_state
from common.models.zoo import build_model
from common.privacy.randomness import Randomness
from common.protocol.messages import (
    BODY,
    Answer,
    DocumentAnswer,
    Refusal,
    Request,
    TrainAnswer,
    pack_request,
    unpack_answer,
)
from simulations.engine.grid import InProcessGrid

STUDY = StudyConfig(
    name="asked",
    data=DataConfig(image_size=0),
    model=ModelConfig(name="mlp", width=8),
    training=TrainingConfig(rounds=2, local_steps=1, batch_patients=10),
    privacy=PrivacyConfig(epsilon=8.0, accountant="rdp"),
)
PLAIN = dataclasses.replace(STUDY, privacy=PrivacyConfig(mode="none"))
KINDS = {
    "enrol": "query", "train": "train", "evaluate": "evaluate", "baseline": "query", "attention": "query",
    "statement": "query",
}  # fmt: skip
SECRET = "Mrs Smith, /wards/4/smith.png"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site with data, open to everything; tests close it."""
    generator = torch.Generator().manual_seed(0)
    patients = tuple(f"p{index}" for index in range(40))
    labels = torch.randint(0, 2, (40,), generator=generator).float()
    data = PatientTensors(torch.rand((40, 6), generator=generator), labels, torch.arange(40), patients)
    return Site(
        name="site_1",
        declared_patients=40,
        cohort=Cohort(train_patients=patients, counts={}, load=lambda study, split: data),
        policy=SitePolicy.emulated(100.0),
        randomness=lambda purpose, round_index: Randomness.from_seed(0, "site_1", purpose, round_index),
        home=tmp_path / "site",
        ledger_path=tmp_path / "site" / "ledger.sqlite",
    )


def asked(
    site: Site, purpose: str, monkeypatch: pytest.MonkeyPatch, study: StudyConfig = STUDY, **body: Any
) -> Answer | Refusal:
    """Returns the site's answer to a hub that may change any field of its request."""
    monkeypatch.setattr("client.app.open_site", lambda context: site)
    model = build_model(study.model, (6,), study.seed)
    select_part(model, study.model.part)
    content = pack_request(
        Request(purpose="train", study=study, run="ab", round_index=1, arrays=trainable_state(model))
    )
    fields(content).update({"purpose": purpose, **body})
    (reply,) = InProcessGrid(app, num_nodes=1).send_and_receive([Message(content, 1, KINDS.get(purpose, "query"))])
    return unpack_answer(reply.content)


def fields(content: RecordDict) -> Any:
    """Returns the body of a message, to be changed as a hub could."""
    return content[BODY]


def code(answer: Answer | Refusal) -> SiteCode:
    assert isinstance(answer, Refusal)
    return answer.code


def journal(site: Site) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (site.home / "egress.jsonl").read_text().splitlines()]


def closed_to_its_files(site: Site) -> Site:
    def never(study: StudyConfig, split: str) -> PatientTensors:
        raise AssertionError("the site read its data")

    return dataclasses.replace(site, cohort=dataclasses.replace(site.cohort, load=never))


@pytest.mark.parametrize("purpose", KINDS)
@pytest.mark.parametrize("study", [STUDY, PLAIN], ids=["private", "plain"])
def test_a_closed_policy_refuses_before_anything_is_read(
    purpose: str, study: StudyConfig, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut = dataclasses.replace(closed_to_its_files(site), policy=SitePolicy())
    assert code(asked(shut, purpose, monkeypatch, study)) is SiteCode.POLICY_REFUSED
    assert [path.name for path in site.home.iterdir()] == ["egress.jsonl"], "no ledger, no note"


def test_a_study_above_the_ceiling_is_refused_before_anything_is_read(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut = dataclasses.replace(closed_to_its_files(site), policy=SitePolicy.emulated(7.9))
    assert code(asked(shut, "train", monkeypatch)) is SiteCode.BUDGET_REFUSED
    assert not site.ledger_path.exists()


@pytest.mark.parametrize("purpose", ["evaluate", "baseline"])
def test_metrics_stay_where_the_policy_keeps_them(purpose: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = dataclasses.replace(
        closed_to_its_files(site), policy=dataclasses.replace(site.policy, release_metrics=False)
    )
    assert code(asked(quiet, purpose, monkeypatch)) is SiteCode.POLICY_REFUSED


def test_scores_of_training_patients_cannot_be_asked_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert code(asked(closed_to_its_files(site), "evaluate", monkeypatch, split="train")) is SiteCode.BAD_REQUEST


def test_the_statement_of_a_study_stays_available_when_the_policy_closes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(asked(site, "train", monkeypatch), TrainAnswer)
    shut = dataclasses.replace(site, policy=SitePolicy())
    answer = asked(shut, "statement", monkeypatch)
    assert isinstance(answer, DocumentAnswer) and answer.document["epsilon"] > 0
    other = dataclasses.replace(STUDY, seed=7)
    assert code(asked(shut, "statement", monkeypatch, other)) is SiteCode.POLICY_REFUSED


@pytest.mark.parametrize("error", [RuntimeError, DataError, ConfigError, KeyError, OncoFedError])
@pytest.mark.parametrize("purpose", KINDS)
def test_the_text_of_an_error_stays_at_the_site(
    purpose: str, error: type[Exception], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Site, request: Request) -> Answer:
        raise error(SECRET)

    monkeypatch.setattr(Site, purpose, broken)
    monkeypatch.setattr("client.app.open_site", lambda context: site)
    content = pack_request(Request(purpose="train", study=STUDY, run="ab"))
    fields(content)["purpose"] = purpose
    (reply,) = InProcessGrid(app, num_nodes=1).send_and_receive([Message(content, 1, KINDS[purpose])])
    assert set(reply.content) == {BODY} and set(reply.content[BODY]) == {"status", "site", "code", "nonce"}
    assert "Smith" not in repr(reply.content) and reply.content[BODY]["code"] in set(SiteCode)


def test_a_site_that_cannot_open_says_no_more_than_a_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(context: object) -> Site:
        raise DataError(SECRET)

    monkeypatch.setattr("client.app.open_site", broken)
    request = pack_request(Request(purpose="train", study=STUDY, run="ab"))
    (reply,) = InProcessGrid(app, num_nodes=1).send_and_receive([Message(request, 1, "train")])
    assert "Smith" not in repr(reply.content)
    assert unpack_answer(reply.content) == Refusal(site="", code=SiteCode.DATA_UNFIT)


def test_what_cannot_be_journalled_does_not_leave(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("client.site.egress.append", full)
    assert asked(site, "train", monkeypatch) == Refusal(site="", code=SiteCode.UNKNOWN)


@pytest.mark.parametrize("purpose", ["train", "evaluate", "statement"])
def test_every_field_that_leaves_is_in_the_journal(purpose: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.app.open_site", lambda context: site)
    assert not isinstance(asked(site, "train", monkeypatch), Refusal)
    sent: list[Any] = []

    def watched(message: Message, context: Any) -> Message:
        reply = app(message, context)
        sent.append(reply)
        return reply

    model = build_model(STUDY.model, (6,), STUDY.seed)
    select_part(model, STUDY.model.part)
    request = Request(purpose="train", study=STUDY, run="ab", round_index=2, arrays=trainable_state(model))
    content = pack_request(request)
    fields(content)["purpose"] = purpose
    InProcessGrid(watched, num_nodes=1).send_and_receive([Message(content, 1, KINDS[purpose])])
    left = {f"{record}.{name}" for record, values in sent[0].content.items() for name in values}
    last = journal(site)[-1]
    assert {entry["field"] for entry in last["fields"]} == left
    assert (last["purpose"], last["run"], last["round"]) == (purpose, "ab", 2)
