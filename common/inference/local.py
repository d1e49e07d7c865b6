"""What a site measured with a package on its own patients: calibration, conformal scores, reference of features.

It lies in ``local/`` beside the package, readable by its owner only, and never leaves.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter, ValidationError

from common.errors import ModelError
from common.inference.conformal import ConformalSets
from common.inference.features import FeatureReference
from common.inference.package import Calibration, Package
from common.trust.durable import make_folder, write_durably
from common.trust.pki import write_private

FOLDER, FACTS, FEATURES = "local", "local/calibration.json", "local/features.safetensors"
Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LocalFacts:
    """What ``calibration.json`` says.

    Attributes:
        made: When, UTC.
        package: Digest of the package.
        patients: Calibration patients of both classes.
        left_out: Of the split, those that the checks would have given no answer for.
        intercept: Of the site's own line; None: it has no finite maximum, and the consortium's is used.
        slope: Of it.
        benign: Log odds of benign calibration patients, ascending.
        malignant: Of malignant ones.
        level: Error level of the sets.
        feature_patients: Behind the reference of features; 0: there is none.
        feature_limit: Distance from which an exam is far; None: there is no reference.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    made: AwareDatetime
    package: str
    patients: Count
    left_out: Count
    intercept: Finite | None
    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    benign: tuple[Finite, ...]
    malignant: tuple[Finite, ...]
    level: Annotated[float, Field(gt=0, lt=1)]
    feature_patients: Count
    feature_limit: Finite | None

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        document: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return document


_ADAPTER = TypeAdapter(LocalFacts)


@dataclasses.dataclass(frozen=True, eq=False)
class Local:
    """What a site adds to a package: its calibration, its sets, its reference of features (None: there is none)."""

    facts: LocalFacts
    calibration: Calibration
    sets: ConformalSets
    features: FeatureReference | None


def write_local(folder: Path, facts: LocalFacts, features: FeatureReference | None) -> None:
    """Writes both files below the package's folder, readable by their owner only."""
    from safetensors.numpy import save

    place = folder / FOLDER
    make_folder(place)
    place.chmod(0o700)
    if features is not None:
        write_private(folder / FEATURES, save({"rows": features.rows}))
    write_durably(folder / FACTS, json.dumps(facts.to_json()) + "\n")
    (folder / FACTS).chmod(0o600)


def read_local(package: Package) -> Local | None:
    """Returns what the site measured with the package; None where it has not.

    Raises:
        ModelError: A file is damaged, or of another package.
    """
    path = package.folder / FACTS
    if not path.exists():
        return None
    again = "measure again with: oncofed-site model calibrate"
    try:
        facts = _ADAPTER.validate_json(path.read_bytes())
    except ValidationError:
        raise ModelError(f"{path} is damaged; {again}") from None
    if facts.package != package.digest:
        raise ModelError(f"{path} was measured with another package; {again}")
    sets = ConformalSets(facts.benign, facts.malignant, facts.level)
    return Local(facts, _calibration(package, facts), sets, _features(package.folder, facts, again))


def _calibration(package: Package, facts: LocalFacts) -> Calibration:
    """Returns the site's line, its threshold at the same score as the consortium's; else the consortium's."""
    if facts.intercept is None or facts.slope is None:
        return package.calibration
    line = Calibration(facts.intercept, facts.slope, 0.0, facts.patients, "site")
    return dataclasses.replace(line, threshold=line.probability(package.threshold_as_scored))


def _features(folder: Path, facts: LocalFacts, again: str) -> FeatureReference | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if facts.feature_limit is None:
        return None
    try:
        rows = load_file(folder / FEATURES)["rows"]
    except (OSError, SafetensorError, KeyError):
        raise ModelError(f"{folder / FEATURES} is damaged; {again}") from None
    if rows.dtype != np.float32 or rows.ndim != 2 or len(rows) != facts.feature_patients:
        raise ModelError(f"{folder / FEATURES} holds other rows than expected; {again}")
    return FeatureReference(rows, facts.feature_limit)
