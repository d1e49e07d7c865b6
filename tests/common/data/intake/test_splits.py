"""A published split is kept whole when asked: nobody of train is ever tested on, and nobody is in two parts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.data.intake.splits import publish_split
from common.data.manifest import Record

PARTS = st.lists(
    st.sampled_from(["train", "Training", "val", "valid", "test", "Testing", "other"]), min_size=1, max_size=40
)


@given(PARTS, st.booleans())
def test_train_stays_train_or_val_and_held_out_stays_held_out(parts: list[str], keep: bool) -> None:
    records = [Record(f"{part}/{n % 2}/{n}.png", f"p{n}", n % 2) for n, part in enumerate(parts)]
    kept, _, findings = publish_split(records, keep=keep)
    errors = [finding for finding in findings if finding.severity == "error"]
    assert [record.image for record in kept] == [record.image for record in records]
    if not keep or errors:
        assert not any(record.split for record in kept) or errors
        return
    for record in kept:
        published = record.image.split("/")[0].lower()
        assert record.split in (("train", "val") if published.startswith("train") else ("val", "test"))
        assert not published.startswith("test") or record.split == "test"


@given(st.lists(st.tuples(st.sampled_from(["train", "test", "val"]), st.integers(0, 5)), min_size=2, max_size=30))
def test_a_patient_in_two_parts_is_an_error(rows: list[tuple[str, int]]) -> None:
    records = [Record(f"{part}/{n}.png", f"p{who}", who % 2) for n, (part, who) in enumerate(rows)]
    places: dict[int, set[str]] = {}
    for part, who in rows:
        places.setdefault(who, set()).add(part)
    _, _, findings = publish_split(records, keep=True)
    leaks = any(finding.code == "split-leaks" for finding in findings)
    assert leaks == (len({part for part, _ in rows}) > 1 and any(len(some) > 1 for some in places.values()))
