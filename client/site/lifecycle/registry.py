"""The site's registry of models on disk: a journal of moves that the site signs, and the pointer that follows from it.

The journal is the truth. It is written first, then its head, then the pointer; so after a crash between them the
pointer is older than the journal, and is made again. One that was put back by hand is refused until then.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import TrustError
from common.trust.durable import exclusive, make_folder, write_durably
from common.trust.journal import Entry, Head, first_bad, next_entry, read_head, write_head
from common.trust.registry import Move, Registry, check_pointer, pointer, replayed
from common.trust.signing import SiteKey

MODELS, POINTER, MOVES, HEAD, LOCK = "models", "pointer.json", "moves.jsonl", "moves.head", ".moves.lock"
KEY = Path("keys") / "site.ed25519"


@dataclasses.dataclass(frozen=True, slots=True)
class SiteRegistry:
    """The registry below a site's folder.

    Args:
        home: The site's folder.
    """

    home: Path

    @property
    def folder(self) -> Path:
        """Where journal and pointer are."""
        return self.home / MODELS

    def read(self) -> Registry:
        """Returns where each package stands.

        Raises:
            TrustError: The journal was changed, cut short or is not this site's.
        """
        return replayed([json.loads(entry.text) for entry in self._entries()])

    def pointed(self) -> tuple[str | None, str | None]:
        """Returns the digests of the packages in use and in shadow, after pointer and journal were held together.

        Raises:
            TrustError: The pointer is damaged, not this site's, or not the latest.
        """
        document = self._pointer()
        if document is None and not (self.folder / MOVES).exists():
            return None, None
        entries = self._entries()
        registry = replayed([json.loads(entry.text) for entry in entries])
        check_pointer(document or {}, registry, _head(entries), SiteKey.read(self.home / KEY).public_hex)
        return registry.active, registry.shadow

    def mend(self) -> bool:
        """Returns whether the pointer had to be made again from the journal, as after a crash between the two.

        Raises:
            TrustError: The journal cannot be believed.
        """
        if not (self.folder / MOVES).exists():
            return False
        try:
            self.pointed()
        except TrustError:
            with self.moving() as move:
                move()
            return True
        return False

    @contextmanager
    def moving(self) -> Iterator[Mover]:
        """Yields what makes moves, alone among all processes; it is durable when it returns."""
        make_folder(self.folder)
        with exclusive(self.folder / LOCK):
            yield Mover(self)

    def _entries(self) -> list[Entry]:
        try:
            lines = (self.folder / MOVES).read_text(encoding="utf-8").splitlines()
            entries = [Entry(**json.loads(line)) for line in lines]
        except FileNotFoundError:
            entries = []
        except (OSError, ValueError, TypeError):
            raise self._damaged("it cannot be read") from None
        known = read_head(self.folder / HEAD)
        if entries and (bad := first_bad(entries, SiteKey.read(self.home / KEY).public_hex)) is not None:
            raise self._damaged(f"entry {bad} is not the one that was written")
        if known is not None and known.seq and (len(entries) < known.seq or entries[known.seq - 1].head != known):
            raise self._damaged("it is older than the site knows")
        return entries

    def _pointer(self) -> dict[str, Any] | None:
        path = self.folder / POINTER
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict):
            raise TrustError(f"{path} is damaged; make it again with: oncofed-site model history")
        return found

    def _damaged(self, why: str) -> TrustError:
        return TrustError(f"The journal of models {self.folder / MOVES}: {why}. Restore it and {HEAD} from a backup")


@dataclasses.dataclass(frozen=True, slots=True)
class Mover:
    """Makes moves while the registry is held."""

    kept: SiteRegistry

    def registry(self) -> Registry:
        """Returns where each package stands now."""
        return self.kept.read()

    def __call__(self, *moves: Move) -> Registry:
        """Returns the registry after these moves, all of them or none.

        Raises:
            TrustError: One is not allowed; says why.
        """
        entries = self.kept._entries()
        after = replayed([json.loads(entry.text) for entry in entries]).after(*moves)
        key = SiteKey.open(self.kept.home / KEY)
        for move in moves:
            entries.append(next_entry(_head(entries), move.to_json(), key))
        text = "".join(json.dumps(dataclasses.asdict(entry)) + "\n" for entry in entries)
        write_durably(self.kept.folder / MOVES, text)
        write_head(self.kept.folder / HEAD, _head(entries))
        document = pointer(after, _head(entries), key)
        write_durably(self.kept.folder / POINTER, json.dumps(document, indent=2) + "\n")
        return after


def _head(entries: Sequence[Entry]) -> Head:
    return entries[-1].head if entries else Head()
