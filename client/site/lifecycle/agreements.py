"""What two people of a site agree to before it is done: proposals in its folder, and who may sign them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.config.settings_file import settings_text
from common.errors import ConfigError, TrustError
from common.trust.agreement import Signature, agree, agreed, identity
from common.trust.durable import exclusive, make_folder, write_durably
from common.trust.signing import SiteKey

FOLDER, PEOPLE = "proposals", "people.yaml"


def people(home: Path) -> dict[str, str]:
    """Returns the public key (hex) of each person who may sign, by name.

    Raises:
        ConfigError: There is no ``people.yaml``, or it holds something else.
    """
    path = home / PEOPLE
    try:
        found = json.loads(settings_text(path))
    except FileNotFoundError:
        raise ConfigError(
            f"There is no {path}; write a line `name: key` for each person who may sign. A person's key is made with: "
            "oncofed-site model key FILE"
        ) from None
    if not isinstance(found, dict) or not all(re.fullmatch(r"[0-9a-f]{64}", str(key)) for key in found.values()):
        raise ConfigError(f"{path}: expected a line `name: key` a person, the key as 64 hex digits in quotes")
    return {str(name): str(key) for name, key in found.items()}


def propose(home: Path, body: Mapping[str, Any]) -> str:
    """Returns the identity of what is to be done, having written it down for people to sign.

    Raises:
        ConfigError: The site has no two people who could sign it.
    """
    if len(set(people(home).values())) < 2:
        raise ConfigError(f"{home / PEOPLE} names fewer than two people with keys of their own; two must sign")
    name = identity(body)
    make_folder(home / FOLDER)
    write_durably(_path(home, name), json.dumps({"body": body, "signatures": []}, indent=2))
    return name


def sign(home: Path, start: str, person: str, key: Path) -> tuple[dict[str, Any], bool]:
    """Returns the proposal whose identity begins so and whether two people have signed it now.

    Raises:
        ConfigError: There is no such proposal.
        TrustError: The person is not known by this key, or the proposal was changed.
    """
    with exclusive(home / FOLDER / ".lock") if (home / FOLDER).is_dir() else _no_proposals(home):
        path = _found(home, start)
        document = _read(path)
        mine = agree(document["body"], person, SiteKey.read(key), people(home))
        kept = [one for one in document["signatures"] if one["name"] != person]
        document["signatures"] = [*kept, {"name": mine.name, "signature": mine.signature}]
        write_durably(path, json.dumps(document, indent=2))
    try:
        agreement(home, path.stem)
    except TrustError:
        return document["body"], False
    return document["body"], True


def agreement(home: Path, name: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns what was agreed and who signed it, two people at least.

    Raises:
        TrustError: Fewer have signed, or the proposal was changed.
    """
    document = _read(_path(home, name))
    signatures = [Signature(str(one["name"]), str(one["signature"])) for one in document["signatures"]]
    return document["body"], agreed(document["body"], signatures, people(home))


def _no_proposals(home: Path) -> Any:
    raise ConfigError(f"Nothing is proposed in {home}; propose it first")


def _path(home: Path, name: str) -> Path:
    return home / FOLDER / f"{name}.json"


def _found(home: Path, start: str) -> Path:
    found = sorted(path for path in (home / FOLDER).glob("*.json") if start and path.stem.startswith(start))
    if len(found) != 1:
        raise ConfigError(f"{len(found)} proposals begin with {start!r}")
    return found[0]


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        same = identity(document["body"]) == path.stem and isinstance(document["signatures"], list)
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise TrustError(f"{path} was changed after it was written; propose it again")
    return document
