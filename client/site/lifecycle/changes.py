"""What a site compares before a package becomes active: answers in shadow, its label, the gate that was fixed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.site.lifecycle.registry import SiteRegistry
from client.site.monitor.labels import known_labels
from client.site.packages import KeptPackages
from common.errors import ConfigError
from common.inference.record import InferenceRecord, records
from common.monitoring.gate import Answer, Facts, Gate, Item, change_between, judged, read_gate
from common.monitoring.labels import Label, Source, current
from common.monitoring.reference import one_a_patient, one_an_exam
from common.monitoring.shadow import Pair, pairs

if TYPE_CHECKING:
    from common.inference.package import Package

GATES = "gates"


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """A package in shadow beside the active one.

    Attributes:
        pairs: Patients whom both have answered; none where there is no active one.
        items: Of the gate.
        gate: SHA-256 of the gate file.
    """

    pairs: tuple[Pair, ...]
    items: tuple[Item, ...]
    gate: str

    @property
    def passed(self) -> bool:
        """Whether every test of the gate holds."""
        return all(item.holds for item in self.items)


def gate_path(home: Path, digest: str) -> Path:
    """Returns where the site keeps the gate file of that digest."""
    return home / GATES / f"{digest}.yaml"


def trial(home: Path) -> Trial:
    """Returns how the package in shadow does, on the records and labels of this site since it went there.

    Raises:
        ConfigError: None is in shadow, or its gate file is not there any more.
        ModelError, TrustError: A package is refused.
    """
    registry = SiteRegistry(home).read()
    if registry.shadow is None:
        raise ConfigError("No package runs in shadow; begin with: oncofed-site model shadow DIGEST --gate FILE")
    fixed = registry.gate(registry.shadow)
    gate, found = read_gate(gate_path(home, fixed))
    if found != fixed:
        raise ConfigError(f"{gate_path(home, fixed)} is not the gate that was fixed; restore it from a backup")
    kept = KeptPackages(home)
    since = max(m.time for m in registry.moves if m.package == registry.shadow and m.to == "shadow")[:10]
    seen = [r for r in records(kept.records).records if r.made.date() >= date.fromisoformat(since)]
    labels = known_labels(home)
    both = () if registry.active is None else pairs(seen, registry.active, registry.shadow, labels, gate.labels)
    facts = _facts(kept, registry.active, registry.shadow)
    mine = one_an_exam(record for record in seen if record.model == registry.shadow)
    return Trial(both, _items(gate, facts, both, mine, labels), fixed)


def _items(
    gate: Gate, facts: Facts, both: tuple[Pair, ...], mine: list[InferenceRecord], labels: tuple[Label, ...]
) -> tuple[Item, ...]:
    abstained = sum(record.abstained for record in mine), len(mine)
    return judged(gate, facts, both, _answers(mine, labels, gate.labels), abstained)


def _answers(mine: list[InferenceRecord], labels: tuple[Label, ...], source: Source) -> list[Answer]:
    known = {label.exam: label.malignant for label in current(labels).values() if label.source == source}
    told = one_a_patient(record for record in mine if record.exam in known and not record.abstained)
    return [Answer(record.probability or 0.0, bool(record.above_threshold), known[record.exam]) for record in told]


def _facts(kept: KeptPackages, active: str | None, shadow: str) -> Facts:
    new = kept.load(shadow)
    old = None if active is None else kept.load(active)
    return Facts(
        change=None if old is None else change_between(_parts(old), _parts(new)),
        golden=new.golden,
        epsilon=_epsilon(new),
        worst=_worst(new.label()),
        worst_active=None if old is None else _worst(old.label()),
    )


def _parts(package: Package) -> dict[str, Any]:
    from common.inference.package import CHECKPOINT, ONNX, PREPROCESS, WEIGHTS
    from common.inference.personal import HEAD

    network = package.label().get("model", {}).get("network")
    files = package.manifest.files
    # All that a score is computed from: another graph is another model, whatever weights it is said to have.
    names = (name for name in files if name in (WEIGHTS, ONNX, HEAD) or name.startswith(CHECKPOINT))
    return {
        "weights": {name: files[name] for name in names},
        "preprocessing": files.get(PREPROCESS),
        "network": network,
    }


def _epsilon(package: Package) -> float | None:
    from common.inference.package import PRIVACY, document

    found = document(package.folder / PRIVACY)
    told = [site.get("epsilon") for site in found.get("sites", {}).values()]
    return max(told) if found.get("private") and told and None not in told else None


def _worst(label: Mapping[str, Any]) -> float | None:
    sites = label.get("validation", {}).get("by_site", {})
    areas = [site["auroc"]["value"] for site in sites.values() if isinstance(site.get("auroc"), Mapping)]
    return min(areas) if areas and None not in areas else None
