"""evaluation.json is what its published schema says, and the schema is strict."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.scenarios.conftest import Federation


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    path = Path(__file__).resolve().parents[2] / "docs" / "schemas" / "evaluation-1.schema.json"
    document = json.loads(path.read_text())
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)


@pytest.mark.parametrize("overrides", ["privacy=none", "evaluation.local_baseline=false evaluation.resamples=0"])
def test_every_run_keeps_to_it(federation: Federation, schema: Draft202012Validator, overrides: str) -> None:
    federation.run(overrides)
    document = federation.read("evaluation.json")
    assert [error.message for error in schema.iter_errors(document)] == []
    for name, damaged in damages(document).items():
        assert list(schema.iter_errors(damaged)), f"{name} was not noticed"


def damages(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Copies of the document, each wrong in one place."""

    def at(*path: str, value: Any = None, drop: bool = False) -> dict[str, Any]:
        copied = copy.deepcopy(document)
        place = copied
        for key in path[:-1]:
            place = place[key]
        if drop:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        return copied

    pooled = ("models", "federated", "pooled")
    return {
        "a model gone": at("models", "federated", drop=True),
        "an area gone": at(*pooled, "auroc", drop=True),
        "an area above 1": at(*pooled, "auroc", "value", value=1.01),
        "a count below 0": at(*pooled, "confusion", "tp", value=-1),
        "a count that is no whole number": at(*pooled, "patients", value=1.5),
        "a number as text": at("threshold", value="0.5"),
        "an unknown key": at(*pooled, "accuracy2", value=1.0),
        "another version": at("schema_version", value=2),
        "another level": at("level", value="image"),
    }
