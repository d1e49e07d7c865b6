"""What a reader said, to the site's monitor: concordance, which it never mixes with a biopsy's word."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client.reader.journal import Entry


def tell(home: Path, entry: Entry) -> bool:
    """Adds a blind reading of benign or malignant to the site's labels, durably; returns whether it did.

    Any other answer says nothing of agreement: one that was given with the model's in view agrees by itself.

    Raises:
        DataError: The labels are damaged or cannot be written.
    """
    from client.site.monitor.labels import add_labels
    from common.errors import DataError
    from common.monitoring.labels import Label

    if not home.is_dir() or not entry.blind or entry.malignant is None:
        return False
    day = entry.made.date()
    label = Label(exam=entry.exam, malignant=entry.malignant, source="reader", day=day, seen=day)
    try:
        add_labels(home, [label], {entry.exam})
    except OSError as error:
        raise DataError(
            f"Your answer was not kept: the monitor's labels cannot be written ({error.strerror})"
        ) from None
    return True
