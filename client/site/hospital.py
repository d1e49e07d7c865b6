"""One hospital: its cohort, policy, ledger and randomness, and what it can answer.

A :class:`Site` knows nothing of Flower. ``client.app`` hands it typed requests; the simulator and the hospital's
daemon differ only in how they make one.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.site.budget import charge_round, check_affordable, is_charged, reserve_study, rounds_charged
from client.site.card_counts import card_counts
from client.site.certificate import releasable_certificate
from client.site.checkpoint import at_home
from client.site.cohort_notes import note_scored as remember_scored
from client.site.kept import KEPT, KeptUpdate
from client.site.noised_scores import check_evaluation, noised_scores
from client.site.policy import SitePolicy, check_request, check_tuning, check_weights
from client.site.questions import Questions
from client.site.remembered import check_questions, check_releases
from client.site.run_keys import FOLDER as SUMS
from client.site.run_keys import RunKeys, sum_key
from client.site.scored import note_scored
from client.site.studies import is_noted
from client.site.summed import Joined, announcement
from common.errors import BudgetExceeded, DataError, NotReleased, QuestionRefused, TrustError
from common.privacy.shares import weight_of
from common.protocol.messages import DocumentAnswer, MaskedAnswer, Request, SiteCard, TrainAnswer
from common.provenance import PROTOCOL_VERSION, code_digest, mathematics_digest

if TYPE_CHECKING:
    from common.config.study import StudyConfig
    from common.data.loading import PatientTensors
    from common.data.pixels.masks import Shown
    from common.models.classifier import Classifier
    from common.privacy.exposure import OwnShare
    from common.privacy.plan import PrivacyPlan
    from common.privacy.randomness import Randomness

log = logging.getLogger("oncofed.site")
Counts = Mapping[str, Mapping[str, int]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cohort:
    """A site's patients offered to studies.

    Attributes:
        train_patients: Identifiers of the training patients; they never leave the site.
        counts: Patients by split and class, exact.
        load: Returns one split as tensors, sized as the study says; may be slow.
        attributes: What the manifest says of each patient, by identifier; it never leaves the site but as counts of
            groups that are large enough.
        dataset: Name, citation, licence and notes, for public data.
        members: Split and label of every patient, by identifier; what the site remembers of them is keyed.
        places: Returns of each patient of a split, in the order of ``load``, where her images and their lesions lie in
            the inputs; None: nothing is known of lesions.
    """

    train_patients: tuple[str, ...]
    counts: Counts
    load: Callable[[StudyConfig, str], PatientTensors]
    attributes: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    synthetic: bool = False
    dataset: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    members: Mapping[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    places: Callable[[StudyConfig, str], Sequence[Sequence[Shown]]] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """A hospital that answers requests.

    Attributes:
        declared_patients: Public size of the training cohort, agreed beforehand; never computed per request.
        randomness: Returns fresh generators for one purpose; OS entropy in a hospital.
        home: Folder of the ledger and the egress journal.
        hub_key: Public key (hex) whose signature each request must carry; empty for an emulated hospital only, whose
            requests are not signed.
        register: Returns the long-term public key (hex) of each hospital that this one sums with, agreed on beforehand.
        keys: Folder of the long-term key of its secure sums; None: ``sums`` in the home.
        checkpoint: Returns the site's folder of the public checkpoint of a digest; None: the study says where it is.
        device: Where networks run; see :func:`common.training.device.chosen`.
    """

    name: str
    declared_patients: int
    cohort: Cohort
    policy: SitePolicy
    randomness: Callable[[str, int], Randomness]
    home: Path
    ledger_path: Path
    hub_key: str = ""
    register: Callable[[], Mapping[str, str]] = dict
    keys: Path | None = None
    checkpoint: Callable[[str], Path] | None = None
    device: str = "cpu"

    @property
    def sum_key(self) -> Path:
        """Where the long-term key is that signs with what key of a run the site joins its secure sums."""
        return sum_key(self.keys or self.home / SUMS)

    def enrol(self, request: Request) -> SiteCard:
        """Returns the site's card, after its policy and one private step on random data were satisfied.

        Raises:
            BudgetExceeded, TrustError: The policy does not allow the study, or its last round would pass the ceiling.
            QuestionRefused: Too many runs of the study have asked about these patients.
            DataError: The study asks for a readiness certificate, and the site has none that may leave.
            ModelError: The model cannot take a private step.
            DeviceError: There is no such device here.
        """
        from common.models.weights import frozen_digest
        from common.training.device import chosen, described

        study = request.study
        self._check_request(study)
        check_releases(self)
        self._questions(request).check_run()
        self.check_budget(request)
        noised = study.evaluation.noise > 0
        required = study.strategy.require_readiness
        readiness = releasable_certificate(self.home, self.policy, noised=noised) if required else None
        shape, device = self._input_shape(study), chosen(self.device)
        model = self._built(study, shape)
        self._preflight(model, study, shape)
        log.info("%s: networks run on %s", self.name, described(device))
        card = SiteCard(
            site=self.name,
            declared_patients=self.declared_patients,
            input_shape=shape,
            counts=card_counts(self, study),
            frozen_digest=frozen_digest(model),
            protocol=PROTOCOL_VERSION,
            mathematics_digest=mathematics_digest(),
            code_digest=code_digest(),
            seeded=self.randomness("enrol", 0).seeded,
            synthetic=self.cohort.synthetic,
            dataset=self.cohort.dataset,
            readiness=readiness,
            announcement=announcement(self, request),
            device=device.type,
        )
        if (plan := self._plan(study)) is not None:
            reserve_study(self, plan, request)  # the last that can refuse: what is held was accepted
        return card

    def check_budget(self, request: Request) -> None:
        """Refuses a study that the ledger could not pay to its end, and holds nothing for it.

        Raises:
            BudgetExceeded: Says in which round the ceiling would be passed.
        """
        check_evaluation(self, request)
        plan = self._plan(request.study)
        if plan is not None:
            check_affordable(self, plan, request)

    def train(self, request: Request) -> TrainAnswer | MaskedAnswer:
        """Returns the site's update; the ledger is charged, durably, before the first gradient.

        The very same request is answered by the very same update, which was paid for. Another attempt or roster of a
        secure sum is another request: trained anew, with another batch and noise, and charged again.

        Raises:
            BudgetExceeded: The round would pass the site's ceiling.
            QuestionRefused: The study has no such round, or other weights were validated before it.
            ModelError: The weights that came do not fit the study's model.
            TrustError: The roster of a secure sum is not one that this site sums with.
        """
        from common.models.weights import load_trainable

        study = request.study
        self._check_request(study)
        joined = Joined.of(self, request)
        questions = self._questions(request)
        questions.train(request.round_index, request.arrays)
        plan, kept = self._plan(study), KeptUpdate(self.home / KEPT, self.declared_patients)
        if (again := kept.answer(request, self.name)) and (plan is None or is_charged(self, request)):
            questions.prove(request.round_index, request.arrays)
            return again
        data = self.cohort.load(study, "train")
        model = self._model(study, tuple(data.inputs.shape[1:]))
        load_trainable(model, request.arrays)
        if joined is not None:
            RunKeys(self.home, request.run).mask_once(joined.digest)
        spent = self._charge(plan, request, joined.row(request) if joined else None)
        questions.prove(request.round_index, request.arrays)
        if joined is not None and plan is not None and spent is not None:
            answer: TrainAnswer | MaskedAnswer = joined.answer(self, request, model, data, plan, spent)
        else:
            answer = self._update(model, data, plan, request, spent)
        kept.keep(request, answer)
        return answer

    def _update(
        self, model: Classifier, data: PatientTensors, plan: PrivacyPlan | None, request: Request, spent: float | None
    ) -> TrainAnswer:
        from common.models.weights import trainable_state
        from common.protocol.aggregation import difference

        study = request.study
        self._train(model, data, request, plan)
        return TrainAnswer(
            site=self.name,
            round_index=request.round_index,
            weight=weight_of(study, self.declared_patients),
            epsilon_spent=spent,
            arrays=difference(trainable_state(model), request.arrays),
        )

    def evaluate(self, request: Request) -> DocumentAnswer:
        """Returns the score state of the global weights on the site's ``request.split`` patients.

        On test patients with the subgroups that the study names, the policy allows and that are large enough to leave;
        where the study wants signatures for a release, what was scored is noted for them. A study with
        ``evaluation.noise`` has counts with noise, of no subgroup, charged to the evaluation account before they are
        drawn.

        Raises:
            TrustError: The policy does not release metrics, or this run's test was opened with another model.
            QuestionRefused: The study does not ask this, or not about these weights.
            TooFewPatients: So few patients would be counted that the policy keeps them.
            BudgetExceeded: Noised counts would pass the policy's ``evaluation_ceiling``.
        """
        from common.models.weights import load_trainable, state_digest

        self._check_release(request)
        self._questions(request).evaluate(request.split, request.round_index, request.arrays)
        noised = request.study.evaluation.noise > 0
        remember_scored(self, request.study.digest(), request.split, noised=noised)
        data = self.cohort.load(request.study, request.split)
        model = self._model(request.study, tuple(data.inputs.shape[1:]))
        load_trainable(model, request.arrays)
        if request.split == "test" and request.study.strategy.release_signatures:
            note_scored(self.home, self.name, request, state_digest(model.state_dict()))
        if noised:
            return self._noised_scores(model, data, request)
        wanted = request.study.evaluation.subgroups if request.split == "test" else ()
        subgroups = self.policy.told_subgroups(wanted)
        return self._scores(model, data, request.study, subgroups)

    def baseline(self, request: Request) -> DocumentAnswer:
        """Returns how models that the site trains without noise, and never releases, do beside the federated one.

        As much as the policy lets leave of it, once a run. ``request.arrays`` are the federated weights of the test, to
        compare with and to fine-tune.

        Raises:
            NotReleased: The policy keeps it, or lets less leave of it by now than was answered.
            QuestionRefused: The study asks for no such models, or the test was opened with other weights.
        """
        from client.site.own_models import check_level, own_models, released
        from client.site.release_floor import releasing
        from common.models.weights import load_trainable

        self._check_own(request)
        questions = self._questions(request)
        if (before := questions.compare_own(request.arrays)) is not None:
            check_level(before, self.policy.own_models)
            return DocumentAnswer(site=self.name, document=before)
        study = request.study
        counted = self.cohort.load(study, "test")
        with releasing(self, study, counted.patients, counted.patient_labels().numpy()):
            pass  # what is told of these models is counted of the same patients as scores are
        for split in ("val", "test"):
            remember_scored(self, study.digest(), split)
        federated, fresh = (self._model(study, self._input_shape(study)) for _ in range(2))
        load_trainable(federated, request.arrays)
        load = partial(self.cohort.load, study)
        together = self.policy.min_group
        answer = own_models(self.name, federated, fresh, load, study, self.randomness, together)
        document = released(answer, self.policy.own_models, study.evaluation.margin, study.evaluation.confidence)
        questions.keep_own(document)
        return DocumentAnswer(site=self.name, document=document)

    def attention(self, request: Request) -> DocumentAnswer:
        """Returns where the model of the test looks on the site's test patients, once a run: sums and counts by class.

        Raises:
            NotReleased: The policy keeps it.
            QuestionRefused: The study does not ask, or the test was opened with other weights.
            TooFewPatients: So few patients would be counted that the policy keeps them.
            ModelError: The network has no map.
        """
        from client.site.explaining import check_explained, explained
        from client.site.release_floor import releasing
        from common.models.weights import load_trainable

        study = request.study
        self._check_release(request)
        check_explained(self, study)
        questions = self._questions(request)
        if (before := questions.explain(request.arrays)) is not None:
            return DocumentAnswer(site=self.name, document=before)
        data = self.cohort.load(study, "test")
        with releasing(self, study, data.patients, data.patient_labels().numpy()):
            pass  # what is told of the maps is of the same patients as scores are
        remember_scored(self, study.digest(), "test")
        model = self._model(study, tuple(data.inputs.shape[1:]))
        load_trainable(model, request.arrays)
        document = explained(self, model, data, study)
        questions.keep_explained(document)
        return DocumentAnswer(site=self.name, document=document)

    def statement(self, request: Request) -> DocumentAnswer:
        """Returns the privacy statement of this study at this site, recomputed from its ledger.

        A hub may ask for it as long as it likes, but only of a study that the site trained for, or would.
        """
        from client.site.accounts import site_statement

        if not is_noted(self, request.study):
            check_request(self.policy, request.study, self.declared_patients)
        RunKeys(self.home, request.run).forget()
        return DocumentAnswer(site=self.name, document=site_statement(self, request))

    def _train(self, model: Classifier, data: PatientTensors, request: Request, plan: PrivacyPlan | None) -> None:
        from common.training.loop import train
        from common.training.statistics import train_statistics

        study, index = request.study, request.round_index
        randomness = self.randomness("train", index)
        if study.training.method == "statistics":
            return train_statistics(model, data, study, index, randomness=randomness, plan=plan)
        mu = study.strategy.proximal_mu
        train(model, data, study.training, randomness=randomness, plan=plan, proximal_mu=mu)

    def _questions(self, request: Request) -> Questions:
        return Questions.of(self.home, request, self.policy.runs_per_study)

    def _charge(self, plan: PrivacyPlan | None, request: Request, share: OwnShare | None) -> float | None:
        try:
            return charge_round(self, plan, request, share)
        except BudgetExceeded:
            self._questions(request).stop(rounds_charged(self, request))
            raise

    def _check_own(self, request: Request) -> None:
        self._check_release(request)
        if not request.study.evaluation.local_baseline:
            raise QuestionRefused("The study asks for no model of the site's own (evaluation.local_baseline=false)")
        if self.policy.own_models == "none":
            raise NotReleased("The site's policy keeps what its own models do (own_models: none)")

    def _check_request(self, study: StudyConfig) -> None:
        if self.hub_key:  # whoever emulates hospitals sees all of their patients anyway
            check_tuning(study)
        check_request(self.policy, study, self.declared_patients)
        check_questions(self, study.digest())

    def _check_release(self, request: Request) -> None:
        self._check_request(request.study)
        if not self.policy.release_metrics:
            raise TrustError("The site's policy does not release metrics (release_metrics: false)")
        check_releases(self)

    def _input_shape(self, study: StudyConfig) -> tuple[int, ...]:
        data = self.cohort.load(study, "train")
        return tuple(int(side) for side in data.inputs.shape[1:])

    def _model(self, study: StudyConfig, shape: tuple[int, ...]) -> Classifier:
        from common.training.device import chosen

        return self._built(study, shape).to(chosen(self.device))

    def _built(self, study: StudyConfig, shape: tuple[int, ...]) -> Classifier:
        from common.training.study_model import study_model

        if self.hub_key:  # an emulated hospital has no hub but the person who runs it
            check_weights(study.model)
        return study_model(at_home(study, self.checkpoint), shape)

    def _plan(self, study: StudyConfig) -> PrivacyPlan | None:
        from common.privacy.plan import PrivacyPlan

        if not study.privacy.private:
            return None
        return PrivacyPlan.for_site(study.privacy, study.training, self.declared_patients)

    def _preflight(self, model: Classifier, study: StudyConfig, shape: tuple[int, ...]) -> None:
        from common.privacy.preflight import check_coordinates, check_private_step

        plan = self._plan(study)
        if study.training.method == "statistics":
            check_coordinates(model, shape)
        elif plan is not None:
            check_private_step(model, shape, plan)

    def _noised_scores(self, model: Classifier, data: PatientTensors, request: Request) -> DocumentAnswer:
        from client.site.scoring import patient_scores

        questions, asked = self._questions(request), (request.split, request.round_index, request.arrays)
        document = questions.kept_scores(*asked)
        if document is None:
            labels = data.patient_labels().numpy()
            document = noised_scores(self, request, data.patients, patient_scores(model, data), labels)
            questions.keep_scores(*asked, document)
        return DocumentAnswer(site=self.name, document=document)

    def _scores(
        self, model: Classifier, data: PatientTensors, study: StudyConfig, subgroups: Sequence[str] = ()
    ) -> DocumentAnswer:
        from client.site.release_floor import releasing
        from client.site.scoring import patient_scores
        from common.evaluation.subgroups import grouped_state

        rows = [self.cohort.attributes.get(patient, {}) for patient in data.patients]
        labels = data.patient_labels().numpy()
        with releasing(self, study, data.patients, labels) as admits:
            state = grouped_state(
                patient_scores(model, data),
                labels,
                rows,
                subgroups,
                bins=study.evaluation.bins,
                min_cell=max(study.evaluation.min_cell, self.policy.min_group),
                together=self.policy.min_group,
                admits=admits,
            )
        return DocumentAnswer(site=self.name, document=state.to_json())


def require_classes(counts: Counts, name: str) -> None:
    """Refuses a cohort whose training patients are all of one class.

    Raises:
        DataError: Says which class is missing and what to do.
    """
    missing = [label for label in ("malignant", "benign") if not counts.get("train", {}).get(label)]
    if missing:
        raise DataError(
            f"Site {name} has no {' and no '.join(missing)} training patient; expected at least one of each class. "
            "Offer more patients, or use a partition that is less skewed (partition.alpha)."
        )
