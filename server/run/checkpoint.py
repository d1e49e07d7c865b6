"""What a hub writes after every round, and how a crashed run goes on from it.

The state names the digest of each file beside it, and is signed where the hub has a key for it: a run only goes on
from what this hub wrote itself, whole and unchanged.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import ConfigError, TrustError
from common.trust.durable import sync_folder
from common.trust.signing import SiteKey, signature_holds

Arrays = Mapping[str, NDArray[np.float32]]
KEEP = 2
KEY = "ONCOFED_CHECKPOINT_KEY"
"""Names the Ed25519 key, made on first use, that signs checkpoints; set by the hub's daemon only."""
STATE, SIGNATURE = "state.json", "state.sig"
TENSORS = ("arrays", "average", "best", "strategy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state of a run after ``round_index`` rounds.

    Attributes:
        arrays: Global weights; ``average``: their running average; ``best``: what was scored in the best round;
            ``strategy``: the strategy's memory, flat.
        notes: JSON: best round and its AUROC, the sites' rounds and losses.
    """

    round_index: int
    study_digest: str
    run: str
    arrays: Arrays
    average: Arrays
    best: Arrays
    strategy: Arrays
    notes: Mapping[str, Any] = field(default_factory=dict)


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes the checkpoint whole or not at all, signed if ``ONCOFED_CHECKPOINT_KEY`` names a key; keeps two."""
    target = folder / _name(checkpoint.round_index)
    partial = folder / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _write(partial, checkpoint)
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    sync_folder(folder)
    for old in sorted(folder.glob("round-*"))[:-KEEP]:
        shutil.rmtree(old)


def latest(folder: Path, *, study_digest: str, run: str) -> Checkpoint | None:
    """Returns the newest checkpoint, or None when the run never finished a round.

    Raises:
        TrustError: It belongs to another study, run or round, or the hub that goes on did not sign it.
        ConfigError: It is damaged.
    """
    found = sorted(folder.glob("round-*"))
    if not found:
        return None
    checkpoint = _read(found[-1])
    if found[-1].name != _name(checkpoint.round_index):
        raise TrustError(
            f"The checkpoint {found[-1]} is that of round {checkpoint.round_index} under another name. Find out who "
            "named it so, then delete it to resume from the one before"
        )
    for name, expected in (("study_digest", study_digest), ("run", run)):
        if getattr(checkpoint, name) != expected:
            kind = name.removesuffix("_digest")
            raise TrustError(f"The checkpoint {found[-1]} belongs to another {kind}; resume the folder it was made in")
    return checkpoint


def _name(round_index: int) -> str:
    return f"round-{round_index:05d}"


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    from safetensors.numpy import save

    digests = {}
    for name in TENSORS:
        content = save(dict(getattr(checkpoint, name)))
        digests[name] = hashlib.sha256(content).hexdigest()
        _write_synced(folder / f"{name}.safetensors", content)
    state = {name: getattr(checkpoint, name) for name in ("round_index", "study_digest", "run", "notes")}
    text = json.dumps(state | {"files": digests}).encode()
    _write_synced(folder / STATE, text)
    if key := _key():
        _write_synced(folder / SIGNATURE, key.sign(text).encode())


def _read(folder: Path) -> Checkpoint:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        text = (folder / STATE).read_bytes()
        _check_signature(folder, text)
        state = json.loads(text)
        contents = {name: (folder / f"{name}.safetensors").read_bytes() for name in TENSORS}
        digests = state.pop("files")
        whole = all(hashlib.sha256(content).hexdigest() == digests[name] for name, content in contents.items())
        tensors: dict[str, Any] = {name: load(content) for name, content in contents.items()}
        found = Checkpoint(**state | tensors) if whole else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, SafetensorError):
        found = None
    if found is None:
        raise ConfigError(f"The checkpoint {folder} is damaged; delete it to resume from the one before")
    return found


def _check_signature(folder: Path, text: bytes) -> None:
    key, path = _key(), folder / SIGNATURE
    if key is None:
        return
    signature = path.read_text(encoding="ascii") if path.exists() else ""
    if not signature_holds(key.public_hex, text, signature):
        raise TrustError(
            f"The checkpoint {folder} does not carry this hub's signature; it was changed or made elsewhere. Find out "
            "by whom, then delete it to resume from the one before"
        )


def _key() -> SiteKey | None:
    path = os.environ.get(KEY)
    return SiteKey.open(Path(path)) if path else None


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
