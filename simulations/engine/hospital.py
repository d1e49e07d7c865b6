"""The hospital that an audit questions: the study's own site code, with the patients that the audit gives it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from client.site.hospital import Site
from client.site.policy import SitePolicy
from common.protocol.messages import Request
from simulations.data.canaries import Gradients, watched_steps

if TYPE_CHECKING:
    from torch import Tensor

    from common.config.study import StudyConfig
    from common.data.loading import PatientTensors
    from common.models.classifier import Classifier
    from common.privacy.plan import PrivacyPlan

UNLIMITED = 1e9
"""Ceiling of a site under audit: the ledger must count, not refuse."""
STILL = 1e-12
"""A learning rate that moves no float32 weight: every step then starts from the same network."""


def still(study: StudyConfig) -> StudyConfig:
    """Returns the study with weights that stay where they are; its mechanism is the same, for that is fixed before."""
    training = dataclasses.replace(study.training, optimizer="sgd", lr=STILL, momentum=0.0, weight_decay=0.0)
    strategy = dataclasses.replace(study.strategy, proximal_mu=0.0)
    return dataclasses.replace(study, training=training, strategy=strategy)


def plan_of(study: StudyConfig, site: Site) -> PrivacyPlan:
    """Returns the plan that the site must follow: from the study and the *declared* patients alone."""
    from common.privacy.plan import PrivacyPlan

    return PrivacyPlan.for_site(study.privacy, study.training, site.declared_patients)


def network(study: StudyConfig, data: PatientTensors) -> Classifier:
    """Returns the study's network as a site builds it before the first round."""
    from common.training.study_model import study_model

    return study_model(study, tuple(data.inputs.shape[1:]))


@contextmanager
def hospital(site: Site, data: PatientTensors) -> Iterator[Site]:
    """Yields the site with other patients, a fresh ledger in a folder that is removed, and no ceiling."""
    with TemporaryDirectory(prefix="oncofed-audit-") as folder:
        yield dataclasses.replace(
            site,
            cohort=dataclasses.replace(
                site.cohort, train_patients=data.patients, load=lambda study, split: data, attributes={}, members={}
            ),
            policy=SitePolicy.emulated(UNLIMITED),
            home=Path(folder),
            ledger_path=Path(folder) / "ledger.sqlite",
        )


def request(study: StudyConfig, data: PatientTensors, round_index: int = 1) -> Request:
    """Returns a request to train the study's network from its first weights."""
    from common.models.weights import trainable_state

    arrays = trainable_state(network(study, data))
    return Request(purpose="train", study=study, run="ad", round_index=round_index, arrays=arrays)


def gradients_of_round(site: Site, study: StudyConfig, data: PatientTensors) -> Tensor:
    """Returns what the site's optimizer was handed in one round, (steps, columns), with a fresh ledger."""
    seen = Gradients()
    with hospital(site, data) as asked, watched_steps(seen):
        asked.train(request(study, data))
    return seen.stacked()
