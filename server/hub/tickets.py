"""A run starts only when somebody asked for it: one ticket a start, used once, void when the hub starts anew.

Flower keeps its runs in a database and takes up what it finds there. Without a ticket, a hub that was restarted would
go on with a study that nobody wants any more, and charge hospitals for it.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from common.errors import TrustError
from common.trust.durable import write_durably

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
        """Returns a new ticket for one start of the run in that folder, durably written."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        ticket = secrets.token_hex(16)
        write_durably(self.folder / ticket, f"{run}\n")
        return ticket

    def use(self, ticket: str, run: Path) -> None:
        """Uses the ticket up.

        Raises:
            TrustError: There is no such ticket, it was used before, or it is for another run.
        """
        path = self.folder / ticket
        if not _TICKET.fullmatch(ticket) or not path.exists():
            raise TrustError(
                f"Nobody asked for this start of the run in {run}: it was asked for before the hub started anew, or "
                f"not with oncofed-hub. Go on with: oncofed-hub run --resume {run}"
            )
        wanted = path.read_text(encoding="utf-8").strip()
        path.unlink()
        if wanted != str(run):
            raise TrustError(f"The ticket of this start is for the run in {wanted}, not for {run}")

    def void(self) -> None:
        """Makes every ticket worthless."""
        for path in self.folder.glob("*") if self.folder.is_dir() else ():
            path.unlink(missing_ok=True)
