"""The states of a site's model packages, and which moves between them who may make. Pure: it keeps no file.

``kept -> shadow -> active -> watch -> suspended -> retired``. Down goes anybody, and the monitor by itself; up to
active go two people only. At most one package is in use (active or on watch) and at most one is in shadow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from common.errors import TrustError
from common.trust.journal import Head, canonical
from common.trust.signing import SiteKey, signature_holds

State = Literal["kept", "shadow", "active", "watch", "suspended", "retired"]
Cause = Literal["person", "alarm", "expired", "gate", "rollback", "replaced", "appeal"]
IN_USE: tuple[State, ...] = ("active", "watch")
DOWN: Mapping[State, tuple[State, ...]] = {
    "kept": ("shadow", "retired"),
    "shadow": ("kept", "retired"),
    "active": ("watch", "suspended", "retired"),
    "watch": ("suspended", "retired"),
    "suspended": ("retired",),
    "retired": (),
}
"""Moves that need one word: of a person, or of the monitor from active on."""
UP: Mapping[State, tuple[Cause, ...]] = {
    "shadow": ("gate",), "watch": ("appeal",), "suspended": ("appeal", "rollback"), "retired": ("rollback",),
}  # fmt: skip
"""Moves to active, which need two people, and for what: a passed gate, a look at the alarms, or going back."""
AUTOMATIC: tuple[Cause, ...] = ("alarm", "expired", "replaced")
_BETWEEN = "; "
_DOMAIN = b"oncofed model pointer\n"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move, as the site's journal keeps it.

    Attributes:
        package: Digest.
        to: State after it.
        cause: Why.
        by: The people who agreed, sorted; ``monitor`` where it moved by itself.
        time: ISO 8601 with zone.
        note: What a person reads: alarms, or why.
        gate: SHA-256 of the gate file that was fixed (to shadow) or passed (to active); empty: none.
        agreement: Identity of what the people signed; empty: nothing was signed.
    """

    package: str
    to: State
    cause: Cause
    by: tuple[str, ...]
    time: str
    note: str = ""
    gate: str = ""
    agreement: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {**dataclasses.asdict(self), "by": list(self.by)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Move:
        """Returns the move of :meth:`to_json`.

        Raises:
            TrustError: It is none.
        """
        try:
            move = cls(**{**found, "by": tuple(found["by"])})
        except (TypeError, KeyError):
            raise TrustError("The journal of models holds an entry that is no move; restore it from a backup") from None
        if move.to not in get_args(State) or move.cause not in get_args(Cause):
            raise TrustError("The journal of models holds an unknown move; use the release that wrote it")
        return move


@dataclasses.dataclass(frozen=True, slots=True)
class Registry:
    """Where each package stands after all moves so far."""

    moves: tuple[Move, ...] = ()

    def state(self, package: str) -> State:
        """Returns its state, ``kept`` before its first move."""
        return next((move.to for move in reversed(self.moves) if move.package == package), "kept")

    def packages(self, *states: State) -> tuple[str, ...]:
        """Returns the digests in one of these states, in the order of their first moves."""
        return tuple(one for one in dict.fromkeys(move.package for move in self.moves) if self.state(one) in states)

    @property
    def active(self) -> str | None:
        """The package in use; None: there is none."""
        return next(iter(self.packages(*IN_USE)), None)

    @property
    def shadow(self) -> str | None:
        """The package that runs beside it; None: there is none."""
        return next(iter(self.packages("shadow")), None)

    def was_active(self, package: str) -> bool:
        """Returns whether it was ever active here."""
        return any(move.package == package and move.to == "active" for move in self.moves)

    def gate(self, package: str) -> str:
        """Returns the digest of the gate file that was fixed when it last went into shadow."""
        return next((m.gate for m in reversed(self.moves) if m.package == package and m.to == "shadow"), "")

    def problem(self, move: Move) -> str:
        """Returns why a move is not allowed now; empty: it is."""
        now = self.state(move.package)
        if move.to == "active":
            return self._up(move, now)
        if move.to not in DOWN[now]:
            return f"a {now} package cannot become {move.to}"
        if move.cause in AUTOMATIC and move.to not in ("watch", "suspended", "retired"):
            return "what moves by itself moves down only"
        if move.to == "shadow" and not move.gate:
            return "a gate file must be fixed before a package runs in shadow"
        if move.to == "shadow" and self.shadow is not None:
            return f"{self.shadow[:16]} runs in shadow; take it back first"
        return "" if move.by else "nobody is named"

    def _up(self, move: Move, now: State) -> str:
        if len(set(move.by)) < 2 or not move.agreement:
            return "a package becomes active by the signatures of two people"
        if move.cause not in UP.get(now, ()):
            return f"a {now} package does not become active by {move.cause}"
        if now == "shadow" and (not move.gate or move.gate != self.gate(move.package)):
            return "the gate is not the one that was fixed before the data came"
        if move.cause in ("rollback", "appeal") and not self.was_active(move.package):
            return "it was never active here, so there is nothing to go back to"
        if self.active not in (None, move.package):
            return f"{str(self.active)[:16]} is in use; it must be retired or suspended in the same step"
        return ""

    def after(self, *moves: Move) -> Registry:
        """Returns the registry after these moves.

        Raises:
            TrustError: One is not allowed; says why.
        """
        found = self
        for move in moves:
            if problem := found.problem(move):
                raise TrustError(f"{move.package[:16]} stays {found.state(move.package)}: {problem}")
            found = Registry((*found.moves, move))
        return found


def replayed(bodies: Sequence[Mapping[str, Any]]) -> Registry:
    """Returns the registry of a journal's entries, each held to the rules again.

    Raises:
        TrustError: One is no move, or was not allowed.
    """
    return Registry().after(*(Move.from_json(body) for body in bodies))


def lowered(registry: Registry, alarms: Sequence[str], expired: bool, time: str) -> Move | None:
    """Returns the move that a site's monitor makes by itself; None: nothing new happened. Never up.

    Expired validation suspends. Alarms that were not known put the active package on watch; new ones at a later look
    suspend it. One look makes one step, however many alarms it has: one new scanner sets off several.

    Args:
        registry: As it stands.
        alarms: What each open alarm is known by.
        expired: Whether the validation of the package in use has expired.
        time: ISO 8601 with zone.
    """
    package = registry.active
    if package is None:
        return None
    if expired:
        return Move(package=package, to="suspended", cause="expired", by=("monitor",), time=time)
    new = sorted({*alarms} - alarms_known(registry, package))
    if not new:
        return None
    to: State = "watch" if registry.state(package) == "active" else "suspended"
    return Move(package=package, to=to, cause="alarm", by=("monitor",), time=time, note=_BETWEEN.join(new))


def alarms_known(registry: Registry, package: str) -> frozenset[str]:
    """Returns the alarms that have moved a package before: people looked at them when it became active again."""
    notes = [move.note for move in registry.moves if move.package == package and move.cause == "alarm"]
    return frozenset(alarm for note in notes for alarm in note.split(_BETWEEN))


def pointer(registry: Registry, head: Head, key: SiteKey) -> dict[str, Any]:
    """Returns the signed pointer: which package is in use, which in shadow, and the journal's head that says so."""
    body = {"active": registry.active, "shadow": registry.shadow, "seq": head.seq, "journal": head.digest}
    return body | {"key": key.public_hex, "signature": key.sign(_DOMAIN + canonical(body).encode())}


def check_pointer(document: Mapping[str, Any], registry: Registry, head: Head, public_hex: str) -> None:
    """Checks that a pointer is the site's own and the latest: an older one would bring back an older model unseen.

    Raises:
        TrustError: It is not.
    """
    body = {name: document.get(name) for name in ("active", "shadow", "seq", "journal")}
    if not signature_holds(public_hex, _DOMAIN + canonical(body).encode(), str(document.get("signature"))):
        raise TrustError("The pointer to the active model is not signed with this site's key; activate the model again")
    wanted = {"active": registry.active, "shadow": registry.shadow, "seq": head.seq, "journal": head.digest}
    if body != wanted:
        raise TrustError("The pointer to the active model is not the journal's latest; run: oncofed-site model history")
