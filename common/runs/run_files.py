"""The files of a run folder, read once: what every page and table about a run is made from.

Missing files are missing values, not errors, because a run may fail before any of them is written; only
``run.json`` must be there. Nothing is computed here.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import ConfigError

SCHEMA_VERSION = 1
UNTOLD = "not told"
"""What stands where a site keeps a count: it is small, would give a small one away, or is of training patients."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """A run folder's documents; ``evaluation`` is None when the run ended before the test."""

    path: Path
    run: Mapping[str, Any]
    study: Mapping[str, Any]
    overrides: tuple[str, ...]
    rounds: tuple[Mapping[str, Any], ...]
    evaluation: Mapping[str, Any] | None
    statements: Mapping[str, Mapping[str, Any]]
    explanation: Mapping[str, Any] | None = None
    outside: Mapping[str, Any] | None = None

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites, in the order of ``run.json``."""
        return tuple(site["name"] for site in self.run.get("sites", ()))

    def model(self, name: str) -> Mapping[str, Any]:
        """Returns the ``federated`` or ``local`` block of the evaluation; empty when not measured."""
        block: Mapping[str, Any] = (self.evaluation or {}).get("models", {}).get(name, {})
        return block

    def within(self, model: str) -> Mapping[str, Any]:
        """Returns ``value``, ``low`` and ``high`` of a model's AUROC within sites; None where it was not measured."""
        found = self.model(model).get("within_sites") or {}
        return {key: found.get(key) for key in ("value", "low", "high")}

    def difference(self, site: str, pair: str = "federated_minus_local") -> Mapping[str, Any] | None:
        """Returns a pair's difference of AUROC at a site (or ``pooled``); None where it was not measured."""
        found = (self.evaluation or {}).get("comparisons", {}).get(pair, {})
        value: Mapping[str, Any] | None = found.get("pooled") if site == "pooled" else found.get("sites", {}).get(site)
        return value

    def own_release(self, site: str) -> Mapping[str, Any]:
        """Returns what the site let leave of its own models; empty where it was not asked or did not answer."""
        found: Mapping[str, Any] = (self.evaluation or {}).get("own_release", {}).get(site, {})
        return found

    def epsilon(self, site: str) -> float | None:
        """Returns the epsilon a site has charged: from its statement, else from its last round; None when unknown."""
        stated = self.statements.get(site, {}).get("epsilon")
        if isinstance(stated, int | float):
            return float(stated)
        charged = [row["epsilon"][site] for row in self.rounds if row.get("epsilon", {}).get(site) is not None]
        return float(charged[-1]) if charged else None

    def ceilings(self) -> dict[str, float]:
        """Returns the sites' own ceilings, where their statements name one."""
        named = {site: statement.get("ceiling") for site, statement in self.statements.items()}
        return {site: float(value) for site, value in named.items() if isinstance(value, int | float)}


def read_run(run_dir: Path) -> RunFiles:
    """Returns the documents of a run folder.

    Raises:
        ConfigError: ``run.json`` is missing or of another version, or a file does not parse.
    """
    run = _json(run_dir / "run.json")
    if run is None:
        raise ConfigError(f"Expected a run folder with a run.json, found none in {run_dir}: name a folder below runs/.")
    if run.get("schema_version") != SCHEMA_VERSION:
        raise ConfigError(f"Expected run.json of schema version {SCHEMA_VERSION}, got {run.get('schema_version')!r}.")
    statements = {file.stem: _json(file) or {} for file in sorted((run_dir / "privacy").glob("*.json"))}
    overrides = _yaml(run_dir / "overrides.yaml")
    return RunFiles(
        path=run_dir,
        run=run,
        study=_yaml(run_dir / "study.yaml") or {},
        overrides=tuple(str(item) for item in overrides or ()),
        rounds=_lines(run_dir / "metrics.jsonl"),
        evaluation=_json(run_dir / "evaluation.json"),
        statements=statements,
        explanation=_json(run_dir / "explanation.json"),
        outside=_json(run_dir / "outside.json"),
    )


def _json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path.name} is damaged ({error}); restore it or run again.") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path.name} is damaged (expected a JSON object); restore it or run again.")
    return document


def _lines(path: Path) -> tuple[dict[str, Any], ...]:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break  # The last line of a run that was killed may be cut short.
    return tuple(rows)


def _yaml(path: Path) -> Any:
    if not path.exists():
        return None
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.load(path))
