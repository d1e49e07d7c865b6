"""What a site has been asked about its patients: each question of a study once, and nothing else.

A score histogram under weights of somebody's choice tells about single patients, so what protects them is that the
questions are few and fixed: each round's training and validation once a run, the test once a run for weights that were
validated before, the site's own models and where the model looks once a run for the weights of the test. The same
question about the same weights has the same answer, so a hub that crashed may ask it again. The count is on disk before
an answer is made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from common.config.study import StudyConfig
from common.errors import QuestionRefused
from common.protocol.aggregation import blend
from common.protocol.messages import Arrays, Request
from common.protocol.signed_request import weights_digest
from common.trust.durable import exclusive, write_durably

FOLDER = "questions"
SPARE = 1
"""How many rounds of a run may be trained, and as many validated, once more with other weights: when a hub that crashed
repeats a round, another site may have trained it anew."""
UNPROVEN = 3
"""How many validations of a run may stand without the training that starts from the same weights, which the site
misses when it is down."""
Digests = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedInRun:
    """What one run has asked; digests are of weights, rounds are JSON's keys.

    Attributes:
        trained: Weights that each round was to start from.
        validated: Weights that each round's validation scored.
        proven: Rounds whose validated weights the next round started from.
        test: Weights of the test; ``own``: those that the site's own models were compared with.
        explained: Weights of which it was told where they look.
        excused: How many validations more may stand without proof, since the site itself trains no more: as many as it
            had charged rounds of the run by then.
    """

    trained: Digests = field(default_factory=dict)
    validated: Digests = field(default_factory=dict)
    proven: tuple[str, ...] = ()
    test: str = ""
    own: str = ""
    explained: str = ""
    excused: int = 0

    def train(self, round_index: int, weights: str, starts_from: str | None) -> AskedInRun:
        """Returns the record with a training noted; it proves nothing until it is paid.

        Args:
            round_index: The round.
            weights: Digest of the weights it starts from.
            starts_from: Digest of what the validation before must have scored; None: it cannot be told.

        Raises:
            QuestionRefused: Other weights were validated, or rounds are repeated too often.
        """
        before = self.validated.get(str(round_index - 1), ())
        if before and starts_from is not None and starts_from not in before:
            raise QuestionRefused(
                f"Round {round_index} starts from other weights than were validated in round {round_index - 1}"
            )
        return replace(self, trained=_noted(self.trained, round_index, weights, "train"))

    def prove(self, round_index: int, starts_from: str | None) -> AskedInRun:
        """Returns the record with the validation before a paid round proven, if the round starts from its weights."""
        if starts_from not in self.validated.get(str(round_index - 1), ()):
            return self
        return replace(self, proven=tuple(sorted({*self.proven, str(round_index - 1)}, key=int)))

    def validate(self, round_index: int, weights: str) -> AskedInRun:
        """Returns the record with a validation noted.

        Raises:
            QuestionRefused: The round was validated with other weights, or too many validations are without proof.
        """
        unproven = self.validated.keys() - {*self.proven, str(round_index)}
        if len(unproven) >= UNPROVEN + self.excused:
            raise QuestionRefused(f"{len(unproven)} validations were followed by no training from the same weights")
        return replace(self, validated=_noted(self.validated, round_index, weights, "validate"))

    def open_test(self, weights: str) -> AskedInRun:
        """Returns the record with the test noted.

        Raises:
            QuestionRefused: It was opened with other weights, or these were never validated in the run.
        """
        if not any(weights in digests for digests in self.validated.values()):
            raise QuestionRefused("The test is asked for with weights that were not validated in this run")
        if self.test not in ("", weights):
            raise QuestionRefused("The test of this run was opened with other weights; it is opened once")
        return replace(self, test=weights)

    def compare_own(self, weights: str) -> AskedInRun:
        """Returns the record with the question about the site's own models noted.

        Raises:
            QuestionRefused: They are to be compared with other weights than those of the test.
        """
        if weights != self.test:
            raise QuestionRefused("The site's own models are compared with the model of the test only, once a run")
        return replace(self, own=weights)

    def explain(self, weights: str) -> AskedInRun:
        """Returns the record with the question noted where the model looks.

        Raises:
            QuestionRefused: It is asked of other weights than those of the test.
        """
        if weights != self.test:
            raise QuestionRefused("Where the model looks is told of the model of the test only, once a run")
        return replace(self, explained=weights)


@dataclass(frozen=True, slots=True)
class Questions:
    """The questions that one run asks of a site, counted in a file of the site's home.

    Attributes:
        home: The site's folder.
        runs: How many runs of one study may ask; None: any number.
    """

    home: Path
    study: StudyConfig
    run: str
    runs: int | None

    @classmethod
    def of(cls, home: Path, request: Request, runs: int | None) -> Questions:
        """Returns the questions of the run that asks."""
        return cls(home, request.study, request.run, runs)

    def check_run(self) -> None:
        """Refuses a run that would be one too many.

        Raises:
            QuestionRefused: As many other runs of the study have asked.
        """
        self._record(_read(self._path))

    def train(self, round_index: int, arrays: Arrays) -> None:
        """Notes that a round is to be trained.

        Raises:
            QuestionRefused: The study does not ask this.
        """
        self._check_round(round_index)
        weights = question_digest(arrays)
        start = self._validated_before(round_index, arrays, weights)
        self._note(lambda asked: asked.train(round_index, weights, start))

    def prove(self, round_index: int, arrays: Arrays) -> None:
        """Notes that a round was paid, which proves the validation before it; one refused costs a hub nothing."""
        start = self._validated_before(round_index, arrays, question_digest(arrays))
        self._note(lambda asked: asked.prove(round_index, start))

    def stop(self, charged: int) -> None:
        """Notes that this site trains no more in the run, by its own will, after so many charged rounds of it."""
        self._note(lambda asked: replace(asked, excused=charged))

    def evaluate(self, split: str, round_index: int, arrays: Arrays) -> None:
        """Notes a validation or the test.

        Raises:
            QuestionRefused: The study does not ask this.
        """
        weights = question_digest(arrays)
        if split == "test" and not self.study.evaluation.test:
            raise QuestionRefused("The study leaves the test patients unopened (evaluation.test=false)")
        if split == "test":
            return self._note(lambda asked: asked.open_test(weights))
        self._check_round(round_index)
        self._note(lambda asked: asked.validate(round_index, weights))
        if self.study.strategy.averaging:
            self._keep_average(round_index, arrays)

    def compare_own(self, arrays: Arrays) -> dict[str, Any] | None:
        """Notes the question about the site's own models; returns what it was answered before, None the first time.

        Raises:
            QuestionRefused: The study does not ask this.
        """
        weights = question_digest(arrays)
        self._note(lambda asked: asked.compare_own(weights))
        return self._kept("own.json")

    def keep_own(self, document: Mapping[str, Any]) -> None:
        """Keeps the answer about the site's own models, durably: trained anew, it would be another."""
        write_durably(self._file("own.json"), json.dumps(document))

    def explain(self, arrays: Arrays) -> dict[str, Any] | None:
        """Notes the question where the model looks; returns what it was answered before, None the first time.

        Raises:
            QuestionRefused: The study does not ask this.
        """
        weights = question_digest(arrays)
        self._note(lambda asked: asked.explain(weights))
        return self._kept("attention.json")

    def keep_explained(self, document: Mapping[str, Any]) -> None:
        """Keeps the answer where the model looks, durably."""
        write_durably(self._file("attention.json"), json.dumps(document))

    def kept_scores(self, split: str, round_index: int, arrays: Arrays) -> dict[str, Any] | None:
        """Returns what this very question was answered before; None the first time."""
        path = self._scores_file(split, round_index, arrays)
        return _read(path) if path.exists() else None

    def keep_scores(self, split: str, round_index: int, arrays: Arrays, document: Mapping[str, Any]) -> None:
        """Keeps an answer whose noise was paid for, durably: with noise drawn anew, it would be another."""
        write_durably(self._scores_file(split, round_index, arrays), json.dumps(document))

    def _scores_file(self, split: str, round_index: int, arrays: Arrays) -> Path:
        asked = f"val-{round_index}" if split == "val" else "test"  # there is one test, whatever round the hub names
        return self._file(f"{asked}-{question_digest(arrays)[:16]}.json")

    def _check_round(self, round_index: int) -> None:
        rounds = self.study.training.rounds
        if not 1 <= round_index <= rounds:
            raise QuestionRefused(f"Round {round_index} is none of the study's {rounds}")

    def _validated_before(self, round_index: int, arrays: Arrays, weights: str) -> str | None:
        """Returns the digest of what was to be validated before a round that starts from ``arrays``."""
        decay = self.study.strategy.averaging if round_index > 2 else 0.0
        if not decay:
            return weights
        before = self._average(round_index - 2)
        return None if before is None else question_digest(blend(before, arrays, decay))

    def _keep_average(self, round_index: int, arrays: Arrays) -> None:
        from safetensors.numpy import save_file

        save_file(dict(arrays), self._file(f"{round_index}.average"))
        self._file(f"{round_index - 2}.average").unlink(missing_ok=True)

    def _average(self, round_index: int) -> Arrays | None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return dict(load_file(self._file(f"{round_index}.average")))
        except (OSError, SafetensorError):
            return None

    def _note(self, change: Callable[[AskedInRun], AskedInRun]) -> None:
        folder = self.home / FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with exclusive(folder / "lock"):
            document = _read(self._path)
            before = self._record(document)
            after = change(before)
            if after != before or self.run not in document:
                write_durably(self._path, json.dumps(document | {self.run: asdict(after)}))

    def _record(self, document: Mapping[str, Any]) -> AskedInRun:
        if self.run in document:
            return _asked(document[self.run], self._path)
        if self.runs is not None and len(document) >= self.runs:
            raise QuestionRefused(
                f"{len(document)} runs of this study have asked about these patients, as many as the policy allows "
                f"(runs_per_study: {self.runs}). Agree on another study, or resume that run"
            )
        return AskedInRun()

    @property
    def _path(self) -> Path:
        return self.home / FOLDER / f"{self.study.digest()}.json"

    def _kept(self, name: str) -> dict[str, Any] | None:
        path = self._file(name)
        return _read(path) if path.exists() else None

    def _file(self, name: str) -> Path:
        run = hashlib.sha256(f"{self.study.digest()} {self.run}".encode()).hexdigest()
        return self.home / FOLDER / f"{run}.{name}"


def question_digest(arrays: Arrays) -> str:
    """Returns the digest of weights, by which 0 and -0 are the same: an average turns one into the other."""
    return weights_digest({name: values + 0.0 for name, values in arrays.items()})


def _noted(digests: Digests, round_index: int, weights: str, what: str) -> dict[str, tuple[str, ...]]:
    """Returns the digests with one more, if it is new and the run has not repeated too many rounds."""
    known = digests.get(str(round_index), ())
    if weights in known:
        return dict(digests)
    repeated = sum(len(found) - 1 for found in digests.values())
    if known and repeated >= SPARE:
        raise QuestionRefused(f"Asked to {what} round {round_index} with other weights; that was done {SPARE} time")
    return {**digests, str(round_index): (*known, weights)}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if isinstance(found, dict):
            return found
    except (OSError, ValueError):
        pass
    raise _damaged(path)


def _damaged(path: Path) -> QuestionRefused:
    return QuestionRefused(f"{path} is damaged: what was asked about these patients is not known; restore it")


def _asked(document: Any, path: Path) -> AskedInRun:
    try:
        digests = {name: {r: tuple(d) for r, d in document[name].items()} for name in ("trained", "validated")}
        return AskedInRun(**document | digests | {"proven": tuple(document["proven"])})
    except (KeyError, TypeError, AttributeError):
        raise QuestionRefused(
            f"{path} is damaged: what was asked about these patients is not known; restore it"
        ) from None
