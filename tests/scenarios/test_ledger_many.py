"""Many processes charge one ledger at once, and some of them die: nothing is lost and each patient pays for its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from common.privacy.accounting import Event, epsilon_of
from common.privacy.ledger import Ledger

PROCESSES, CHARGES, DELTA = 4, 10, 1e-5
COHORTS = (("anna", "berta"), ("berta", "clara"))
"""Berta pays for what is charged to either."""

WRITER = """
import os, signal, sys
from pathlib import Path
import common.privacy.exposure as exposure, common.privacy.ledger as module
from common.privacy.accounting import Event
exposure.epsilon_of = lambda events, delta, accountant: float(len(events))  # spares each process the import of torch

path, number, charges, fatal, patients = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]
write_head = module.write_head

def die(head_path, head):
    if fatal == returned and not ledger._db.in_transaction:  # the row is there, its head is not
        os.kill(os.getpid(), signal.SIGKILL)
    write_head(head_path, head)

sys.stdin.read()  # all begin when the test closes their pipes
returned, module.write_head = 0, die
for index in range(charges):
    with module.Ledger(Path(path)) as ledger:
        cohort = ledger.register_cohort(patients)
        ledger.charge(cohort=cohort, event=Event(4.0 + number, 0.1, 10), delta=1e-5, ceiling=1e9, accountant="rdp",
                      study="s", run=str(number), round_index=index)
    returned += 1
    print(returned, flush=True)
"""


def event(number: int) -> Event:
    """The event that one process charges, and no other."""
    return Event(4.0 + number, 0.1, 10)


def run(path: Path, root: Path, fatal: dict[int, int]) -> list[tuple[int, int]]:
    """Returns how each process ended and how many of its charges had returned."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(number), str(CHARGES), str(fatal.get(number, -1)),
             *COHORTS[number % 2]],
            cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(PROCESSES)
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()
        writer.stdin = None
    printed = [writer.communicate(timeout=120)[0] for writer in writers]
    return [(writer.returncode, len(out.split())) for writer, out in zip(writers, printed, strict=True)]


def charged(path: Path) -> tuple[Counter[float], list[float]]:
    """Returns the charges by noise, and what each of the three patients has spent; every row is verified."""
    with Ledger(path) as ledger:
        both = [ledger.register_cohort(patients) for patients in COHORTS]
        rows = {row for cohort in both for row in ledger.events(cohort)}
        spent = [ledger.spent(ledger.register_cohort([name]), DELTA, "rdp") for name in ("anna", "berta", "clara")]
        assert ledger.verify() == len(rows) + len(both) + len(spent)
    return Counter(row.event.noise_multiplier for row in rows), spent


def test_charges_of_four_processes_are_all_there_and_compose(tmp_path: Path, project_root: Path) -> None:
    path = tmp_path / "site" / "ledger.sqlite"
    assert run(path, project_root, {}) == [(0, CHARGES)] * PROCESSES
    counts, (anna, berta, clara) = charged(path)
    assert counts == {event(number).noise_multiplier: CHARGES for number in range(PROCESSES)}
    even, odd = ([event(number)] * CHARGES + [event(number + 2)] * CHARGES for number in (0, 1))
    assert [anna, clara] == [epsilon_of(even, DELTA, "rdp"), epsilon_of(odd, DELTA, "rdp")]
    assert berta == epsilon_of([*even, *odd], DELTA, "rdp")


def test_processes_that_die_between_row_and_head_take_no_charge_of_others_with_them(
    tmp_path: Path, project_root: Path
) -> None:
    path = tmp_path / "site" / "ledger.sqlite"
    fatal = {0: 3, 3: 6}
    ends = run(path, project_root, fatal)
    assert ends == [(-signal.SIGKILL, 3), (0, CHARGES), (0, CHARGES), (-signal.SIGKILL, 6)]
    counts, _ = charged(path)
    assert [counts[event(number).noise_multiplier] for number in range(PROCESSES)] == [4, CHARGES, CHARGES, 7]
