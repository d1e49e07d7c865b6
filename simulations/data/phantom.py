"""Synthetic breast ultrasound for trying a whole federation without a data set. Not for any claim about patients.

Every patient has a severity s drawn from N(-d/2, 1) if benign and N(d/2, 1) if malignant; shape, margin and shadow
follow s with noise of their own. So no classifier can beat an AUROC of Phi(d / sqrt 2), :data:`BEST_AUROC`. Pixels are
drawn when they are read, from (seed, patient, view) alone: any process sees the same image.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from common.data.manifest import Dataset, Record
from common.names import slug
from simulations.data.ultrasound import Lesion, Scanner, draw_image, draw_mask

MALIGNANT_SHARE = 0.35
SEPARATION = 2.3
"""d: distance between the mean severities of the classes, in standard deviations."""
BEST_AUROC = 0.5 * (1 + math.erf(SEPARATION / 2))
"""About 0.95."""
VIEWS = (0.35, 0.45, 0.12, 0.08)
"""Share of patients with 1, 2, 3 and 4 images."""

SCANNERS = (
    Scanner("Phantom A", 0.40, dynamic_range=52.0, gain=36.0, attenuation=10.0, axial=0.5, lateral=0.9),
    Scanner("Phantom B", 0.28, dynamic_range=34.0, gain=27.0, attenuation=15.0, axial=0.6, lateral=1.3),
    Scanner("Phantom C", 0.20, dynamic_range=58.0, gain=34.0, attenuation=6.0, axial=0.8, lateral=1.1),
    Scanner("Phantom D", 0.12, dynamic_range=44.0, gain=25.0, attenuation=18.0, axial=0.45, lateral=1.6),
)
"""Four makes of scanner with the share of patients each examines."""

_PATIENT_STREAM, _VIEW_STREAM, _COHORT_STREAM = 1, 2, 3


def make_phantom(patients: int, seed: int, image_size: int = 128) -> Dataset:
    """Returns synthetic patients with one to four images each, of four scanners (``site``, attribute ``scanner``).

    Images are float32 (image_size, image_size) in [0, 1]; each has a mask of the same size. 35 percent of the
    patients are malignant. The same arguments give the same pixels in every process.

    Args:
        patients: At least 2.
        seed: At least 0.
        image_size: Side in pixels, at least 16.

    Raises:
        ValueError: An argument is out of its range.
    """
    if patients < 2 or seed < 0 or image_size < 16:
        raise ValueError(f"Expected patients >= 2, seed >= 0, image_size >= 16, got {patients}, {seed}, {image_size}")
    generator = np.random.default_rng([seed, _COHORT_STREAM])
    malignant = min(patients - 1, max(1, round(MALIGNANT_SHARE * patients)))
    labels = generator.permutation(np.arange(patients) < malignant).astype(int)
    scanners = generator.choice(len(SCANNERS), size=patients, p=[scanner.share for scanner in SCANNERS])
    views = generator.choice(len(VIEWS), size=patients, p=VIEWS) + 1
    return Dataset(
        name="Phantom",
        records=tuple(
            _record(patient, view, int(labels[patient]), SCANNERS[scanners[patient]])
            for patient in range(patients)
            for view in range(views[patient])
        ),
        read=PhantomPixels(seed, image_size, tuple(map(int, labels)), tuple(map(int, scanners))),
        synthetic=True,
        licence="none: made by a program",
        notes=(f"Synthetic images; the best possible AUROC is {BEST_AUROC:.2f} by construction.",),
    )


@dataclasses.dataclass(frozen=True)
class PhantomPixels:
    """Draws image ``patient-view`` or its mask ``patient-view-mask``; picklable and without state."""

    seed: int
    image_size: int
    labels: tuple[int, ...]
    scanners: tuple[int, ...]

    def __call__(self, key: str) -> NDArray[np.float32]:
        patient, view, *mask = key.split("-")
        lesion, generator = self._lesion(int(patient), int(view))
        if mask:
            return draw_mask(lesion, self.image_size)
        return draw_image(lesion, SCANNERS[self.scanners[int(patient)]], self.image_size, generator)

    def _lesion(self, patient: int, view: int) -> tuple[Lesion, np.random.Generator]:
        of_patient = np.random.default_rng([self.seed, _PATIENT_STREAM, patient])
        of_view = np.random.default_rng([self.seed, _VIEW_STREAM, patient, view])
        severity = of_patient.normal(SEPARATION * (self.labels[patient] - 0.5))
        return _lesion(severity, of_patient, of_view), of_view


def _record(patient: int, view: int, label: int, scanner: Scanner) -> Record:
    key = f"{patient:05d}-{view}"
    return Record(
        image=key,
        patient=f"{patient:05d}",
        label=label,
        site=slug(scanner.name),
        mask=f"{key}-mask",
        attributes={"scanner": scanner.name},
    )


def _lesion(severity: float, of_patient: np.random.Generator, of_view: np.random.Generator) -> Lesion:
    """Returns a lesion whose signs of malignancy (BI-RADS: shape, orientation, margin, posterior) follow severity."""
    sign = np.tanh((severity + of_patient.normal(0, 0.5, 5) + of_view.normal(0, 0.35, 5)) / 1.6)
    radius = float(np.exp(of_patient.normal(math.log(0.125), 0.28) + of_view.normal(0, 0.08)))
    return Lesion(
        x=float(of_view.uniform(0.36, 0.64)),
        y=float(of_view.uniform(0.32, 0.50)),
        radius=min(max(radius, 0.06), 0.22),
        aspect=float(np.exp(-0.22 + 0.30 * sign[0])),
        tilt=float(of_view.normal(0, 0.15)),
        lobes=float(0.06 + 0.045 * (1 + sign[1])),
        spicules=float(0.16 * max(0.0, sign[2] + 0.1)),
        blur=float(0.05 + 0.045 * (1 + sign[3])),
        posterior=float(0.5 - 8.5 * sign[4]),
        echo=float(of_patient.normal(-14.5, 2.0)),
        shape_seed=int(of_patient.integers(2**31)),
    )
