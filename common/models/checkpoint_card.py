"""The card of a public checkpoint: what it is, what it was made from, and the hashes of its files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from common.canonical import document_digest
from common.errors import ModelError
from common.models.views import VIEWS, View

_strict = ConfigDict(extra="forbid", allow_inf_nan=False)
Whole = Annotated[int, Field(ge=0)]
Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=2000)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublicData:
    """A public data set that a checkpoint was made from.

    Attributes:
        name: Its name in a study (``data.name``).
        seed: From which a synthetic set was drawn; None for one of files.
    """

    __pydantic_config__ = _strict

    name: Text
    title: Text
    licence: Text
    citation: Text
    images: Whole
    patients: Whole
    synthetic: bool
    seed: Whole | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointCard:
    """Everything known of a checkpoint.

    Attributes:
        network: Name of the network in the zoo.
        width: Its ``model.width``.
        image_size: Side of the input in pixels.
        channels: Of the input.
        block: Block of the trunk whose output and gradient are public features.
        sketch_seed: Of the count sketch of the gradient.
        sketch_size: Its length.
        views: Over which features are averaged.
        data: What it was made from.
        seed: Of split, order and augmentation.
        figures: How the training went: AUROC by patient, epochs, learning rate.
        code: Release and hashes of the code that made it.
        files: SHA-256 of each other file of the folder.
    """

    __pydantic_config__ = _strict

    schema_version: Literal[1] = 1
    network: Text
    width: Annotated[int, Field(ge=4, le=512)]
    image_size: Annotated[int, Field(ge=1, le=1024)]
    channels: Literal[1, 3]
    block: Text
    sketch_seed: Whole
    sketch_size: Annotated[int, Field(ge=16, le=65_536)]
    views: Annotated[tuple[View, ...], Field(min_length=1, max_length=32)] = VIEWS
    data: Annotated[tuple[PublicData, ...], Field(min_length=1, max_length=32)]
    seed: Whole
    figures: Mapping[str, float | int | str | None]
    code: Mapping[str, str]
    files: Mapping[str, Sha]

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        document: dict[str, Any] = _CARD.dump_python(self, mode="json")
        return document

    def digest(self) -> str:
        """Returns the SHA-256 (hex) of the card in canonical JSON: it names weights, basis and origin at once."""
        return document_digest(self.to_json())


_CARD = TypeAdapter(CheckpointCard)


def parse_card(text: str, where: str) -> CheckpointCard:
    """Returns the card of a file's text.

    Raises:
        ModelError: It is no JSON, or no card of this version; ``where`` names the file.
    """
    try:
        return _CARD.validate_python(json.loads(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "card"
        reason = f"{place}: {first['msg']}"
    except (ValueError, RecursionError):
        reason = "it is no JSON"
    raise ModelError(f"{where} is no card of a checkpoint ({reason}); make one with: oncofed-sim pretrain")
