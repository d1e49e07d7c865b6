"""Strikes the ledger at every call that writes and counts what was lost: ``python -m tests.scenarios.ledger_matrix``.

A case is one fault at one call of one piece of work. After it the ledger must open, hold every charge that returned
and at most one that did not for each refusal, verify from the first row to the last, and take a fresh charge. Needs a
C compiler (``cc``) for ``write_faults.c``. Research use only - not a medical device.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.scenarios.disk_model import Disk, digest, load, materialise, read_log
from tests.scenarios.ledger_work import WORKS, complaint
from tests.scenarios.striker import COUNT, FAIL_ONCE, FAULTS, SHIM, Fault, Outcome, Striker, build

SAMPLES = 4
"""Random folders for each point of a power loss, beside the four extremes."""
POWER = "power loss after the call"
BAD_SYNC = "power loss after a sync that failed"
ALL = (*(fault.name for fault in FAULTS), POWER, BAD_SYNC)


@dataclass
class Tally:
    """One row of the matrix: how many cases were tried, and what went wrong in which."""

    fault: str
    work: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)


def struck(striker: Striker, fault: Fault, work: str) -> Tally:
    """Returns what became of the work when the fault struck at each call of its kinds."""
    tally = Tally(fault.name, work)
    for at, kind in enumerate(striker.calls(work), start=1):
        if kind not in fault.kinds:
            continue
        folder = striker.folder_for(work)
        outcome = striker.run(work, folder, fault.mode, at)
        wrong = _unexpected(fault, outcome, WORKS[work].charges)
        least = WORKS[work].before + outcome.returned
        wrong = wrong or complaint(folder, least, least + outcome.refused + fault.kills)
        tally.tried += 1
        if wrong:
            tally.failures.append(f"call {at} ({kind}): {wrong}")
        shutil.rmtree(folder)
    return tally


def _unexpected(fault: Fault, outcome: Outcome, charges: int) -> str | None:
    if fault.kills:
        return None if outcome.status == -signal.SIGKILL else f"not killed, but: {outcome.said}"
    if outcome.status != 0:
        return f"ended with {outcome.status}: {outcome.said}"
    if "struck 0" in outcome.said or outcome.returned != charges:
        return f"the fault was not met, or the disk not used again: {outcome.said}"
    return None


def power_lost(
    striker: Striker, work: str, bad_sync: int = 0, samples: int = SAMPLES
) -> Iterator[tuple[str, str | None]]:
    """Yields, for each distinct folder that a power loss could leave, where it came and what was wrong with it."""
    folder, log = striker.folder_for(work), striker.scratch / f"log-{work}-{bad_sync}"
    disk = Disk(str(folder))
    load(folder, disk)
    outcome = striker.run(work, folder, FAIL_ONCE if bad_sync else COUNT, bad_sync, log)
    assert outcome.status == 0, outcome.said
    known: set[tuple[str, int]] = set()
    released = 0
    for number, call in enumerate(read_log(log.read_bytes())):
        disk.apply(call)
        released += call.kind == "x"
        least = WORKS[work].before + released
        if number + 1 < bad_sync:
            continue  # as without it
        for state in disk.after_power_loss(range(number * samples, (number + 1) * samples)):
            if (name := (digest(state), released)) not in known:
                known.add(name)
                found = striker.folder()
                materialise(state, str(folder), found)
                yield f"call {number + 1} ({call.kind})", complaint(found, least, least + 1 + outcome.refused)
                shutil.rmtree(found)
    _check_nothing_was_overlooked(folder, disk.whole())


def _check_nothing_was_overlooked(folder: Path, told: dict[str, bytes | None]) -> None:
    """The log must account for every byte that is there, but for SQLite's index in mapped memory."""
    there = {str(path): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}
    if wrong := [path for path in there.keys() | told if there.get(path, b"?") != told.get(path, b"?")]:
        assert all(path.endswith("-shm") for path in wrong), f"The log of writes does not account for {wrong}"


def power(striker: Striker, work: str) -> Tally:
    """Returns what became of the work when the power failed after each call."""
    return _counted(Tally(POWER, work), power_lost(striker, work))


def power_after_bad_sync(striker: Striker, work: str) -> Tally:
    """Returns the same when one sync of a file had failed before, the charge was refused and made again."""
    tally = Tally(BAD_SYNC, work)
    for at, kind in enumerate(striker.calls(work), start=1):
        if kind == "s":
            _counted(tally, power_lost(striker, work, at, samples=0))
    return tally


def _counted(tally: Tally, cases: Iterator[tuple[str, str | None]]) -> Tally:
    for where, wrong in cases:
        tally.tried += 1
        tally.failures += [f"{where}: {wrong}"] if wrong else []
    return tally


def matrix(scratch: Path, faults: Sequence[str], works: Sequence[str]) -> list[Tally]:
    """Returns the rows of the matrix for these faults and works."""
    striker = Striker(scratch)
    rows = [struck(striker, fault, work) for fault in FAULTS if fault.name in faults for work in works]
    rows += [power(striker, work) for work in works if POWER in faults]
    return rows + [power_after_bad_sync(striker, work) for work in works if BAD_SYNC in faults]


def run(faults: Sequence[str] = ALL, works: Sequence[str] = tuple(WORKS), plant: str = "") -> list[Tally]:
    """Returns the matrix, made by a process of its own under the shim; ``plant`` is code that spoils the ledger first.

    Raises:
        RuntimeError: There is no C compiler, or the process failed.
    """
    memory = Path("/dev/shm")  # spares the disk some ten thousand syncs; what they secure is modelled
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        shim = build(Path(folder))
        task = json.dumps({"scratch": folder, "faults": [*faults], "works": [*works], "plant": plant})
        done = subprocess.run(
            [sys.executable, "-m", "tests.scenarios.ledger_matrix", "--inside", task],
            cwd=Path(__file__).resolve().parent.parent.parent,
            env={**os.environ, "LD_PRELOAD": str(shim), SHIM: str(shim)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"The matrix could not be made:\n{done.stderr}")
        return [Tally(**row) for row in json.loads(done.stdout)]


def _inside(task: dict[str, Any]) -> None:
    from common.privacy import exposure

    # Counts charges, and spares this process the import of torch.
    setattr(exposure, "epsilon_of", lambda events, delta, accountant: float(len(events)))  # noqa: B010
    exec(task["plant"], {})
    print(json.dumps([asdict(row) for row in matrix(Path(task["scratch"]), task["faults"], task["works"])]))


def table(rows: list[Tally]) -> str:
    """Returns the matrix as Markdown."""
    works = list(WORKS)
    lines = ["| fault | " + " | ".join(works) + " |", "|---" * (len(works) + 1) + "|"]
    for fault in dict.fromkeys(row.fault for row in rows):
        cells = [
            f"{r.tried - len(r.failures)} of {r.tried}" for w in works for r in rows if (r.fault, r.work) == (fault, w)
        ]
        lines.append(f"| {fault} | " + " | ".join(cells) + " |")
    tried, failed = sum(row.tried for row in rows), sum(len(row.failures) for row in rows)
    return "\n".join([*lines, "", f"Cases tried {tried}, nothing lost in {tried - failed} of {tried}."])


def main() -> None:
    """Prints the matrix; exit code 1 when something was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inside", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return _inside(options.inside)
    rows = run()
    print(table(rows))
    for row in rows:
        for failure in row.failures:
            print(f"{row.fault} / {row.work}: {failure}", file=sys.stderr)
    raise SystemExit(1 if any(row.failures for row in rows) else 0)


if __name__ == "__main__":
    main()
