"""A whole run at the hub: enrol, rounds with checkpoints, the best model, its test, the folder it leaves.

The run's status is COMPLETED only when every site that connected took part in everything; PARTIAL names who did not
and why; FAILED says what ended it. The status is written before any error is raised.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from common.config.overrides import split_overrides
from common.config.study import StudyConfig, to_dict
from common.errors import ConfigError, FederationError, OncoFedError, SiteCode
from common.evaluation.decision import operating_point
from common.evaluation.metrics import auroc, log_loss
from common.evaluation.scores import ScoreState
from common.evaluation.summary import brief
from common.models.classifier import Classifier
from common.models.parts import trainable_names
from common.models.weights import load_trainable, save_model, trainable_state
from common.protocol.aggregation import Arrays, blend
from common.protocol.messages import Refusal
from common.runs.run_folder import RunFolder
from server.run import checkpoint
from server.run.assessment import Assessment, total
from server.run.cards import expected_of, hub_model
from server.run.enrolment import REGISTER, Roster, enrol, site_heads, wait_for_nodes
from server.run.heads import BAD, IN_WORDS
from server.run.influence import influence
from server.run.progress import Progress
from server.run.rounds import FINAL, Federation, QuorumLost, RoundResult, score_states, train_round
from server.run.run_document import now, run_document
from server.run.signer import Signer
from server.run.strategy import Combiner, check_strategy, missing_quorum
from server.run.summed import Sums, check_summed
from server.run.updates import checked_statement

log = logging.getLogger("oncofed")


class Run:
    """One run of a study, from enrolment to the last file.

    A rehearsal is one round with the sites' synthetic patients: it shows that everything works, costs no privacy, and
    leaves no model. One that broke off starts afresh when it is resumed, since its synthetic patients do at enrolment.
    A folder stays what it was: what is resumed as a rehearsal began as one.
    """

    def __init__(
        self, grid: Grid, study: StudyConfig, folder: RunFolder, *, overrides: str, resume: bool,
        rehearsal: bool = False,
    ) -> None:  # fmt: skip
        self.grid, self.study, self.folder = grid, study, folder
        before = folder.read_json("run.json") if resume else {}
        self.run_id = str(before.get("run_id") or secrets.token_hex(8))
        self.rehearsal = before.get("rehearsal") is True if before else rehearsal
        self.resumed = self._latest() if resume and not self.rehearsal else None
        self.started = str(before.get("started") or now())
        self.progress = Progress()
        self.signer = Signer.of(folder.path, study.strategy.round_timeout)
        self.sums = Sums.of(folder.path)
        self.roster = Roster(nodes={}, cards={}, refused={})
        self.model: Classifier | None = None
        folder.write_json("study.json", to_dict(study))
        folder.write_text("study.yaml", _yaml(to_dict(study)))
        folder.write_text("overrides.yaml", _yaml(split_overrides(overrides)))

    def _latest(self) -> checkpoint.Checkpoint | None:
        folder = self.folder.path / "checkpoints"
        return checkpoint.latest(folder, study_digest=self.study.digest(), run=self.run_id)

    def conduct(self) -> str:
        """Returns the final status, COMPLETED or PARTIAL, with everything written.

        Raises:
            OncoFedError: The run FAILED; ``run.json`` says why.
        """
        try:
            self._write_status("RUNNING", "")
            federation = self._enrol()
            self._write_status("RUNNING", "")  # with the sites: whatever breaks off from here on says whose run it was
            best = self._rounds(federation)
            self._finish(federation, best)
        except OncoFedError as error:
            self.progress.lost |= error.failures if isinstance(error, QuorumLost) else {}
            self._write_status("FAILED", str(error))
            raise
        except Exception as error:
            self._write_status("FAILED", f"an unexpected {type(error).__name__} at the hub; see its log")
            raise
        status = "PARTIAL" if self.progress.lost else "COMPLETED"
        self._write_status(status, self.progress.reason())
        return status

    def _enrol(self) -> Federation:
        self.model, shape = hub_model(self.study)
        self.roster = enrol(
            self.grid, self.study, self.run_id, expected_of(self.model, shape), self.signer, rehearsal=self.rehearsal
        )
        self.progress.lost |= self.roster.refused
        for site, code in self.roster.refused.items():
            log.warning("%s does not take part: %s", site, code)
        try:
            check_strategy(self.study.strategy, len(self.roster.nodes) + len(self.roster.refused))
            check_strategy(self.study.strategy, len(self.roster.nodes))
            check_summed(self.study, len(self.roster.nodes))
        except ConfigError as error:
            raise FederationError(f"{error}. {self.progress.reason()}") if self.roster.refused else error from None
        declared = {site: card.declared_patients for site, card in self.roster.cards.items()}
        if missing := missing_quorum(self.study.strategy, declared):
            raise FederationError(f"There is no quorum: {missing}. {self.progress.reason()}")
        log.info("%d sites take part: %s", len(self.roster.nodes), ", ".join(self.roster.nodes))
        return Federation(self.grid, self.study, self.run_id, self.roster, self.signer, self.rehearsal)

    def _rounds(self, federation: Federation) -> Mapping[str, NDArray[np.float32]]:
        assert self.model is not None
        arrays: Mapping[str, NDArray[np.float32]] = trainable_state(self.model)
        average, best = arrays, arrays
        combiner = Combiner(self.study.strategy)
        if self.resumed is not None:
            arrays, average, best = self.resumed.arrays, self.resumed.average, self.resumed.best
            combiner.restore(self.resumed.strategy, trainable_names(self.model))
            self.progress.recall(self.resumed.round_index, self.resumed.notes, self.study.evaluation.bins)
            self.progress.miss(self.roster.nodes)
            log.info("resumed after round %d", self.progress.rounds_done)
        self._forget_later_rounds()
        last = 1 if self.rehearsal else self.study.training.rounds
        for round_index in range(self.progress.rounds_done + 1, last + 1):
            result = self._train(federation, combiner, round_index, arrays)
            arrays = result.arrays
            average = blend(average, arrays, self.study.strategy.averaging if round_index > 1 else 0.0)
            states, failures = self._validate(federation, average, round_index)
            best = self._keep_best(round_index, average, states, best)
            self._record(round_index, result, states, failures)
            self._save(round_index, arrays, average, best, combiner)
        return best

    def _train(self, federation: Federation, combiner: Combiner, round_index: int, arrays: Arrays) -> RoundResult:
        """Trains a round; once more when the sites were only out of reach, as after a hub that stood still.

        Whoever has trained in the first attempt answers the second with the same update, at no new charge. Who dropped
        out of a secure sum stays out, for its return could have the others pay for another attempt.
        """
        train = self.sums.train_round if self.study.privacy.distributed else train_round
        sites = {site: node for site, node in self.roster.nodes.items() if site not in self.progress.out}
        try:
            result = train(federation, combiner, round_index, arrays, sites)
        except QuorumLost as lost:
            self._wait_for_the_silent(sites, lost)
            result = train(federation, combiner, round_index, arrays, sites)
            result.attempts += 1
        stays_out = self.study.privacy.distributed
        self.progress.out |= {site for site, code in result.failures.items() if stays_out or code in FINAL}
        return result

    def _wait_for_the_silent(self, sites: Mapping[str, int], lost: QuorumLost) -> None:
        """Returns once enough sites are connected again; who failed otherwise than by silence stays lost."""
        if not lost.by_silence:
            raise lost
        self.progress.lost |= {site: code for site, code in lost.failures.items() if code is not SiteCode.UNAVAILABLE}
        log.warning("%s. The round begins anew once they are back", lost)
        rules, expected = self.study.strategy, {node: site for site, node in sites.items()}
        try:
            wait_for_nodes(self.grid, rules.quorum, rules.join_timeout, expected=expected)
        except FederationError as error:
            raise QuorumLost(f"{lost}. {error}", failures=lost.failures, by_silence=True) from None

    def _validate(self, federation: Federation, arrays: Arrays, round_index: int) -> Any:
        answers = federation.ask_sites(
            "evaluate", self.roster.nodes, round_index=round_index, split="val", arrays=arrays
        )
        return score_states(answers, self.study.evaluation, self.roster.cards, "val")

    def _keep_best(self, round_index: int, arrays: Any, states: Mapping[str, ScoreState], best: Any) -> Any:
        if self.progress.keep_if_best(round_index, _merit(states, self.study, round_index), states):
            return arrays
        return best if self.progress.best_round else arrays

    def _record(
        self, round_index: int, result: RoundResult, states: Mapping[str, ScoreState], failures: Mapping[str, SiteCode]
    ) -> None:
        everyone = dict(failures) | result.failures
        self.progress.count(round_index, result.joined, everyone)
        row: dict[str, Any] = {
            "round": round_index,
            "val": _round_metrics(states, self.study),
            "failures": [{"site": site, "code": code.value} for site, code in sorted(everyone.items())],
            "joined": result.joined,
            "update_norm": result.update_norm,
            "norms": result.norms,
            "clipped": result.clipped,
            "epsilon": result.epsilon,
            "seconds": round(result.seconds, 3),
            "attempts": result.attempts,
            "sum_scaled_to": result.scaled_to,
        }
        self.folder.append_metrics(row)
        log.info(
            "round %d/%d: %d sites, validation AUROC %s%s",
            round_index,
            self.study.training.rounds,
            len(result.joined),
            _text(row["val"]["pooled"]["auroc"]),
            "".join(f"; {site}: {code}" for site, code in sorted(everyone.items())),
        )

    def _save(self, round_index: int, arrays: Arrays, average: Arrays, best: Arrays, combiner: Combiner) -> None:
        checkpoint.save(
            self.folder.path / "checkpoints",
            checkpoint.Checkpoint(
                round_index=round_index,
                study_digest=self.study.digest(),
                run=self.run_id,
                arrays=arrays,
                average=average,
                best=best,
                strategy=combiner.state(),
                notes=self.progress.notes(),
            ),
        )
        self._write_status("RUNNING", "")

    def _forget_later_rounds(self) -> None:
        """Drops the rounds that were written down before their checkpoint was, if the run broke down in between."""
        done = self.progress.rounds_done
        self.folder.rewrite_metrics([row for row in self.folder.read_metrics() if row["round"] <= done])

    def _finish(self, federation: Federation, best: Mapping[str, NDArray[np.float32]]) -> None:
        assert self.model is not None
        load_trainable(self.model, best)
        if not self.rehearsal:
            self._write_model(self.model)
        nodes = self.roster.nodes
        if self.study.evaluation.test:
            self._test(federation, best)
        for site, answer in federation.ask_sites("statement", nodes).items():
            statement = checked_statement(answer, site=site, study=self.study)
            if isinstance(statement, Refusal):
                self.progress.lost[site] = statement.code
            else:
                self.folder.write_json(f"privacy/{site}.json", statement)
                if not self.rehearsal:
                    self._compare_ledger(site, statement)

    def _test(self, federation: Federation, best: Arrays) -> None:
        self._validate_the_missing(federation, best)
        assessment = Assessment(federation, self.folder, self.progress.lost, rehearsal=self.rehearsal)
        assessment.conduct(best, best_round=self.progress.best_round, validation=self.progress.best_val)

    def _compare_ledger(self, site: str, statement: Mapping[str, Any]) -> None:
        """Names a site whose ledger does not go on where the hub saw it last; it takes part in no later run.

        Raises:
            ConfigError: The hub's own list of heads is damaged.
        """
        heads = site_heads()
        if heads:
            heads.all()
        try:
            verdict = heads.take(site, statement) if heads else "later"
        except Exception as error:  # a site chooses what it states, and with it which error reading it ends in
            log.warning("%s: its ledger cannot be read: %.200r", site, error)
            verdict = "forked"
        if verdict == "unproven":
            log.warning("%s: its ledger is believed as it is: %s", site, IN_WORDS[verdict])
        if verdict in BAD:
            log.warning("%s: its ledger is not believed: %s", site, IN_WORDS[verdict])
            self.progress.lost[site] = SiteCode.LEDGER_WENT_BACK

    def _validate_the_missing(self, federation: Federation, best: Arrays) -> None:
        """Asks sites that missed the validation of the best round for it: they test validated weights only."""
        round_index = self.progress.best_round or self.progress.rounds_done
        known = self.progress.best_val if self.progress.best_round else {}
        missing = {site: node for site, node in self.roster.nodes.items() if site not in known}
        if missing:
            asked = federation.ask_sites("evaluate", missing, round_index=round_index, split="val", arrays=best)
            late, _ = score_states(asked, self.study.evaluation, self.roster.cards, "val")
            if self.progress.best_round:
                self.progress.best_val = {**known, **late}

    def _write_model(self, model: Classifier) -> None:
        path = self.folder.path / "model" / "model.safetensors"
        path.parent.mkdir(exist_ok=True)
        chosen = str(self.progress.best_round)
        save_model(model, path, {"study": self.study.digest(), "run": self.run_id, "round": chosen})

    def _write_status(self, status: str, reason: str) -> None:
        own = {"run_id": self.run_id, "started": self.started, "engine": self._engine()}
        document = run_document(self.study, self.roster, self.progress, self.model, status, reason)
        self.folder.write_json(
            "run.json",
            document
            | own
            | {
                "influence": self._influence(),
                "rehearsal": self.rehearsal,
                "secure_sum": self.sums.document(self.study),
            },
        )

    def _engine(self) -> str:
        """What carries the messages: real hospitals, or an engine of the simulation."""
        return "deployment" if os.environ.get(REGISTER) else getattr(self.grid, "engine", "flower")

    def _influence(self) -> list[dict[str, Any]]:
        equal = self.study.strategy.weighting == "equal"
        weights = {site: 1 if equal else card.declared_patients for site, card in self.roster.cards.items()}
        return influence(weights, self.folder.read_metrics(), self.progress.best_val)


def _merit(states: Mapping[str, ScoreState], study: StudyConfig, round_index: int) -> float | None:
    """How good the round is on all validation patients, larger is better; None where it is not defined."""
    if study.evaluation.select_by == "last":
        return float(round_index)
    if not states:
        return None
    if study.evaluation.select_by == "log_loss":
        return -log_loss(total(states))
    return auroc(total(states))


def _round_metrics(states: Mapping[str, ScoreState], study: StudyConfig) -> dict[str, Any]:
    """Returns a round's metrics on validation patients, at the threshold that they would choose."""
    if not states:
        return {"pooled": {"auroc": None}, "sites": {}}
    rules = study.evaluation
    threshold = operating_point(rules.threshold, total(states), rules.bins).threshold
    return {
        "pooled": brief(total(states), threshold, rules.confidence),
        "sites": {site: brief(state, threshold, rules.confidence) for site, state in states.items()},
        "threshold": threshold,
    }


def _text(auroc: float | None) -> str:
    return "not defined" if auroc is None else f"{auroc:.3f}"


def _yaml(document: Any) -> str:
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(json.loads(json.dumps(document))))
