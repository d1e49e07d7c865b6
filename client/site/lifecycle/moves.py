"""What people of a site do with its models: into shadow, into use by two signatures, down, and back."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from client.site.lifecycle.agreements import agreement, propose
from client.site.lifecycle.changes import gate_path, trial
from client.site.lifecycle.registry import MOVES, SiteRegistry
from client.site.packages import KeptPackages
from common.errors import ConfigError, TrustError
from common.trust.durable import make_folder
from common.trust.journal import Head, read_head
from common.trust.registry import Cause, Move, Registry, State

ACTIVATE = "activate"


def to_shadow(home: Path, start: str, gate: Path, by: str) -> str:
    """Returns the digest of the package that runs in shadow from now on, held to this gate file alone.

    Raises:
        ConfigError: There is no such package, or the gate file is not valid.
        ModelError, TrustError: The package is refused, or the move is not allowed.
    """
    from common.monitoring.gate import read_gate

    package = KeptPackages(home).load(start)
    _, digest = read_gate(gate)
    make_folder(gate_path(home, digest).parent)
    shutil.copyfile(gate, gate_path(home, digest))
    _move(home, Move(package=package.digest, to="shadow", cause="person", by=(by,), time=_now(), gate=digest))
    return package.digest


def lower(home: Path, start: str, to: State, by: str, why: str) -> str:
    """Returns the digest of the package that was moved down on one person's word.

    Raises:
        ConfigError: There is no such package.
        TrustError: The move is not allowed.
    """
    digest = KeptPackages(home).folder(start).name
    _move(home, Move(package=digest, to=to, cause="person", by=(by,), time=_now(), note=why))
    return digest


def propose_activation(home: Path, start: str, why: str) -> tuple[str, dict[str, Any]]:
    """Returns the identity of the proposal that two people must sign, and what it says.

    A package in shadow must have passed its gate. One that was in use before needs the two people only.

    Raises:
        ConfigError: There is no such package, or no two people.
        ModelError, TrustError: The package is refused, has not passed, or was never in use.
    """
    package, registry = KeptPackages(home).load(start), SiteRegistry(home).read()
    cause = _cause(registry, package.digest)
    body: dict[str, Any] = {
        "do": ACTIVATE, "package": package.digest, "cause": cause, "why": why, "time": _now(), "gate": "", "found": [],
        "replaces": registry.active if registry.active != package.digest else None, "journal": _head(home).digest,
    }  # fmt: skip
    if cause == "gate":
        found = trial(home)
        body |= {"gate": found.gate, "found": [[item.name, item.holds, item.found] for item in found.items]}
        if not found.passed:
            failed = "; ".join(f"{item.name}: {item.found}" for item in found.items if not item.holds)
            raise TrustError(f"{package.digest[:16]} stays in shadow, its gate does not hold: {failed}")
    registry.after(*_moves(body, ("first", "second"), "0"))
    return propose(home, body), body


def activate(home: Path, name: str) -> str:
    """Returns the digest of the package that two people have put into use.

    Raises:
        TrustError: Fewer have signed, or the models were moved since it was proposed.
        ModelError: The package is refused.
    """
    body, by = agreement(home, name)
    KeptPackages(home).load(body["package"])
    with SiteRegistry(home).moving() as move:
        if _head(home).digest != body["journal"]:
            raise TrustError("Models were moved since this was proposed; propose it again")
        move(*_moves(body, by, name))
    return str(body["package"])


def _moves(body: Mapping[str, Any], by: tuple[str, ...], name: str) -> tuple[Move, ...]:
    now = _now()
    up = Move(
        package=body["package"], to="active", cause=body["cause"], by=by, time=now, note=body["why"],
        gate=body["gate"], agreement=name,
    )  # fmt: skip
    if body["replaces"] is None:
        return (up,)
    return Move(package=body["replaces"], to="retired", cause="replaced", by=by, time=now, agreement=name), up


def _cause(registry: Registry, digest: str) -> Cause:
    match registry.state(digest):
        case "shadow":
            return "gate"
        case "watch":
            return "appeal"
        case "suspended":
            return "appeal" if registry.active is None else "rollback"
        case "retired":
            return "rollback"
        case "active":
            raise ConfigError(f"{digest[:16]} is active already")
        case _:
            raise ConfigError(
                f"{digest[:16]} must run in shadow first: oncofed-site model shadow {digest[:8]} --gate FILE"
            )


def _move(home: Path, *moves: Move) -> None:
    with SiteRegistry(home).moving() as move:
        move(*moves)


def _head(home: Path) -> Head:
    registry = SiteRegistry(home)
    registry.read()
    path = registry.folder / MOVES
    return (read_head(path.with_suffix(".head")) if path.exists() else None) or Head()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
