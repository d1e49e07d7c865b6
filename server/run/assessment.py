"""The end of a run: the threshold is fixed, the test is opened, and every model is judged on the same patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from common.errors import DataError, FederationError, SiteCode
from common.evaluation.across_sites import comparisons, do_no_harm, joining, spread
from common.evaluation.answers import OWN, OwnModel, OwnModels
from common.evaluation.calibration import recalibrated, recalibrated_probability, released
from common.evaluation.decision import OperatingPoint, operating_point
from common.evaluation.fairness import fairness
from common.evaluation.metrics import Confusion, confusion
from common.evaluation.own_release import Coarse, OwnAnswer, own_release, read_own
from common.evaluation.scores import ScoreState
from common.evaluation.summary import Measure, summarise
from common.evaluation.within_sites import within_sites, without_mixed
from common.protocol.aggregation import Arrays
from common.protocol.messages import DocumentAnswer, Purpose, Refusal
from common.runs.run_folder import RunFolder
from server.run.cards import scores_fit
from server.run.looking import explanation, fits_card, read_looked
from server.run.rounds import Federation

Read = TypeVar("Read")
FORMULA = "probability = 1 / (1 + exp(-(intercept + slope * log(score / (1 - score)))))"


class Assessment:
    """Judges the chosen round's model; sites that do not answer are added to ``lost``.

    A rehearsal leaves no model, and no calibration of one.
    """

    def __init__(
        self, federation: Federation, folder: RunFolder, lost: dict[str, SiteCode], *, rehearsal: bool = False
    ) -> None:
        self._federation, self._folder, self._lost, self._rehearsal = federation, folder, lost, rehearsal
        self._rules = federation.study.evaluation
        self._measure = Measure(
            confidence=self._rules.confidence,
            resamples=self._rules.resamples,
            seed=federation.study.seed,
            specificity=self._rules.specificity,
            noised=self._rules.noise > 0,
        )

    def conduct(self, arrays: Arrays, *, best_round: int, validation: Mapping[str, ScoreState]) -> None:
        """Writes ``threshold.json``, asks for the test scores, and writes ``evaluation.json``.

        Args:
            arrays: The chosen round's weights.
            best_round: Its number.
            validation: Its score states on validation patients, by site.

        Raises:
            FederationError: No site could score a model.
        """
        point = self._fix_threshold(best_round, validation)
        federated = self._ask("evaluate", ScoreState.from_json, self._scores_fit, split="test", arrays=arrays)
        models = {"federated": self._shared(federated, point)}
        answers = self._own_answers(arrays, federated)
        own = {site: answer for site, answer in answers.items() if isinstance(answer, OwnModels)}
        for name in OWN:
            of_sites = {site: answer.models[name] for site, answer in own.items() if name in answer.models}
            if of_sites:
                models[name] = self._own(of_sites)
        document = self._document(point, best_round, models, federated)
        document["recalibration"] = recalibrated(federated, validation) | {
            "released": self._recalibrate(point, total(federated), total(validation) if validation else None)
        }
        self._folder.write_json("evaluation.json", document | self._compared(models, own) | self._released(answers))
        self._write_attention(arrays, point, federated)

    def _fix_threshold(self, best_round: int, validation: Mapping[str, ScoreState]) -> OperatingPoint:
        rules = self._rules
        point = operating_point(rules.threshold, total(validation) if validation else None, rules.bins)
        fixed = {"schema_version": 1, "fixed": datetime.now(UTC).isoformat(timespec="seconds"), "round": best_round}
        self._folder.write_json("threshold.json", fixed | point.to_json())
        return point

    def _recalibrate(self, point: OperatingPoint, test: ScoreState, validation: ScoreState | None) -> dict[str, Any]:
        """Writes ``model/calibration.json``, which goes with the weights, and returns what it does on test patients."""
        found = released(test, validation, self._rules.confidence)
        line = {name: found[name] for name in ("method", "intercept", "slope", "validation_patients")}
        threshold = recalibrated_probability(point.threshold, found["intercept"], found["slope"])
        raw = {"schema_version": 1, "threshold_as_scored": point.threshold, "threshold": threshold}
        if not self._rehearsal:
            self._folder.write_json("model/calibration.json", raw | line | {"formula": FORMULA})
        return found

    def _own_answers(self, arrays: Arrays, tested: Mapping[str, ScoreState]) -> dict[str, OwnAnswer]:
        """Returns what each site lets leave of its own models; None where it keeps all of it, which loses no site."""
        if not self._rules.local_baseline:
            return {}
        answers = self._ask_tested("baseline", tested, arrays)
        kept = {site for site, answer in answers.items() if is_kept(answer)}
        told = {site: answer for site, answer in answers.items() if site not in kept}
        return dict.fromkeys(sorted(kept), None) | self._read(told, read_own, self._own_fit)

    def _ask_tested(self, purpose: Purpose, tested: Mapping[str, ScoreState], arrays: Arrays) -> Mapping[str, Any]:
        """Returns the answers of those whose test was scored: another would refuse, and why it was lost stays told."""
        nodes = {site: node for site, node in self._federation.roster.nodes.items() if site in tested}
        return self._federation.ask_sites(purpose, nodes, arrays=arrays)

    def _write_attention(self, arrays: Arrays, point: OperatingPoint, tested: Mapping[str, ScoreState]) -> None:
        """Writes ``explanation.json`` where the study asks; a site that keeps where the model looks is not lost."""
        if not self._rules.attention:
            return
        federation = self._federation
        answers = self._ask_tested("attention", tested, arrays)
        kept = {site for site, answer in answers.items() if is_kept(answer)}
        told = {site: answer for site, answer in answers.items() if site not in kept}
        found = self._read(told, read_looked, lambda site, one: fits_card(federation.roster.cards[site], one))
        facts = {
            "run_id": federation.run, "study_digest": federation.study.digest(), "threshold": point.threshold,
            "min_cell": self._rules.min_cell,
            "synthetic": all(card.synthetic for card in federation.roster.cards.values()),
        }  # fmt: skip
        document = explanation(
            dict.fromkeys(sorted(kept), None) | found, confidence=self._rules.confidence, facts=facts
        )
        self._folder.write_json("explanation.json", document)

    def _scores_fit(self, site: str, state: ScoreState) -> bool:
        card, rules = self._federation.roster.cards[site], self._rules
        return scores_fit(card, "test", state, rules.subgroups, rules.noise)

    def _own_fit(self, site: str, own: OwnModels | Coarse) -> bool:
        card = self._federation.roster.cards[site]
        return isinstance(own, Coarse) or all(scores_fit(card, "test", model.scores) for model in own.models.values())

    def _compared(self, models: Mapping[str, Any], own: Mapping[str, OwnModels]) -> dict[str, Any]:
        rules = self._rules
        return {
            "margin": rules.margin,
            "comparisons": comparisons(own, margin=rules.margin, confidence=rules.confidence),
            "spread": {name: spread(block) for name, block in models.items()},
        }

    def _released(self, answers: Mapping[str, OwnAnswer]) -> dict[str, Any]:
        """Returns who gains and who is harmed, and what each site let leave for it."""
        if not answers:
            return {}
        rules = self._rules
        told = {"margin": rules.margin, "confidence": rules.confidence}
        found = {"do_no_harm": do_no_harm(answers, **told, seed=self._measure.seed)}
        gains = joining(answers, **told, seed=self._measure.seed)
        return found | ({"joining": gains} if gains else {}) | {"own_release": own_release(answers)}

    def _document(
        self, point: OperatingPoint, best_round: int, models: Mapping[str, Any], federated: Mapping[str, ScoreState]
    ) -> dict[str, Any]:
        rules = self._rules
        return {
            "schema_version": 1,
            "level": "patient",
            "threshold": point.threshold,
            "threshold_rule": point.to_json() | {"round": best_round},
            "confidence": rules.confidence,
            "resamples": rules.resamples,
            "score_noise": rules.noise,
            "round": best_round,
            "models": models,
            "fairness": {
                "min_group": rules.min_group,
                "attributes": fairness(
                    total(federated), threshold=point.threshold, measure=self._measure, min_group=rules.min_group
                ),
            },
        }

    def _shared(self, states: Mapping[str, ScoreState], point: OperatingPoint) -> dict[str, Any]:
        """One model at every site, at one threshold."""
        return {
            "pooled": self._summary(total(states), point.threshold, strata=states, bands=True),
            "within_sites": within_sites(states, self._rules.confidence),
            "sites": {
                site: self._summary(state, point.threshold, strata={site: state}) for site, state in states.items()
            },
        }

    def _own(self, own: Mapping[str, OwnModel]) -> dict[str, Any]:
        """A model for each site, each at its own threshold; their calls are put together, their scores are not."""
        states = {site: model.scores for site, model in own.items()}
        calls = {site: confusion(model.scores, model.point.threshold) for site, model in own.items()}
        return {
            "pooled": without_mixed(self._summary(total(states), 0.5, strata=states, counts=added(calls))),
            "within_sites": within_sites(states, self._rules.confidence),
            "sites": {
                site: self._summary(state, own[site].point.threshold, strata={site: state})
                for site, state in states.items()
            },
            "thresholds": {site: model.point.to_json() for site, model in own.items()},
        }

    def _summary(self, state: ScoreState, threshold: float, **options: Any) -> dict[str, Any]:
        return summarise(state, threshold=threshold, measure=self._measure, **options)

    def _ask(
        self, purpose: Any, read: Callable[[object, int], Read], fits: Callable[[str, Read], bool], **fields: Any
    ) -> dict[str, Read]:
        """Returns what the sites answered, read strictly, where it fits their cards; the rest are lost.

        Raises:
            FederationError: No site's answer could be used.
        """
        answers = self._federation.ask_sites(purpose, self._federation.roster.nodes, **fields)
        found = self._read(answers, read, fits)
        if not found:
            lost = ", ".join(f"{site} ({code})" for site, code in sorted(self._lost.items()))
            raise FederationError(f"No site could score the model: lost: {lost}")
        return found

    def _read(
        self, answers: Mapping[str, Any], read: Callable[[object, int], Read], fits: Callable[[str, Read], bool]
    ) -> dict[str, Read]:
        found: dict[str, Read] = {}
        for site, answer in answers.items():
            value = self._value(site, answer, read)
            if isinstance(answer, Refusal):
                self._lost[site] = answer.code
            elif value is None or not fits(site, value):
                self._lost[site] = SiteCode.BAD_ANSWER
            else:
                found[site] = value
        return found

    def _value(self, site: str, answer: object, read: Callable[[object, int], Read]) -> Read | None:
        if not isinstance(answer, DocumentAnswer) or answer.site != site:
            return None
        try:
            return read(answer.document, self._rules.bins)
        except DataError:
            return None


def is_kept(answer: object) -> bool:
    """Returns whether a site keeps an answer that a run can do without."""
    return isinstance(answer, Refusal) and answer.code is SiteCode.NOT_RELEASED


def total(states: Mapping[str, ScoreState]) -> ScoreState:
    """Returns the sum of the sites' states; at least one."""
    first, *rest = (states[site] for site in sorted(states))
    for state in rest:
        first = first + state
    return first


def added(calls: Mapping[str, Confusion]) -> Confusion:
    """Returns the sum of the sites' confusions."""
    cells = ("tp", "fp", "tn", "fn")
    return Confusion(**{cell: sum(getattr(table, cell) for table in calls.values()) for cell in cells})
