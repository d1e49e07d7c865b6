"""The rehearsal of a study: a site does everything that the study asks, on synthetic patients, and charges nothing.

The twin has the site's name, policy, size and randomness, but patients that nobody ever was, and a ledger and a memory
of its own in a folder that the next rehearsal empties. What is asked of it is signed and journalled like all else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from client.site.certificate import FILE as CERTIFICATE
from client.site.hospital import Cohort
from client.site.policy import check_request

if TYPE_CHECKING:
    from client.site.hospital import Site
    from common.config.study import StudyConfig
    from common.data.loading import PatientTensors
    from common.protocol.messages import Request

FOLDER = "rehearsal"
PATIENTS = {"train": 24, "val": 40, "test": 40}
"""Enough for every split to pass the floors that a policy sets by default, and few enough for any declared size."""


def twin(site: Site, request: Request) -> Site:
    """Returns the site that answers a rehearsal in place of ``site``; an enrolment starts it afresh.

    Raises:
        TrustError: The site's policy does not allow the study.
        BudgetExceeded: The site's true ledger would not let the study begin; nothing is written to it.
    """
    folder = site.home / FOLDER / hashlib.sha256(request.run.encode()).hexdigest()[:32]
    if request.purpose == "enrol":
        check_request(site.policy, request.study, site.declared_patients)
        site.check_budget(request)
        shutil.rmtree(site.home / FOLDER, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        _take_along(site.home / CERTIFICATE, folder)
    return dataclasses.replace(
        site, cohort=synthetic_cohort(), home=folder, ledger_path=folder / "ledger.sqlite", keys=site.sum_key.parent
    )


def _take_along(certificate: Path, folder: Path) -> None:
    if certificate.exists():
        shutil.copyfile(certificate, folder / certificate.name)


def synthetic_cohort() -> Cohort:
    """Returns patients drawn from a fixed seed, half of them malignant and a little brighter."""
    names = {split: tuple(f"nobody-{split}-{number}" for number in range(size)) for split, size in PATIENTS.items()}
    return Cohort(
        train_patients=names["train"],
        counts={
            split: {"patients": size, "malignant": size // 2, "benign": size // 2} for split, size in PATIENTS.items()
        },
        load=lambda study, split: _tensors(study, split, names[split]),
        synthetic=True,
        members={name: (split, number % 2) for split in names for number, name in enumerate(names[split])},
    )


def _tensors(study: StudyConfig, split: str, names: tuple[str, ...]) -> PatientTensors:
    import torch

    from common.data.loading import PatientTensors
    from common.data.shapes import input_shape

    shape = input_shape(study.data)
    drawn = torch.Generator().manual_seed(list(PATIENTS).index(split))
    labels = torch.arange(len(names)).remainder(2).float()
    noise = torch.rand((len(names), *shape), generator=drawn)
    bright = labels.reshape(-1, *(1 for _ in shape))
    return PatientTensors(
        inputs=(noise + 0.3 * bright).clamp(0, 1) * 2 - 1,
        labels=labels,
        patient_of=torch.arange(len(names)),
        patients=names,
    )
