"""The labels that a site's monitor was told, appended to one file that keeps every correction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.errors import DataError
from common.monitoring.labels import FILE, Label, Told, from_lines, to_line, told
from common.trust.durable import exclusive, make_folder, write_durably

FOLDER = "monitor"


def known_labels(home: Path) -> tuple[Label, ...]:
    """Returns all labels so far, in the order in which they came; none where there is no file.

    Raises:
        DataError: The file is damaged.
    """
    try:
        return from_lines((home / FOLDER / FILE).read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError):
        raise DataError(f"{home / FOLDER / FILE} cannot be read; mend its permissions or restore it") from None


def add_labels(home: Path, incoming: Sequence[Label], exams: set[str]) -> Told:
    """Returns what was new, durable when this returns; the file is readable by its owner only.

    Args:
        home: The site's folder.
        incoming: Labels of one file.
        exams: Those with a record.
    """
    folder = home / FOLDER
    make_folder(folder)
    folder.chmod(0o700)
    with exclusive(folder / ".labels.lock"):
        known = known_labels(home)
        found = told(known, incoming, exams)
        write_durably(folder / FILE, "".join(to_line(label) + "\n" for label in (*known, *found.new)))
    return found
