"""Whole federations: the threshold is fixed before the test is opened, and every model meets the same patients."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from flwr.app import Context, Message

from common.errors import SiteCode
from common.evaluation.calibration import recalibrated_probability
from common.evaluation.scores import ScoreState
from common.protocol.messages import Refusal, pack_answer, unpack_answer, unpack_request
from common.protocol.signed_request import bind, claims_digest
from tests.scenarios.conftest import Federation


@dataclass
class Watched(Federation):
    """Notes each request in order, with what was fixed by then, and each answer's document."""

    seen: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    documents: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def _app(self) -> Any:
        app = super()._app()

        def watched(message: Message, context: Context) -> Message:
            request = unpack_request(message.content)
            path = self.folder / "threshold.json"
            fixed = json.loads(path.read_text()) if path.exists() else {}
            self.seen.append((request.purpose, request.split, fixed))
            reply = app(message, context)
            document = getattr(unpack_answer(reply.content), "document", None)
            if document is not None:
                purpose = f"{request.purpose} {request.split}" if request.purpose == "evaluate" else request.purpose
                self.documents.append((purpose, dict(document)))
            return reply

        return watched


def test_the_threshold_is_fixed_on_validation_before_the_test_is_opened(federation: Federation) -> None:
    watched = Watched(federation.folder)
    watched.run("privacy=none training.local_epochs=8 training.batch_patients=5")  # enough to beat chance
    opened = [index for index, (_, split, _) in enumerate(watched.seen) if split == "test"]
    assert all(not fixed for *_, fixed in watched.seen[: opened[0]])
    first = watched.seen[opened[0]][2]
    document = watched.read("evaluation.json")
    assert first["threshold"] == document["threshold"] and first["how"] == "Youden on validation"
    rule = document["threshold_rule"]
    assert rule["round"] == document["round"] and rule["patients"] > 0
    states = [ScoreState.from_json(d) for purpose, d in watched.documents if purpose == "evaluate val"]
    rounds = [sum(states[start : start + 3], ScoreState.empty(256)) for start in range(0, len(states), 3)]
    from common.evaluation.decision import operating_point

    assert rule["threshold"] == operating_point("auto", rounds[document["round"] - 1], 256).threshold


def test_a_number_in_the_study_is_the_threshold_of_every_model(federation: Federation) -> None:
    federation.run("privacy=none evaluation.threshold=0.25")
    document = federation.read("evaluation.json")
    thresholds = [point["threshold"] for point in document["models"]["local"]["thresholds"].values()]
    assert {round(t, 2) for t in (document["threshold"], *thresholds)} == {0.25}
    assert document["threshold_rule"]["how"] == "fixed by the study"


def test_each_local_model_calls_at_its_own_threshold(federation: Federation) -> None:
    federation.run("privacy=none")
    local = federation.read("evaluation.json")["models"]["local"]
    assert len({point["threshold"] for point in local["thresholds"].values()}) > 1
    for cell in ("tp", "fp", "tn", "fn"):
        assert local["pooled"]["confusion"][cell] == sum(site["confusion"][cell] for site in local["sites"].values())


def test_subgroups_leave_on_test_patients_only_and_only_where_large(federation: Federation) -> None:
    watched = Watched(federation.folder)
    watched.run("privacy=none data.patients=300 evaluation.min_cell=2 evaluation.min_group=5")
    table = watched.read("evaluation.json")["fairness"]["attributes"]["scanner"]
    assert table["groups"]
    for purpose, document in watched.documents:
        if purpose == "evaluate test":
            state = ScoreState.from_json(document)
            assert all(cell == 0 or cell >= 2 for g in state.groups.values() for cell in (g.malignant, g.benign))
        elif purpose == "evaluate val":
            assert not document["groups"]


def test_a_resumed_run_fixes_the_same_threshold(federation: Federation) -> None:
    federation.run("privacy=none training.rounds=2")
    broken = Federation(federation.folder.parent / "broken")
    for site in ("site_1", "site_2"):
        broken.mutations[site, 2] = lambda _: RuntimeError("killed")
    broken.run("privacy=none training.rounds=2")
    broken.mutations.clear()
    broken.run("privacy=none training.rounds=2", resume=True)
    assert broken.read("evaluation.json")["threshold"] == federation.read("evaluation.json")["threshold"]


def test_three_models_meet_on_the_same_patients_and_the_gate_says_who_is_harmed(federation: Federation) -> None:
    watched = Watched(federation.folder)
    watched.run("privacy=none evaluation.resamples=50")
    document = watched.read("evaluation.json")
    models = document["models"]
    assert set(models) == {"federated", "local", "personalised"}
    for site, row in models["federated"]["sites"].items():
        for name in ("local", "personalised"):
            other = models[name]["sites"][site]
            assert (row["malignant"], row["benign"]) == (other["malignant"], other["benign"])
            pair = f"federated_minus_{name}" if name == "local" else "personalised_minus_federated"
            difference = document["comparisons"][pair]["sites"][site]
            expected = (1 if name == "local" else -1) * (row["auroc"]["value"] - other["auroc"]["value"])
            allowed = row["auroc"]["binning_error"] + other["auroc"]["binning_error"] + 1e-9
            assert abs(difference["value"] - expected) <= allowed
    for site, gate in document["do_no_harm"]["sites"].items():
        assert gate["difference"] == document["comparisons"]["federated_minus_local"]["sites"][site]["value"]
        assert not gate["harm"] or gate["difference"] < -document["margin"]
    for name, block in models.items():
        ranked = {site: row for site, row in block["sites"].items() if row["auroc"]["value"] is not None}
        pairs = {site: row["malignant"] * row["benign"] for site, row in ranked.items()}
        mean = sum(pairs[site] * row["auroc"]["value"] for site, row in ranked.items()) / sum(pairs.values())
        assert block["within_sites"]["value"] == pytest.approx(mean)
        assert (block["pooled"]["auroc"]["value"] is None) == (name != "federated")
    worst = document["spread"]["federated"]["worst"]
    areas = [row["auroc"]["value"] for row in models["federated"]["sites"].values()]
    assert worst["auroc"] == min(areas)


def test_a_site_whose_answer_on_its_own_models_is_no_answer_makes_the_run_partial(federation: Federation) -> None:
    class Lying(Federation):
        def _app(self) -> Any:
            app = super()._app()

            def lie(message: Message, context: Context) -> Message:
                reply = app(message, context)
                answer = unpack_answer(reply.content)
                if unpack_request(message.content).purpose == "baseline" and answer.site == "site_2":
                    document = {**answer.document, "differences": {"federated_minus_local": {"value": 5}}}
                    lied = pack_answer(dataclasses.replace(answer, document=document))
                    reply.content = bind(lied, claims_digest(message.content))
                return reply

            return lie

    run = Lying(federation.folder).run("privacy=none")
    assert run["status"] == "PARTIAL" and "site_2 (bad-answer)" in run["reason"]
    document = federation.read("evaluation.json")
    assert set(document["models"]["local"]["sites"]) == {"site_1", "site_3"}
    assert set(document["models"]["federated"]["sites"]) == {"site_1", "site_2", "site_3"}


def test_a_site_that_missed_the_test_is_asked_no_more_and_why_it_was_lost_stays_told(federation: Federation) -> None:
    """On the code before, the refused question about its own models took the place of the reason."""
    asked = list[tuple[str, str]]()

    class Cut(Federation):
        def _app(self) -> Any:
            app = super()._app()

            def cut(message: Message, context: Context) -> Message:
                reply, request = app(message, context), unpack_request(message.content)
                site = unpack_answer(reply.content).site
                asked.append((request.purpose, site))
                if site == "site_2" and request.split == "test" and request.purpose == "evaluate":
                    refused = pack_answer(Refusal(site=site, code=SiteCode.UNAVAILABLE))
                    reply.content = bind(refused, claims_digest(message.content))
                return reply

            return cut

    run = Cut(federation.folder).run("privacy=none evaluation.attention=true")
    assert run["status"] == "PARTIAL" and run["reason"] == "lost: site_2 (unavailable)"
    for purpose in ("baseline", "attention"):
        assert {site for what, site in asked if what == purpose} == {"site_1", "site_3"}
    assert set(federation.read("explanation.json")["sites"]) == {"site_1", "site_3"}


def test_a_recalibration_goes_with_the_weights(federation: Federation) -> None:
    federation.run("privacy=none")
    found, document = federation.read("model/calibration.json"), federation.read("evaluation.json")
    told = document["recalibration"]["released"]
    assert {name: found[name] for name in ("method", "intercept", "slope")} == {
        name: told[name] for name in ("method", "intercept", "slope")
    }
    assert found["threshold_as_scored"] == document["threshold"]
    assert found["threshold"] == pytest.approx(
        recalibrated_probability(document["threshold"], found["intercept"], found["slope"])
    )
    page = (federation.folder / "report.html").read_text()
    assert ("model/calibration.json" in page) == (found["method"] == "platt")
