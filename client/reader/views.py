"""What each page says, as JSON values: the pages are drawn from these, so page and JSON cannot differ.

Nothing of a model's answer is in a document before the reader may see it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from client.reader.stages import Desk, Stage
from common.inference.reasons import MEANINGS, Reason
from common.notice import RESEARCH_USE

if TYPE_CHECKING:
    from client.reader.bench import Opened
    from client.reader.journal import Entry
    from client.reader.worklist import Known, Listed

SCHEMA_VERSION = 1
WORDS = {
    "benign": "benign", "malignant": "malignant", "cannot-tell": "cannot tell", "agree": "agree",
    "disagree": "disagree",
}  # fmt: skip
KEYS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("Answers", (("B", "benign"), ("M", "malignant"), ("C", "cannot tell"),
                 ("A", "agree with the model, or with its silence"), ("D", "disagree"),
                 ("Enter", "save what is chosen"))),
    ("Image", (("+ / -", "larger, smaller"), ("arrows", "move the image, when it has the focus"),
               ("[ / ]", "less, more contrast"), (", / .", "darker, brighter"), ("O", "attention on or off"),
               ("1 to 9", "image of the exam"), ("0", "as at the beginning"))),
    ("Pages", (("N / P", "next, previous exam"), ("L", "worklist"), ("J / K", "down, up in the worklist"),
               ("?", "these keys"))),
)  # fmt: skip
"""A key and what it does, by what it is for. Every one of these can be done with Tab, Space and Enter too."""


def page(kind: str, desk: Desk, model: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """Returns what every page has, and its own values."""
    return {
        "schema_version": SCHEMA_VERSION, "notice": RESEARCH_USE, "page": kind, "reader": desk.reader,
        "blind": desk.blind, "model": {name: model[name] for name in ("name", "digest", "expires", "state")}, **values,
    }  # fmt: skip


def worklist(desk: Desk, model: Mapping[str, Any], rows: Sequence[Listed], gone: int) -> dict[str, Any]:
    """Returns the worklist with how many exams are new, begun and read."""
    exams = [_row(desk, row) for row in rows]
    counts = {state: sum(exam["state"] == state for exam in exams) for state in ("new", "begun", "read", "nothing")}
    return page("worklist", desk, model, exams=exams, counts=counts, images_gone=gone)


def exam(desk: Desk, model: Mapping[str, Any], rows: Sequence[Listed], place: int, opened: Opened) -> dict[str, Any]:
    """Returns the page of the exam ``rows[place]``; the model's answer stands in it once the reader may see it."""
    row, record = rows[place], opened.known.record
    sees = desk.sees(record) or not opened.sizes
    attention = opened.result["attention"]
    images = [
        {"number": number, "picture": f"/exams/{row.id}/images/{number}.png", "width": width, "height": height,
         "attention": f"/exams/{row.id}/attention/{number}.png" if sees and attention["maps"] else None,
         "blank": sees and attention["maps"] and attention["blank"][number - 1]}
        for number, (width, height) in enumerate(opened.sizes, start=1)
    ]  # fmt: skip
    return page(
        "exam", desk, model,
        exam={"id": row.id, "name": row.name, "taken": row.taken, "modality": row.modality},
        place={"number": place + 1, "of": len(rows), "previous": rows[place - 1].id if place else None,
               "next": rows[place + 1].id if place + 1 < len(rows) else None},
        stage=str(desk.stage(record)) if opened.sizes else "nothing",
        reading=_said(desk.said(record, "reading")), verdict=_said(desk.said(record, "verdict")),
        images=images, result=opened.result if sees else None, not_for=list(model["label"]["use"]["not_for"]),
    )  # fmt: skip


def about(desk: Desk, model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the model's label: what it is for and not for, made of, and worth."""
    return page("model", desk, model, note=model["note"], synthetic=model["synthetic"], label=model["label"])


def keys(desk: Desk, model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the page of the keys."""
    return page("help", desk, model, keys=[{"what": what, "keys": [list(one) for one in some]} for what, some in KEYS])


def trouble(desk: Desk, model: Mapping[str, Any], status: int, message: str) -> dict[str, Any]:
    """Returns a page that says what went wrong and what to do."""
    return page("trouble", desk, model, status=status, message=message)


def _row(desk: Desk, row: Listed) -> dict[str, Any]:
    known = row.known
    record = None if known is None else known.record
    reading, verdict = desk.said(record, "reading"), desk.said(record, "verdict")
    unreadable = known is not None and Reason.UNREADABLE in known.reasons
    state = {Stage.READ: "new", Stage.JUDGE: "begun", Stage.DONE: "read"}[desk.stage(record)]
    return {
        "id": row.id, "name": row.name, "taken": row.taken, "modality": row.modality, "images": row.images,
        "state": "nothing" if unreadable else state, "reading": _said(reading), "verdict": _said(verdict),
        "model": _model(known) if known is not None and (desk.sees(record) or unreadable) else None,
    }  # fmt: skip


def _model(known: Known) -> dict[str, Any]:
    reasons = [MEANINGS[Reason(reason)] for reason in known.reasons]
    return {"answered": not known.abstained, "above_threshold": None if known.abstained else known.above,
            "reasons": reasons}  # fmt: skip


def _said(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {"answer": entry.answer, "words": WORDS[entry.answer], "blind": entry.blind,
            "made": entry.made.isoformat(timespec="seconds")}  # fmt: skip
