"""What one site says of itself stands in its own row, and speaks for no other site."""

from __future__ import annotations

import dataclasses

from common.config.study import compose
from common.protocol.messages import SiteCard
from common.provenance import PROTOCOL_VERSION
from server.run.enrolment import Roster
from server.run.progress import Progress
from server.run.run_document import run_document

STUDY = compose(["data=phantom"])
FACTS = {"name": "Phantoms", "licence": "CC0"}
HONEST = SiteCard(
    site="b", declared_patients=40, input_shape=(1, 8, 8), counts={}, frozen_digest="f", protocol=PROTOCOL_VERSION,
    mathematics_digest="m", code_digest="c", seeded=False, synthetic=False, dataset=FACTS,
)  # fmt: skip
LIAR = dataclasses.replace(HONEST, site="a", seeded=True, synthetic=True, dataset={"name": "Evil", "notes": ["wrong"]})


def document(*cards: SiteCard) -> dict[str, object]:
    named = {card.site: card for card in cards}
    roster = Roster(nodes=dict.fromkeys(named, 1), cards=named, refused={})
    return run_document(STUDY, roster, Progress(), None, "COMPLETED", "")


def test_the_first_site_by_name_does_not_speak_for_all() -> None:
    run = document(LIAR, HONEST, dataclasses.replace(HONEST, site="c"))
    assert run["dataset"] == FACTS and run["synthetic"] is False
    assert run["seeds"] == {"seed": STUDY.seed, "noise": "mixed"}
    assert [(row["name"], row["seeded"], row["synthetic"]) for row in run["sites"]] == [  # type: ignore[attr-defined]
        ("a", True, True), ("b", False, False), ("c", False, False)]  # fmt: skip


def test_without_a_majority_the_study_names_the_data() -> None:
    assert document(LIAR, HONEST)["dataset"] == {"name": STUDY.data.name}


def test_what_all_say_stands_for_the_run() -> None:
    run = document(LIAR)
    assert run["synthetic"] is True and run["seeds"] == {"seed": STUDY.seed, "noise": "seeded"}
    assert document()["synthetic"] is False
