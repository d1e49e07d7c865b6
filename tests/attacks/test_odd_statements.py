"""What one hospital states about itself ends neither a run nor its report; it costs that hospital at most itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import ConfigError, TrustError
from common.evaluation.noised import noised_state
from common.evaluation.scores import ScoreState
from common.privacy.discrete import discrete_gaussian
from common.privacy.randomness import Randomness
from common.privacy.signature import signed
from common.protocol.messages import SiteCard
from common.protocol.received import MAX_LINE
from common.provenance import PROTOCOL_VERSION, mathematics_digest
from common.runs.run_folder import RunFolder
from common.trust.signing import SiteKey
from server.app import render
from server.run.cards import scores_fit
from server.run.heads import FILE, Heads

CARD = SiteCard(
    site="north", declared_patients=40, input_shape=(1, 8, 8), counts={}, frozen_digest="f",
    protocol=PROTOCOL_VERSION, mathematics_digest=mathematics_digest(), code_digest="c", seeded=True, synthetic=True,
    dataset={},
)  # fmt: skip
ZEROS = ScoreState.empty(16)


def state(*groups: str) -> ScoreState:
    return ScoreState(ZEROS.positives, ZEROS.negatives, dict.fromkeys(groups, ZEROS))


@pytest.mark.parametrize(
    ("groups", "fit"),
    [
        ((), True),
        (("scanner=a", "scanner=other", "age=under_40"), True),
        (tuple(f"scanner=s{n}" for n in range(26)), True),
        (tuple(f"scanner=s{n}" for n in range(27)), False),
        (("postcode=1",), False),
        (tuple(f"x{n}=y" for n in range(256)), False),
    ],
)
def test_scores_of_groups_that_nobody_asked_for_do_not_fit(groups: tuple[str, ...], fit: bool) -> None:
    """256 groups of one site and one of another could not be added, which ended the run with nobody named."""
    assert scores_fit(CARD, "test", state(*groups), ("scanner", "age:40,50")) is fit
    assert scores_fit(CARD, "val", state(*groups)) is (not groups)


@pytest.mark.parametrize(
    "counts",
    [
        {"val": {"a": 1}},
        {"train": {}},
        {"train": {"patients": 1}},
        {"others": {"patients": 1, "malignant": 1, "benign": 0}},
        {"train": {"patients": 1, "malignant": 1, "benign": 0, "x" * 100: 1}},
    ],
)
def test_a_card_counts_what_the_report_shows_and_nothing_else(counts: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(CARD, counts=counts)


ROWS = {"nested": "[" * (MAX_LINE - 100), "a list": "[1]", "a number": '{"kind": "restore", "over": 5}', "no text": 5}


def digest(seq: int) -> str:
    return f"{seq:064x}"


HEADS = (
    None, [], {}, {"seq": "1", "digest": digest(1)}, {"seq": True, "digest": digest(1)}, {"seq": -1, "digest": ""},
    {"seq": 1, "digest": "d" * 4000}, {"seq": 1, "digest": {"a": 1}}, {"seq": 2.0, "digest": digest(1)},
)  # fmt: skip


@pytest.mark.parametrize("head", HEADS, ids=lambda head: f"{head!s:.30}")
def test_a_last_row_that_is_none_is_not_kept(tmp_path: Path, head: object) -> None:
    """Before, the first of a site was kept as it came, in the list that operators read and send to sites."""
    key, heads = SiteKey.open(tmp_path / "key"), Heads(tmp_path / FILE)
    odd = signed({"ledger_key": key.public_hex, "ledger_head": head, "ledger_rows": None}, key.sign)
    with pytest.raises(TrustError, match="no last row"):
        heads.take("north", odd)
    assert heads.all() == {}
    good = {"ledger_key": key.public_hex, "ledger_head": {"seq": 1, "digest": digest(1)}, "ledger_rows": None}
    heads.take("north", signed(good, key.sign))
    assert heads.take("north", odd) == "forked"
    assert (heads.all()["north"].seq, heads.all()["north"].problem) == (1, "forked")


@pytest.mark.parametrize("text", ROWS.values(), ids=ROWS)
def test_a_ledger_row_that_cannot_be_read_is_a_ledger_that_is_not_believed(tmp_path: Path, text: object) -> None:
    """A row of brackets alone was more than Python recurses through, which ended the run."""
    key, heads = SiteKey.open(tmp_path / "key"), Heads(tmp_path / FILE)

    def told(seq: int, *rows: Mapping[str, Any]) -> Mapping[str, Any]:
        head = {"seq": seq, "digest": digest(seq)}
        return signed({"ledger_key": key.public_hex, "ledger_head": head, "ledger_rows": list(rows)}, key.sign)

    assert heads.take("north", told(1, {"digest": digest(1)})) == "first"
    odd = told(2, {"digest": digest(1), "text": text}, {"digest": digest(2)})
    assert heads.take("north", odd) == "forked"
    assert heads.all()["north"].problem == "forked"


def test_a_report_that_cannot_be_written_is_named_and_ends_nothing(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", resume=False)
    folder.write_json("run.json", {"status": "COMPLETED", "sites": 5})
    render(folder.path)
    assert folder.read_json("run.json")["status"] == "COMPLETED"
    assert "the report cannot be written" in folder.read_json("run.json")["report_error"]


def test_noise_of_an_honest_site_is_not_its_bad_answer() -> None:
    """Before: more than twice the declared patients or 50 were refused, also where the study's noise told so many."""
    stream, labels = Randomness.from_seed(0).noise, np.tile([0, 1], 5)
    card = dataclasses.replace(CARD, declared_patients=20)
    for _ in range(100):
        told = noised_state(np.linspace(0, 1, 10), labels, 16, lambda count: discrete_gaussian(count, 20, stream))
        assert scores_fit(card, "test", told, noise=20)
    far = ScoreState(ZEROS.positives + 100, ZEROS.negatives)
    assert not scores_fit(card, "test", far, noise=20)
