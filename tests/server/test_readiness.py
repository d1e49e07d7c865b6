"""A study can ask for certificates: a site's own, unchanged, and without an open error; else it does not take part."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from client.site.certificate import read_certificate
from common.errors import DataError, SiteCode
from common.protocol.messages import SiteCard
from common.provenance import PROTOCOL_VERSION, mathematics_digest
from common.trust.certificate import signed_certificate
from common.trust.signing import SiteKey
from server.run.cards import Expected
from server.run.enrolment import _ready, _roster

CARD = SiteCard(
    site="north", declared_patients=40, input_shape=(1, 8, 8), counts={}, frozen_digest="f",
    protocol=PROTOCOL_VERSION, mathematics_digest=mathematics_digest(), code_digest="c", seeded=True, synthetic=True,
    dataset={},
)  # fmt: skip
EXPECTED = Expected(shape=(1, 8, 8), frozen="f")


def code_of(card: SiteCard, keys: dict[str, str]) -> SiteCode | None:
    return _roster([(1, card)], {}, dataclasses.replace(EXPECTED, ready=_ready(keys))).refused.get(card.site)


@pytest.fixture
def key(tmp_path: Path) -> SiteKey:
    return SiteKey.open(tmp_path / "key")


def with_certificate(key: SiteKey, **body: Any) -> SiteCard:
    return dataclasses.replace(CARD, readiness=signed_certificate({"site": "north", "ready": True} | body, key))


def test_the_sites_own_certificate_lets_it_in(key: SiteKey) -> None:
    assert code_of(with_certificate(key), {}) is None
    assert code_of(with_certificate(key), {"north": key.public_hex}) is None


def test_any_other_does_not(key: SiteKey, tmp_path: Path) -> None:
    good = with_certificate(key)
    assert good.readiness is not None
    others = [
        CARD,
        with_certificate(key, ready=False),
        with_certificate(key, site="south"),
        with_certificate(SiteKey.open(tmp_path / "other")),
        dataclasses.replace(good, readiness={**good.readiness, "ready": "yes"}),
        dataclasses.replace(good, readiness=[1]),
        dataclasses.replace(good, readiness={**good.readiness, "x": float("nan")}),
    ]
    assert [code_of(card, {"north": key.public_hex}) for card in others] == [SiteCode.DATA_UNFIT] * len(others)
    assert code_of(good, {"south": key.public_hex}) == SiteCode.DATA_UNFIT, "a site without a known key"


def test_a_study_that_does_not_ask_takes_every_card() -> None:
    assert _roster([(1, CARD)], {}, EXPECTED).refused == {}


def test_the_certificate_is_read_from_the_home(tmp_path: Path, key: SiteKey) -> None:
    with pytest.raises(DataError, match="there is none"):
        read_certificate(tmp_path)
    for text, words in (("{", "cannot be read"), ("[]", "holds no certificate")):
        (tmp_path / "readiness.json").write_text(text)
        with pytest.raises(DataError, match=words):
            read_certificate(tmp_path)
    document = signed_certificate({"site": "north"}, key)
    (tmp_path / "readiness.json").write_text(json.dumps(document))
    assert read_certificate(tmp_path) == document
