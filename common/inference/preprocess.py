"""``preprocess.json``: the settings with which :func:`common.data.loading.network_input` is called, in training too."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from common.config.study import DataConfig
from common.errors import ModelError

FUNCTION = "common.data.loading.network_input"
SETTINGS = ("image_size", "channels", "breast_crop")
_ADAPTER = TypeAdapter(DataConfig)


def to_document(data: DataConfig) -> dict[str, Any]:
    """Returns the settings as JSON values."""
    return {"schema_version": 1, "function": FUNCTION} | {name: getattr(data, name) for name in SETTINGS}


def from_document(document: Mapping[str, Any]) -> DataConfig:
    """Returns a configuration of which :data:`SETTINGS` count.

    Raises:
        ModelError: It names another function or other settings than this program has.
    """
    if document.get("function") != FUNCTION or set(document) != {"schema_version", "function", *SETTINGS}:
        raise ModelError(
            "preprocess.json asks for what this program cannot do; use the release that packaged the model"
        )
    try:
        found = _ADAPTER.validate_json(json.dumps({name: document[name] for name in SETTINGS}), strict=True)
    except ValidationError:
        raise ModelError("preprocess.json holds a setting out of its range; get the package again") from None
    if found.image_size < 1:
        raise ModelError("preprocess.json is for tables; a package is for images")
    return dataclasses.replace(found, name="package")
