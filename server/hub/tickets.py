"""A run starts only when somebody asked for it: one ticket a start, used once, void when it is stopped or the hub is.

Flower keeps its runs in a database and takes up what it finds there. Without a ticket, a hub that was restarted would
go on with a study that nobody wants any more, and charge hospitals for it.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from common.errors import TrustError
from common.trust.durable import write_durably
from server.hub.holder import CONDUCTED, mark

_TICKET = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Tickets:
    """The tickets of one hub, each a file that names the folder of its run."""

    folder: Path

    @classmethod
    def of(cls, home: Path) -> Tickets:
        """Returns the tickets of the hub in ``home``."""
        return cls(home / "tickets")

    def issue(self, run: Path) -> str:
        """Returns a new ticket for one start of the run in that folder, durably written; its earlier ones are void."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.void(run)
        ticket = secrets.token_hex(16)
        write_durably(self.folder / ticket, f"{run}\n")
        return ticket

    def use(self, ticket: str, run: Path) -> None:
        """Uses the ticket up, and notes beforehand that this process conducts the run.

        Raises:
            TrustError: There is no such ticket, it was used before, or it is for another run.
        """
        path = self.folder / ticket
        try:
            wanted = path.read_text(encoding="utf-8").strip() if _TICKET.fullmatch(ticket) else ""
            if wanted == str(run):
                write_durably(self.folder.parent / CONDUCTED, f"{mark()}\n{run}\n")
            if wanted:
                path.unlink()  # raises where it was made void meanwhile
        except FileNotFoundError:
            wanted = ""
        if not wanted:
            raise TrustError(
                f"Nobody asked for this start of the run in {run}: it was asked for before the hub started anew or "
                f"the run was stopped, or not with oncofed-hub. Go on with: oncofed-hub run --resume {run}"
            )
        if wanted != str(run):
            raise TrustError(f"The ticket of this start is for the run in {wanted}, not for {run}")

    def void(self, run: Path | None = None) -> int:
        """Makes the tickets of a run worthless, by default every one; returns how many there were."""
        paths = [path for path, folder in self._found() if run in (None, folder)]
        for path in paths:
            path.unlink(missing_ok=True)
        return len(paths)

    def awaited(self) -> set[Path]:
        """Returns the folders of the runs that were asked for and have not started."""
        return {folder for _, folder in self._found()}

    def _found(self) -> list[tuple[Path, Path]]:
        found = []
        for path in self.folder.glob("*") if self.folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # used meanwhile
                found.append((path, Path(path.read_text(encoding="utf-8").strip())))
        return found
