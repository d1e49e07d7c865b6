"""A request that the hub did not sign for this site and this moment is not answered, whoever brings it.

On the code before, a site answered whatever message reached it: no request carried a proof.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict

from client.app import app
from client.site.hospital import Cohort, Site
from client.site.policy import SitePolicy
from client.site.proof import SKEW_SECONDS
from common.config.study import DataConfig, ModelConfig, PrivacyConfig, StudyConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.errors import SiteCode
from common.models.parts import select_part
from common.models.weights import trainable_state
from common.models.zoo import build_model
from common.privacy.ledger import Ledger
from common.privacy.randomness import Randomness
from common.protocol.messages import BODY, CLAIMS, SIGNATURE, Answer, Refusal, Request, TrainAnswer, unpack_answer
from common.protocol.signed_request import Claims, addressed, claims_digest
from common.trust.signing import SiteKey
from server.run.exchange import ask
from server.run.signer import Signer
from simulations.engine.grid import InProcessGrid

STUDY = StudyConfig(
    name="asked",
    data=DataConfig(image_size=0),
    model=ModelConfig(name="mlp", width=8),
    training=TrainingConfig(rounds=4, local_steps=1, batch_patients=10),
    privacy=PrivacyConfig(epsilon=8.0, accountant="rdp"),
)
NODES = {1: "north"}
Forgery = Callable[[dict[str, Any]], None]


@pytest.fixture
def key(tmp_path: Path) -> SiteKey:
    """The hub's."""
    return SiteKey.open(tmp_path / "hub.ed25519")


@pytest.fixture
def site(tmp_path: Path, key: SiteKey, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The hospital ``north``, which has pinned the hub's key."""
    generator = torch.Generator().manual_seed(0)
    patients = tuple(f"p{index}" for index in range(40))
    labels = torch.randint(0, 2, (40,), generator=generator).float()
    data = PatientTensors(torch.rand((40, 6), generator=generator), labels, torch.arange(40), patients)
    (tmp_path / "site").mkdir()
    made = Site(
        name="north",
        declared_patients=40,
        cohort=Cohort(train_patients=patients, counts={}, load=lambda study, split: data),
        policy=SitePolicy.emulated(100.0),
        randomness=lambda purpose, round_index: Randomness.from_entropy(),
        home=tmp_path / "site",
        ledger_path=tmp_path / "site" / "ledger.sqlite",
        hub_key=key.public_hex,
    )
    monkeypatch.setattr("client.app.open_site", lambda context: made)
    return made


@pytest.fixture
def signer(tmp_path: Path, key: SiteKey) -> Signer:
    return Signer(tmp_path, key, 60.0)


def request(round_index: int = 1, run: str = "ab") -> Request:
    model = build_model(STUDY.model, (6,), STUDY.seed)
    select_part(model, STUDY.model.part)
    arrays = trainable_state(model)
    return Request(purpose="train", study=STUDY, run=run, round_index=round_index, arrays=arrays)


def answer(content: RecordDict) -> Answer | Refusal:
    (reply,) = InProcessGrid(app, num_nodes=1).send_and_receive([Message(content, 1, "train")])
    return unpack_answer(reply.content)


def refused(site: Site, content: RecordDict) -> bool:
    """Whether the site refuses it as unproven, writes that down, and charges nothing for it."""
    before = charges(site)
    found = answer(content)
    line = json.loads((site.home / "egress.jsonl").read_text().splitlines()[-1])
    unproven = found == Refusal(site="north", code=SiteCode.REQUEST_UNPROVEN)
    return unproven and line["refusal"] == "request-unproven" and charges(site) == before


def charges(site: Site) -> int:
    if not site.ledger_path.exists():
        return 0
    with Ledger(site.ledger_path) as ledger:
        return len(ledger.charges())


def without(content: RecordDict, *names: str) -> RecordDict:
    body = {name: value for name, value in content[BODY].items() if name not in names}
    return RecordDict({**content, BODY: ConfigRecord(body)})  # type: ignore[arg-type]


def test_what_the_hub_signed_is_answered(site: Site, signer: Signer) -> None:
    assert isinstance(answer(signer.messages(request(), NODES)[1]), TrainAnswer)


@pytest.mark.parametrize("names", [(CLAIMS,), (SIGNATURE,), (CLAIMS, SIGNATURE)], ids=str)
def test_what_carries_no_proof_is_not(site: Site, signer: Signer, names: tuple[str, ...]) -> None:
    assert refused(site, without(signer.messages(request(), NODES)[1], *names))


def test_what_another_key_signed_is_not(site: Site, tmp_path: Path) -> None:
    another = Signer(tmp_path, SiteKey.open(tmp_path / "another.ed25519"), 60.0)
    assert refused(site, another.messages(request(), NODES)[1])
    assert refused(site, Signer(tmp_path, None, 60.0).messages(request(), NODES)[1])


def test_what_was_made_out_to_another_site_is_not(site: Site, signer: Signer) -> None:
    assert refused(site, signer.messages(request(), {1: "south"})[1])
    assert refused(site, signer.messages(request(), {1: ""})[1])


@pytest.mark.parametrize("field", ["study", "run", "round_index", "purpose", "split", "weights", "rehearsal"])
def test_a_signature_covers_every_field(site: Site, signer: Signer, field: str) -> None:
    """The proof of one request beside the content of another: what a relay between hub and site could make."""
    true = request()
    asked: dict[str, Any] = {
        "study": {"study": dataclasses.replace(STUDY, name="another")},
        "run": {"run": "cd"},
        "round_index": {"round_index": 2},
        "purpose": {"purpose": "evaluate"},
        "split": {"split": "test"},
        "rehearsal": {"rehearsal": True},
        "weights": {"arrays": {name: values + np.float32(1e-6) for name, values in true.arrays.items()}},
    }
    proof = signer.messages(true, NODES)[1][BODY]
    other = signer.messages(dataclasses.replace(true, **asked[field]), NODES)[1]
    body = {**other[BODY], CLAIMS: proof[CLAIMS], SIGNATURE: proof[SIGNATURE]}  # type: ignore[dict-item]
    assert refused(site, RecordDict({**other, BODY: ConfigRecord(body)}))


@pytest.mark.parametrize("change", [{"protocol": "oncofed-request/0"}, {"number": "7"}, {"expires": True}, {"more": 1}])
def test_even_the_hub_signs_nothing_else(site: Site, key: SiteKey, signer: Signer, change: dict[str, Any]) -> None:
    content = signer.messages(request(), NODES)[1]
    text = json.dumps(json.loads(str(content[BODY][CLAIMS])) | change, sort_keys=True, separators=(",", ":"))
    body = {**content[BODY], CLAIMS: text, SIGNATURE: key.sign(text.encode())}
    assert refused(site, RecordDict({**content, BODY: ConfigRecord(body)}))  # type: ignore[arg-type]


def test_an_old_request_is_refused_though_it_was_never_answered(site: Site, signer: Signer) -> None:
    first, second = signer.messages(request(1), NODES)[1], signer.messages(request(2), NODES)[1]
    assert isinstance(answer(second), TrainAnswer)
    assert refused(site, first)


def test_a_number_is_of_one_request_only(site: Site, key: SiteKey, signer: Signer) -> None:
    """Two requests of one number, as from a copy of the hub: which of them came first must not matter to a site."""
    first, other = (signer.messages(request(index), NODES)[1] for index in (1, 2))
    assert isinstance(answer(first), TrainAnswer)
    expires = int(time.time()) + 60
    assert refused(
        site, addressed(other, Claims.of(request(2), site="north", number=number(first), expires=expires), key)
    )


def test_the_same_message_once_more_has_the_same_answer(site: Site, signer: Signer) -> None:
    """Flower hands out a message twice after a crash."""
    content = signer.messages(request(), NODES)[1]
    once, again = answer(content), answer(content)
    assert isinstance(once, TrainAnswer) and isinstance(again, TrainAnswer)
    assert all(np.array_equal(once.arrays[name], again.arrays[name]) for name in once.arrays)
    assert charges(site) == 1


def test_a_hub_that_asks_again_after_a_crash_has_the_update_that_was_paid(site: Site, signer: Signer) -> None:
    once = answer(signer.messages(request(), NODES)[1])
    again = answer(Signer(signer.folder, signer.key, 60.0).messages(request(), NODES)[1])
    assert isinstance(once, TrainAnswer) and isinstance(again, TrainAnswer)
    assert charges(site) == 1


def test_a_run_folder_from_a_backup_counts_on(signer: Signer) -> None:
    before = json.loads(str(signer.messages(request(), NODES)[1][BODY][CLAIMS]))["number"]
    (signer.folder / "requests.json").unlink()
    assert json.loads(str(signer.messages(request(), NODES)[1][BODY][CLAIMS]))["number"] > before


def test_a_request_ends_with_its_time_by_a_clock_that_may_be_an_hour_off(site: Site, key: SiteKey) -> None:
    def at(seconds: float) -> RecordDict:
        content = Signer(site.home, None, 60.0).messages(request(), NODES)[1]
        claims = Claims.of(request(), site="north", number=number(content), expires=int(time.time() + seconds))
        return addressed(content, claims, key)

    assert refused(site, at(-SKEW_SECONDS - 10))
    assert isinstance(answer(at(-SKEW_SECONDS + 60)), TrainAnswer)


def number(content: RecordDict) -> int:
    return int(json.loads(str(content[BODY][CLAIMS]))["number"])


def test_damaged_memory_closes_the_run(site: Site, signer: Signer) -> None:
    answer(signer.messages(request(), NODES)[1])
    (path,) = (site.home / "asked").glob("*.number.json")
    path.write_text("{")
    assert refused(site, signer.messages(request(2), NODES)[1])


def test_an_answer_to_another_request_is_a_bad_update(site: Site, signer: Signer) -> None:
    """A site, or whoever stands between, hands in an answer of before; on the old code it counted."""
    old = signer.messages(request(1), NODES)[1]
    (kept,) = InProcessGrid(app, num_nodes=1).send_and_receive([Message(old, 1, "train")])

    def replaying(message: Message, context: object) -> Message:
        return Message(kept.content, reply_to=message)

    new = signer.messages(request(1), NODES)
    assert claims_digest(new[1]) != claims_digest(old)
    ((_, found),) = ask(InProcessGrid(replaying, num_nodes=1), new, "train", 60.0)
    assert found == Refusal(site="", code=SiteCode.BAD_UPDATE)
    ((_, found),) = ask(InProcessGrid(app, num_nodes=1), new, "train", 60.0)
    assert isinstance(found, TrainAnswer)


def test_refusals_are_bound_too(site: Site, signer: Signer) -> None:
    content = signer.messages(request(), {1: "south"})[1]
    (reply,) = InProcessGrid(app, num_nodes=1).send_and_receive([Message(content, 1, "train")])
    assert reply.content[BODY]["answers"] == claims_digest(content)
