"""Whether this home still has its memory of what it told: where the ledger knows of more than the memory, it is lost.

The ledger is chained, signed and backed up by a command of its own; the count of questions and the memory of released
sets are files beside it. Who restores the one without the others would let a hub ask everything once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from client.site.questions import FOLDER
from client.site.release_floor import FILE, KEY, begin_memory
from common.errors import DataError, QuestionRefused
from common.privacy.backup import RUN as RESTORED
from common.privacy.exposure import Row
from common.privacy.ledger import Ledger
from common.privacy.notes import released_patients

if TYPE_CHECKING:
    from client.site.hospital import Site


def check_questions(site: Site, study: str) -> None:
    """Refuses a study whose questions to this site are no longer all known.

    Where the policy lets a study ask as often as it likes there is no count to lose.

    Raises:
        QuestionRefused: The ledger was restored over it, or has charges of it while the count of its questions is gone.
        LedgerError: The ledger cannot be believed.
    """
    if site.policy.runs_per_study is None:
        return
    runs = {row["run"] for row in _rows(site) if row["kind"] in ("charge", "unbounded") and row["study"] == study}
    if RESTORED in runs:
        raise QuestionRefused(
            "The ledger was restored from a backup while this study could run, so what it asked since is not known. "
            "To run it again, agree on it again under another name."
        )
    path = site.home / FOLDER / f"{study}.json"
    if runs and not path.exists():
        raise QuestionRefused(
            f"The ledger has charges of this study, and {path}, which counts what it asked, is gone; restore it from a "
            "backup of the site's folder, or agree on the study again under another name"
        )


def check_releases(site: Site) -> None:
    """Begins the memory of released sets, before the ledger notes the first patient whose scores leave.

    Where the policy lets nobody be counted, or anybody alone, there is nothing to remember.

    Raises:
        DataError: The memory is gone, and the ledger knows patients whose scores left without noise.
        LedgerError: The ledger cannot be believed.
    """
    nothing = site.policy.min_group == 1 or not site.policy.release_metrics
    if nothing or (site.home / FILE).exists() or (site.home / KEY).exists():
        return
    if released_patients(_rows(site)):
        raise DataError(
            f"Scores of patients have left this site, and {site.home / FILE}, which knows of whom, is gone. Nothing "
            f"about them leaves until {FILE} and {KEY} are both restored from a backup of the site's folder"
        )
    begin_memory(site.home)


def _rows(site: Site) -> Sequence[Row]:
    if not site.ledger_path.exists():
        return ()
    with Ledger(site.ledger_path) as ledger:
        return ledger.rows()
