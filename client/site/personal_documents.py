"""What the documents of a personal package say: its line and threshold, its label, its conformal scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from common.errors import DataError

if TYPE_CHECKING:
    from client.site.personal import Made
    from common.inference.local import LocalFacts
    from common.inference.package import Package
    from common.inference.personal import PersonalFacts

NOTICE = "Personal model: made without noise of one hospital's patients. It must not leave that hospital."


def calibrated(package: Package, made: Made) -> dict[str, Any]:
    """Returns ``calibration.json``: a line fitted on held-out scores, and the released threshold of the probability.

    Raises:
        DataError: The scores rank no better than chance.
    """
    intercept, slope = made.model.line
    if slope <= 0:
        raise DataError("No model of this site's own ranks its patients better than chance; keep the released model")
    threshold = package.calibration.threshold
    odds = math.inf if threshold >= 1 else -math.inf if threshold <= 0 else math.log(threshold / (1 - threshold))
    as_scored = 0.5 * (1 + math.tanh(0.5 * (odds - intercept) / slope))
    return {
        "schema_version": 1, "threshold_as_scored": as_scored, "threshold": threshold, "method": "platt, at home",
        "intercept": intercept, "slope": slope, "validation_patients": len(made.model.labels),
        "formula": "probability = 1 / (1 + exp(-(intercept + slope * log(score / (1 - score)))))",
    }  # fmt: skip


def labelled(label: Mapping[str, Any], facts: PersonalFacts) -> dict[str, Any]:
    """Returns ``label.json`` of the personal package: what was validated is the released model, and it says so."""
    model = dict(label.get("model", {}))
    model["name"] = f"{model.get('name', 'model')}, personal to {facts.site}"
    validation = dict(label.get("validation", {})) | {
        "of": "the released model, not of this one",
        "at_home": {
            "how": "share of pairs of held-out patients in the right order; the choice saw them, so it flatters",
            "patients": facts.compared, "released": facts.released, "home": facts.home, "chosen": facts.chosen,
        },
    }  # fmt: skip
    use = dict(label.get("use", {}))
    use["not_for"] = [*use.get("not_for", ()), "Any use outside the hospital that it was made at."]
    return dict(label) | {"personal": {"notice": NOTICE, **facts.to_json()}, "model": model, "use": use,
                          "validation": validation}  # fmt: skip


def measured_with(made: Made, digest: str) -> LocalFacts:
    """Returns conformal scores from held-out patients; there is no reference of features and no second line."""
    from common.inference.conformal import ConformalSets
    from common.inference.local import LocalFacts

    sets = ConformalSets.of(made.model.logits.tolist(), made.model.labels.astype(int).tolist())
    return LocalFacts(
        made=made.facts.made, package=digest, patients=len(made.model.labels), left_out=0, intercept=None, slope=None,
        benign=sets.benign, malignant=sets.malignant, level=sets.level, feature_patients=0, feature_limit=None,
    )  # fmt: skip
