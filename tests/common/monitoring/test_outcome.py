"""Outcomes by source, the shadow's pairs and the gate: by independent counts."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, date, datetime, timedelta
from math import comb
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError, DataError, TrustError
from common.inference.reasons import Reason
from common.inference.record import InferenceRecord
from common.monitoring.gate import Answer, Facts, Gate, change_between, judged, read_gate
from common.monitoring.labels import SOURCES, Label
from common.monitoring.outcome import judged as bets
from common.monitoring.outcome import outcomes, verified
from common.monitoring.reference import frozen, one_an_exam, read_reference
from common.monitoring.rules import Rules, read_rules
from common.monitoring.shadow import mcnemar, pairs

TODAY = date(2026, 11, 1)
RECORD = InferenceRecord(
    record="0" * 32, exam="A", patient="P", taken=None, made=datetime(2026, 1, 1, tzinfo=UTC), model="a" * 64,
    state="active", inputs=(), modality=None, manufacturer=None, device=None, probability=0.5, logit=0.0, set=None,
    threshold=0.5, above_threshold=True, abstained=False, reasons=(), appearance={}, feature_distance=None,
    versions={}, seconds=0.0,
)  # fmt: skip


def a_record(at: int, probability: float | None, **changes: Any) -> InferenceRecord:
    logit = None if probability is None else 0.0
    above = None if probability is None else probability >= 0.5
    reasons = (Reason.BLANK,) if probability is None else ()
    base = {"exam": f"E{at}", "patient": f"P{at}", "probability": probability, "logit": logit, "above_threshold": above,
            "abstained": bool(reasons), "reasons": reasons, "made": RECORD.made + timedelta(hours=at)}  # fmt: skip
    return dataclasses.replace(RECORD, **(base | changes))


def a_label(at: int, malignant: bool, source: str = "biopsy") -> Label:
    return Label(exam=f"E{at}", malignant=malignant, source=source, day=TODAY, seen=TODAY)  # type: ignore[arg-type]


cases = st.lists(
    st.tuples(st.none() | st.floats(0.01, 0.99), st.sampled_from([None, *SOURCES]), st.booleans()), max_size=40
)


@given(cases)
def test_each_source_has_its_own_counts_and_none_is_mixed(rows: list[tuple[float | None, str | None, bool]]) -> None:
    records = [a_record(at, probability) for at, (probability, _, _) in enumerate(rows)]
    labels = [a_label(at, bad, source) for at, (_, source, bad) in enumerate(rows) if source]
    for found in outcomes(records, labels):
        mine = [(p, bad) for p, source, bad in rows if source == found.source]
        told = [(p, bad) for p, bad in mine if p is not None]
        document = found.to_json()
        assert document["labels"] == len(mine) and document["answered"] == len(told)
        assert document["malignant"] == sum(bad for _, bad in told)
        hits = sum(bad and p >= 0.5 for p, bad in told)
        assert document["true_positives"] == hits
        if document["malignant"]:
            assert document["sensitivity"]["value"] == pytest.approx(hits / document["malignant"])
        else:
            assert document["sensitivity"] is None
    share = verified(records, labels)
    assert sum(row["verified"] for row in share.values()) == sum(  # type: ignore[misc]
        p is not None and source in ("biopsy", "interval") for p, source, _ in rows
    )


def test_misses_above_what_is_tolerated_alarm_and_the_alpha_is_shared() -> None:
    records = [a_record(at, 0.4 if at % 2 else 0.8) for at in range(120)]
    labels = [a_label(at, True) for at in range(120)]
    claims, alarms = bets(outcomes(records, labels), Rules(miss_rate=0.1, disagreement=0.2))
    assert [claim.measure for claim in claims] == [
        "disagreement (reader)",
        "miss rate (biopsy)",
        "miss rate (interval)",
    ]
    assert all("0.0167" in claim.false_alarms and "0.05" in claim.false_alarms for claim in claims)
    assert [alarm.claim.measure for alarm in alarms] == ["miss rate (biopsy)"]
    assert bets(outcomes(records, labels), Rules()) == ((), ())


def test_a_second_answer_to_an_exam_replaces_the_first() -> None:
    again = a_record(0, 0.9, made=RECORD.made + timedelta(days=9))
    assert one_an_exam([again, a_record(0, 0.1), a_record(1, 0.2)]) == [again, a_record(1, 0.2)]


def exact(first: int, second: int) -> float:
    """Returns the two-sided binomial p with 1/2 by adding up all outcomes that are no likelier."""
    n = first + second
    return sum(comb(n, k) for k in range(n + 1) if comb(n, k) <= comb(n, first)) / 2**n


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.none() | st.booleans()), max_size=30))
def test_mcnemar_counts_the_labelled_pairs_that_part(rows: list[tuple[bool, bool, bool | None]]) -> None:
    old = [a_record(at, 0.9 if a else 0.1) for at, (a, _, _) in enumerate(rows)]
    new = [a_record(at, 0.9 if b else 0.1, model="b" * 64, state="shadow") for at, (_, b, _) in enumerate(rows)]
    labels = [a_label(at, bad) for at, (_, _, bad) in enumerate(rows) if bad is not None]
    found = mcnemar(pairs([*new, *old], "a" * 64, "b" * 64, labels, "biopsy"))
    assert found["discordant"] == sum(a != b for a, b, _ in rows)
    assert found["to_label"] == [f"E{at}" for at, (a, b, bad) in enumerate(rows) if a != b and bad is None]
    for name, malignant in (("malignant", True), ("benign", False)):
        active = sum(a != b and bad is malignant and a is malignant for a, b, bad in rows)
        other = sum(a != b and bad is malignant and b is malignant for a, b, bad in rows)
        assert found["right_alone"][name] == {"active": active, "shadow": other}
        if active + other:
            assert found["p"][name] == pytest.approx(exact(active, other))


GATE = Gate(change="retrain", sensitivity=0.8)
FACTS = Facts(change="retrain", golden=1e-6, epsilon=3.0, worst=0.85, worst_active=0.88)


def good(count: int = 200) -> tuple[list[InferenceRecord], list[InferenceRecord], list[Label]]:
    """Two models that are alike and calibrated, on patients of whom half are malignant."""
    chance = [0.02 + 0.96 * at / (count - 1) for at in range(count)]
    old = [a_record(at, p) for at, p in enumerate(chance)]
    new = [a_record(at, p, model="b" * 64, state="shadow") for at, p in enumerate(chance)]
    spread = [(math.sin(at * 12.9898) * 43758.5453) % 1 for at in range(count)]
    return old, new, [a_label(at, spread[at] < p) for at, p in enumerate(chance)]


def verdict(gate: Gate = GATE, facts: Facts = FACTS, **changes: Any) -> dict[str, bool]:
    old, new, labels = good()
    both = pairs([*old, *new], "a" * 64, "b" * 64, labels, "biopsy")
    known = {label.exam: label.malignant for label in labels}
    answers = [Answer(r.probability or 0, (r.probability or 0) > 0.1, known[r.exam]) for r in new]
    found = judged(
        gate, facts, changes.get("both", both), changes.get("answers", answers), changes.get("none", (2, 200))
    )
    return {item.name: item.holds for item in found}


def test_a_model_that_is_as_good_passes_every_test() -> None:
    assert all(verdict().values()) and len(verdict()) == 9


@pytest.mark.parametrize(
    ("fails", "gate", "facts", "changes"),
    [
        ("change", {}, {"change": "architecture"}, {}),
        ("patients", {"patients": 150}, {}, {}),
        ("sensitivity", {"sensitivity": 0.999}, {}, {}),
        ("abstention", {}, {}, {"none": (80, 200)}),
        ("abstention", {}, {}, {"none": (0, 0)}),
        ("golden", {}, {"golden": 1e-2}, {}),
        ("epsilon", {"epsilon": 2.0}, {}, {}),
        ("epsilon", {"epsilon": 2.0}, {"epsilon": None}, {}),
        ("non_inferiority", {}, {}, {"both": ()}),
        ("worst_site", {}, {"worst": 0.7}, {}),
        ("worst_site", {}, {"worst": None}, {}),
        ("calibration_slope", {"calibration_slope": (1.9, 2.0)}, {}, {}),
    ],
)
def test_each_test_can_fail_and_what_was_not_measured_does(
    fails: str, gate: dict[str, Any], facts: dict[str, Any], changes: dict[str, Any]
) -> None:
    found = verdict(dataclasses.replace(GATE, **gate), dataclasses.replace(FACTS, **facts), **changes)
    assert [name for name, holds in found.items() if not holds] == [fails]


def test_a_change_is_the_largest_that_it_holds() -> None:
    old = {"weights": "1", "preprocessing": "p", "network": "n"}
    assert change_between(old, old) == "threshold"
    assert change_between(old, old | {"weights": "2"}) == "retrain"
    assert change_between(old, old | {"weights": "2", "preprocessing": "q"}) == "preprocessing"
    assert change_between(old, {"weights": "2", "preprocessing": "q", "network": "m"}) == "architecture"


def test_files_that_people_write_are_held_to_their_keys(tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").write_text("change: retrain\nsensitivity: 0.8\n")
    assert read_gate(tmp_path / "gate.yaml")[0] == GATE
    (tmp_path / "gate.yaml").write_text("change: retrain\nsensitivity: 2\nbonus: 1\n")
    with pytest.raises(ConfigError, match="sensitivity"):
        read_gate(tmp_path / "gate.yaml")
    with pytest.raises(ConfigError, match="no gate file"):
        read_gate(tmp_path / "none.yaml")
    assert read_rules(tmp_path / "none.yaml") == Rules()
    (tmp_path / "monitor.yaml").write_text("miss_rate: 1.5\n")
    with pytest.raises(ConfigError, match="miss_rate"):
        read_rules(tmp_path / "monitor.yaml")


def test_a_reference_is_frozen_of_one_exam_a_patient_and_known_by_its_digest() -> None:
    records = [a_record(at, 0.3, patient=f"P{at % 25}", appearance={"contrast": float(at)}) for at in range(50)]
    made = frozen(records, "a" * 64, date(2026, 1, 1), date(2026, 1, 31))
    assert made.exams == 25 and made.numbers["contrast"] == tuple(map(float, range(25)))
    import json

    text = json.dumps(made.to_json())
    assert read_reference(text, made.digest) == made
    with pytest.raises(TrustError, match="signed"):
        read_reference(text.replace("0.3", "0.4"), made.digest)
    with pytest.raises(DataError, match="20 patients"):
        frozen(records[:19], "a" * 64, date(2026, 1, 1), date(2026, 1, 31))
