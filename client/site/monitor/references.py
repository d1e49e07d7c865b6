"""The frozen reference of a site's monitor: taken by two people, never overwritten."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from client.site.lifecycle.agreements import agreement, propose
from client.site.monitor.labels import FOLDER
from common.errors import ConfigError, TrustError
from common.inference.record import records
from common.monitoring.reference import FrozenReference, frozen, read_reference
from common.trust.durable import make_folder, write_durably

FREEZE, CURRENT, ALL = "freeze", "reference.json", "references"


def propose_reference(home: Path, model: str, first: date, last: date) -> tuple[str, dict[str, Any]]:
    """Returns the identity of the proposal that two people must sign, and what it says.

    The reference itself is written beside the others, but counts only once they have.

    Raises:
        ConfigError: There are no two people.
        DataError: The exams of these days are too few.
    """
    from client.site.packages import RECORDS

    found = frozen(records(home / RECORDS).records, model, first, last)
    before = current(home)
    body = {
        "do": FREEZE, "digest": found.digest, "model": model, "first": str(first), "last": str(last),
        "exams": found.exams, "replaces": None if before is None else before.digest,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    make_folder(home / FOLDER / ALL)
    (home / FOLDER).chmod(0o700)  # one value a patient stands in it
    write_durably(_path(home, found.digest), json.dumps(found.to_json()))
    return propose(home, body), body


def freeze(home: Path, name: str) -> str:
    """Returns the digest of the reference that two people have put into use; those before it are kept.

    Raises:
        TrustError: Fewer have signed, or another one came between.
    """
    body, by = agreement(home, name)
    before = current(home)
    if (None if before is None else before.digest) != body["replaces"]:
        raise TrustError("Another reference was taken since this one was proposed; propose it again")
    _read(home, body["digest"])
    document = {"agreement": name, "by": list(by), "history": [*history(home), name]}
    write_durably(home / FOLDER / CURRENT, json.dumps(document, indent=2))
    return str(body["digest"])


def current(home: Path) -> FrozenReference | None:
    """Returns the reference in use; None: there is none yet.

    Raises:
        TrustError: It is damaged, or not the one that two people signed.
    """
    found = history(home)
    if not found:
        return None
    body, _ = agreement(home, found[-1])
    if body.get("do") != FREEZE:
        raise TrustError(f"{home / FOLDER / CURRENT} names no reference; restore it from a backup")
    return _read(home, body["digest"])


def history(home: Path) -> tuple[str, ...]:
    """Returns the identities of the agreements on references, oldest first.

    Raises:
        TrustError: The file is damaged.
    """
    path = home / FOLDER / CURRENT
    try:
        return tuple(map(str, json.loads(path.read_text(encoding="utf-8"))["history"]))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError):
        raise TrustError(f"{path} is damaged; restore it from a backup") from None


def _read(home: Path, digest: str) -> FrozenReference:
    try:
        return read_reference(_path(home, digest).read_text(encoding="utf-8"), digest)
    except OSError as error:
        raise ConfigError(f"{_path(home, digest)} cannot be read ({os.strerror(error.errno or 0)})") from None


def _path(home: Path, digest: str) -> Path:
    return home / FOLDER / ALL / f"{digest}.json"
