"""A package's network with the head that one hospital made for itself: a sum of the released score and its own.

The hospital's part is linear in the features of the last map, so the two are one linear head, and a map of attention
stays what it was. It was made without noise and must not leave the hospital.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter, ValidationError

from common.errors import ModelError
from common.inference.graph import Network

HEAD, FACTS = "personal.safetensors", "personal.json"
Floats = NDArray[np.float32]
_SMALLEST = 1e-12
Share = Annotated[float, Field(ge=0, le=1)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PersonalFacts:
    """What ``personal.json`` says.

    Attributes:
        site: Name of the hospital whose patients made it.
        base: Digest of the package that it was made from.
        made: When, UTC.
        patients: How many patients fitted it.
        compared: How many of them the three shares are of, and chose: those that the released model did not learn from
            without noise.
        how: What was chosen.
        released: Share of pairs of held-out patients that the released score puts in the right order.
        home: The same of the hospital's own score; ``chosen``: of what was taken.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    site: Annotated[str, Field(max_length=200)]
    base: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    made: AwareDatetime
    patients: Annotated[int, Field(ge=1)]
    compared: Annotated[int, Field(ge=1)]
    how: Annotated[str, Field(max_length=200)]
    released: Share
    home: Share
    chosen: Share

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        document: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return document


_ADAPTER = TypeAdapter(PersonalFacts)


@dataclasses.dataclass(frozen=True, eq=False)
class PersonalHead:
    """``logit = released * released logit + weight . features + bias``.

    Attributes:
        released: At least 0.
        weight: float64 (D,), of the pooled features as the released head reads them.
        bias: Added to all.
    """

    released: float
    weight: NDArray[np.float64]
    bias: float


class PersonalNetwork:
    """The released network, its logit replaced by the hospital's.

    Args:
        network: Of the base package.
        head: The hospital's.
        normalised: Whether the released head reads features that are centred and scaled to length 1.
    """

    def __init__(self, network: Network, head: PersonalHead, *, normalised: bool) -> None:
        self._network, self._head, self._normalised = network, head, normalised

    def __call__(self, images: Floats) -> tuple[Floats, Floats]:
        """Returns logits and features.

        Raises:
            ModelError: The head is for other features.
        """
        logits, features = self._network(images)
        rows = as_head_reads(features, normalised=self._normalised)
        if rows.shape[1] != len(self._head.weight):
            raise ModelError(f"{HEAD} is for {len(self._head.weight)} features, and the network has {rows.shape[1]}")
        found = self._head.released * logits.astype(np.float64) + rows @ self._head.weight + self._head.bias
        return found.astype(np.float32), features


def as_head_reads(features: Floats, *, normalised: bool) -> NDArray[np.float64]:
    """Returns features (N, D, h, w) or (N, D) as a released head reads them, float64 (N, D)."""
    rows = features.astype(np.float64)
    rows = rows.mean((2, 3)) if rows.ndim == 4 else rows
    if not normalised:
        return rows
    centred = rows - rows.mean(1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), _SMALLEST))


def write_personal(folder: Path, head: PersonalHead, facts: PersonalFacts) -> None:
    """Writes both files into a package's folder."""
    from safetensors.numpy import save_file

    ends = np.array([head.released, head.bias], dtype=np.float64)
    save_file({"weight": np.ascontiguousarray(head.weight), "released_and_bias": ends}, folder / HEAD)
    (folder / FACTS).write_text(json.dumps(facts.to_json(), indent=2) + "\n", encoding="utf-8")


def read_personal(folder: Path) -> tuple[PersonalHead, PersonalFacts] | None:
    """Returns the hospital's head of a package; None where it is no personal one.

    Raises:
        ModelError: A file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not (folder / HEAD).exists() and not (folder / FACTS).exists():
        return None
    again = "make it again with: oncofed-site model personal"
    try:
        facts = _ADAPTER.validate_json((folder / FACTS).read_bytes())
        found = load_file(folder / HEAD)
        weight, (released, bias) = found["weight"], found["released_and_bias"].tolist()
    except (OSError, ValidationError, SafetensorError, KeyError, ValueError):
        raise ModelError(f"{folder / HEAD} or {FACTS} is missing or damaged; {again}") from None
    sound = weight.dtype == np.float64 and weight.ndim == 1 and np.isfinite([*weight, released, bias]).all()
    if not sound or released < 0:
        raise ModelError(f"{folder / HEAD} holds other numbers than a head has; {again}")
    return PersonalHead(released, weight, bias), facts
