"""Sites that send whatever they like: each is refused by a code, and the run goes on with the others."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, RecordDict

from common.protocol.messages import ARRAYS, BODY, VALUES, Request
from tests.scenarios.conftest import Federation

SHORT = "training.rounds=1 evaluation.local_baseline=false evaluation.resamples=20 strategy.quorum=2"
Change = Callable[[RecordDict], None]


def body(**values: str) -> Change:
    """Returns what overwrites parts of the message itself."""
    return lambda content: content[BODY].update(values)


def fields(**values: Any) -> Change:
    """Returns what overwrites fields of the answer, whatever their kind."""

    def change(content: RecordDict) -> None:
        answer = json.loads(str(content[BODY]["answer"]))
        content[BODY]["answer"] = json.dumps(answer | values)

    return change


def named(name: str) -> Change:
    def change(content: RecordDict) -> None:
        body(site=name)(content)
        fields(site=name)(content)

    return change


def values(data: Callable[[int], bytes]) -> Change:
    """Returns what overwrites the bytes of the weights, given how many there are, and leaves what they declare."""

    def change(content: RecordDict) -> None:
        size = content[ARRAYS][VALUES].shape[0]
        array = Array(dtype="float32", shape=(size,), stype="numpy.ndarray", data=data(size))
        content[ARRAYS] = ArrayRecord({VALUES: array})

    return change


def saved(kind: str) -> Callable[[int], bytes]:
    def data(size: int) -> bytes:
        file = io.BytesIO()
        np.save(file, np.zeros(size, kind))
        return file.getvalue()

    return data


def hostile(federation: Federation, purpose: str, changes: Mapping[str, Change]) -> None:
    def tamper(request: Request, site: str, content: RecordDict) -> None:
        if request.purpose == purpose and site in changes:
            changes[site](content)

    federation.tamper = tamper


def sites(*changes: Change) -> dict[str, Change]:
    return {f"site_{number}": change for number, change in enumerate(changes, start=1)}


def written(federation: Federation) -> set[str]:
    return {path.name for path in (federation.folder / "privacy").glob("*.json")}


CARDS = sites(
    fields(declared_patients="5"),
    fields(declared_patients=float("nan")),
    fields(input_shape=[10**6, 10**6, 10**6]),
    fields(counts={"train": 5}),
    body(answer="[" * 100_000),
)
UPDATES = sites(
    body(layout="[" * 100_000),
    body(answer="[" * 100_000),
    fields(epsilon_spent=float("nan")),
    fields(weight=True),
    values(lambda size: b"PK\x03\x04" + b"x" * size),
    values(lambda size: b"\x93NUMPY\x01\x00\x06\x00{'a':("),
    values(saved("<f2")),
    values(saved(">f4")),
    values(saved("<U1")),
)


def test_a_card_that_is_none_keeps_its_site_out_and_nobody_else(federation: Federation) -> None:
    hostile(federation, "enrol", CARDS)
    run = federation.run(f"{SHORT} privacy=none partition.sites=7 data.patients=210")
    assert run["status"] == "PARTIAL" and federation.error is None
    assert all(f"node-{node} (bad-update)" in run["reason"] for node in range(1, 6))
    assert federation.rounds()[0]["joined"] == ["site_6", "site_7"]


def test_an_update_that_is_none_is_left_out_and_named(federation: Federation) -> None:
    hostile(federation, "train", UPDATES)
    run = federation.run(f"{SHORT} privacy=none partition.sites=11 data.patients=330")
    assert run["status"] == "PARTIAL" and federation.error is None
    assert all(f"{site} (bad-update)" in run["reason"] for site in UPDATES)
    assert federation.rounds()[0]["joined"] == ["site_10", "site_11"]


@pytest.mark.parametrize(("document", "code"), [({}, "bad-answer"), ({"epsilon": float("nan")}, "bad-update")])
def test_a_statement_that_states_nothing_is_its_sites_loss(
    federation: Federation, document: dict[str, Any], code: str
) -> None:
    hostile(federation, "statement", sites(fields(document=document)))
    run = federation.run(f"{SHORT} privacy=none")
    assert run["status"] == "PARTIAL" and f"site_1 ({code})" in run["reason"]
    assert written(federation) == {"site_2.json", "site_3.json"}


@pytest.mark.parametrize("name", ["../../evil", "/evil", "Evil", "e v i l", "evil\n", "é"])
def test_a_site_whose_name_could_be_no_file_does_not_take_part(federation: Federation, name: str) -> None:
    hostile(federation, "enrol", sites(named(name)))
    run = federation.run(f"{SHORT} privacy=none")
    assert run["status"] == "PARTIAL" and "node-1 (bad-request)" in run["reason"]
    assert federation.rounds()[0]["joined"] == ["site_2", "site_3"]
    assert not [path for path in federation.folder.parent.rglob("*") if "evil" in path.name.lower()]


def test_a_site_that_declares_more_patients_than_can_be_summed_keeps_the_others_in(federation: Federation) -> None:
    hostile(federation, "enrol", sites(fields(declared_patients=2**20)))
    run = federation.run(f"{SHORT} privacy=none strategy.weighting=declared")
    assert run["status"] == "PARTIAL" and "site_1 (bad-request)" in run["reason"]
    assert federation.rounds()[0]["joined"] == ["site_2", "site_3"]
