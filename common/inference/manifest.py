"""``package.json``: what a package is and the hash of each of its files; its own digest names the package."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter, ValidationError

from common.errors import ModelError
from common.notice import RESEARCH_USE
from common.trust.journal import canonical

FILE = "package.json"
BESIDE = ("signatures", "local")
"""Folders that are no part of the package: what others said of it, and what a site measured with it."""
MAX_BYTES = 512 * 2**20
MAX_FILES = 200

Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$")]
Text = Annotated[str, Field(max_length=400)]
Place = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)?$", max_length=100)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a package is.

    Attributes:
        name: Of the study.
        created: When the package was written, UTC.
        expires: When its validation expires; from then on it is not loaded.
        synthetic: Whether it was trained on synthetic images only.
        emulated: Whether its hospitals were emulated.
        study: SHA-256 of the study.
        run: Identifier of the run, hex.
        weights: SHA-256 of all tensors (:func:`common.models.weights.state_digest`).
        engine: What runs it.
        engine_reason: Why it is not onnxruntime; empty where it is.
        normalised: Whether the head centres the pooled features and scales them to length 1.
        attention: ``cam``: the map from the last features; ``none``: there is no map of places.
        attention_reason: Why there is none; empty where there is one.
        versions: Of the programs that wrote it.
        files: SHA-256 of each other file.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    notice: Text
    name: Text
    created: AwareDatetime
    expires: AwareDatetime
    synthetic: bool
    emulated: bool
    study: Hex
    run: Hex
    weights: Sha
    engine: Literal["onnx", "torch"]
    engine_reason: Text
    normalised: bool
    attention: Literal["cam", "none"]
    attention_reason: Text
    versions: Mapping[str, Text]
    files: Mapping[Place, Sha]

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        document: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return document

    def text(self) -> str:
        """Returns the one JSON text of it, as the file holds it."""
        return canonical(self.to_json()) + "\n"

    @property
    def digest(self) -> str:
        """Returns the package's digest, SHA-256 (hex) of :meth:`text`."""
        return hashlib.sha256(self.text().encode()).hexdigest()


_ADAPTER = TypeAdapter(Manifest)


def read_manifest(folder: Path) -> Manifest:
    """Returns the manifest of a package whose every file is the one that it names.

    Raises:
        ModelError: There is no package, a file is missing, changed, too large or not named.
    """
    path = folder / FILE
    try:
        if path.stat().st_size > 2**20:
            raise ModelError(f"{path} is larger than a package.json can be; get the package again")
        found = _ADAPTER.validate_json(path.read_bytes())
    except OSError:
        raise ModelError(f"{folder} holds no model package; expected a folder with a {FILE}") from None
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
        raise ModelError(f"{path} is damaged at {where or 'its start'}; get the package again") from None
    if path.read_text(encoding="utf-8") != found.text():
        raise ModelError(f"{path} was written by hand or changed; get the package again")
    if found.notice != RESEARCH_USE:
        raise ModelError(f"{path} does not say {RESEARCH_USE!r}; it is no package of this program")
    _check_names(folder, found)
    for name, expected in found.files.items():
        if file_digest(folder / name) != expected:
            raise ModelError(f"{folder / name} is not the file that {FILE} names; get the package again")
    return found


def file_digest(path: Path) -> str:
    """Returns the SHA-256 (hex) of a file.

    Raises:
        ModelError: It cannot be read, or is too large.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path} is larger than {MAX_BYTES // 2**20} MiB; this is no file of a package")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); copy the whole package again") from None


def listed(folder: Path) -> list[str]:
    """Returns the relative names of the package's files as they lie there, sorted; links are refused.

    Raises:
        ModelError: A link, or too many files.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.split("/")[0] in BESIDE or name == FILE:
            continue
        if path.is_symlink():
            raise ModelError(f"{path} is a link; a package holds files only")
        if path.is_file():
            found.append(name)
        if len(found) > MAX_FILES:
            raise ModelError(f"{folder} holds more than {MAX_FILES} files; this is no package")
    return found


def _check_names(folder: Path, manifest: Manifest) -> None:
    odd = sorted({*listed(folder)} ^ {*manifest.files})
    if odd:
        raise ModelError(f"{folder}: {FILE} and the files there differ by {odd[0]}; get the package again")
