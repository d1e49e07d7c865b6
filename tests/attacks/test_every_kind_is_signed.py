"""The proof of one request beside the content of another: of every kind, those of secure sums and rehearsals too."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from client.app import app
from client.site.hospital import Site
from common.errors import SiteCode
from common.protocol.messages import BODY, CLAIMS, SIGNATURE, Refusal, Request, unpack_answer
from common.protocol.secure_sum import Announcement
from server.run.signer import Signer
from simulations.engine.grid import InProcessGrid
from tests.attacks.test_forged_requests import NODES, STUDY, charges, request
from tests.attacks.test_forged_requests import key as key
from tests.attacks.test_forged_requests import signer as signer
from tests.attacks.test_forged_requests import site as site

SUMMED = dataclasses.replace(STUDY, privacy=dataclasses.replace(STUDY.privacy, mode="distributed"))
ROSTER = tuple(Announcement(site=name, patients=40, key="ab" * 32, signature="cd" * 64) for name in ("north", "west"))
TRAIN = request()
KINDS: dict[str, Request] = {
    "enrol": Request(purpose="enrol", study=STUDY, run="ab"),
    "enrol for a sum": Request(purpose="enrol", study=SUMMED, run="ab"),
    "rehearsal": Request(purpose="enrol", study=STUDY, run="ab", rehearsal=True),
    "train": TRAIN,
    "a sum": dataclasses.replace(TRAIN, study=SUMMED, roster=ROSTER, attempt=1),
    "validation": dataclasses.replace(TRAIN, purpose="evaluate"),
    "test": dataclasses.replace(TRAIN, purpose="evaluate", split="test"),
    "own models": dataclasses.replace(TRAIN, purpose="baseline"),
    "where it looks": dataclasses.replace(TRAIN, purpose="attention"),
    "statement": Request(purpose="statement", study=STUDY, run="ab"),
}
CHANGES: dict[str, dict[str, Any]] = {
    "study": {"study": dataclasses.replace(STUDY, name="another")},
    "run": {"run": "cd"},
    "round": {"round_index": 3},
    "rehearsal": {},
    "split": {},
    "attempt": {"attempt": 2},
    "a site more": {"roster": (*ROSTER, Announcement(site="zz", patients=1, key="ef" * 32))},
    "a site fewer": {"roster": ROSTER[:1]},
    "another key": {"roster": (dataclasses.replace(ROSTER[0], key="ee" * 32), ROSTER[1])},
    "weights": {"arrays": {"head.weight": np.full((2, 2), 7, dtype=np.float32)}},
    "a sign of zero": {"arrays": {"head.weight": np.array([-0.0], dtype=np.float32)}},
}


def changed(true: Request, name: str) -> Request:
    turned: dict[str, Any] = {"rehearsal": not true.rehearsal, "split": "val" if true.split == "test" else "test"}
    return dataclasses.replace(true, **({name: turned[name]} if name in turned else CHANGES[name]))


def is_refused(site: Site, signer: Signer, true: Request, other: Request) -> bool:
    """Whether the site refuses ``other`` under the proof of ``true``, and nothing is charged or begun."""
    before, grid = charges(site), InProcessGrid(app, num_nodes=1)
    proof, content = (signer.messages(one, NODES)[1] for one in (true, other))
    body = {**content[BODY], CLAIMS: proof[BODY][CLAIMS], SIGNATURE: proof[BODY][SIGNATURE]}  # type: ignore[dict-item]
    kind = {"train": "train", "evaluate": "evaluate"}.get(other.purpose, "query")
    sent = Message(RecordDict({**content, BODY: ConfigRecord(body)}), 1, kind)
    (reply,) = grid.send_and_receive([sent])
    said = unpack_answer(reply.content)
    untouched = charges(site) == before and not (site.home / "questions").exists()
    return said == Refusal(site="north", code=SiteCode.REQUEST_UNPROVEN) and untouched


@pytest.mark.parametrize("kind", KINDS)
def test_no_field_of_any_kind_can_be_changed(kind: str, site: Site, signer: Signer) -> None:
    true = KINDS[kind]
    assert [name for name in CHANGES if not is_refused(site, signer, true, changed(true, name))] == []


def test_no_proof_of_one_kind_is_one_of_another(site: Site, signer: Signer) -> None:
    pairs = itertools.permutations(KINDS, 2)
    assert [pair for pair in pairs if not is_refused(site, signer, KINDS[pair[0]], KINDS[pair[1]])] == []
