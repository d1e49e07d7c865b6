"""The site's egress journal: one line for every message that left, with every field of it.

The journal lets a hospital prove what it sent. It holds names, shapes, sizes and hashes, never the values, and is
written and fsynced before the message is handed to Flower.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from common.trust.durable import sync_folder


def describe(content: RecordDict) -> list[dict[str, Any]]:
    """Returns one entry for each field: name, kind, shape, bytes and SHA-256 (hex) of its value."""
    entries: list[dict[str, Any]] = []
    for key, record in content.items():
        if isinstance(record, ArrayRecord):
            entries += [
                {"field": f"{key}.{name}", "kind": array.dtype, "shape": list(array.shape), **_size(array.data)}
                for name, array in record.items()
            ]
        elif isinstance(record, ConfigRecord):
            entries += [
                {"field": f"{key}.{name}", "kind": type(value).__name__, **_size(repr(value).encode())}
                for name, value in record.items()
            ]
        else:
            raise TypeError(f"No rule to journal a {type(record).__name__}")
    return entries


def append(
    path: Path, *, purpose: str, run: str, round_index: int, content: RecordDict, refusal: str | None = None
) -> None:
    """Appends what is about to leave, durably.

    Args:
        path: The journal.
        purpose: What the hub asked for.
        run: Identifier of the hub's run.
        round_index: The round, 0 outside the rounds.
        content: What leaves.
        refusal: Code of the refusal, where what leaves is one.

    Raises:
        OSError: The line could not be written; then nothing may leave.
    """
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "purpose": purpose,
        "run": run,
        "round": round_index,
        "refusal": refusal,
        "fields": describe(content),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        _write(descriptor, (json.dumps(line) + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


def _write(descriptor: int, line: bytes) -> None:
    """Writes the whole line, below a torn one that a crash or a full disk left."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        line = b"\n" + line
    written = os.write(descriptor, line)
    if written != len(line):  # what write(2) says when the disk fills up half-way
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _size(value: bytes) -> dict[str, Any]:
    return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
