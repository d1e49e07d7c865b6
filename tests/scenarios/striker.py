"""A process that does its work under ``write_faults.c``, struck at the call that the test names."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from common.privacy.ledger import Ledger
from tests.scenarios.ledger_work import SEEDED, WORKS, charge, held_open, ledger_in

SHIM = "ONCOFED_WRITE_FAULTS"
OFF, COUNT, FAIL_ONCE = 0, 1, 9


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: the shim's mode, the kinds of call at which it differs from others, whether it ends the process."""

    name: str
    mode: int
    kinds: str
    kills: bool = False


FAULTS = (
    Fault("kill -9 before the call", 2, "wsdtcourlmp", kills=True),
    Fault("kill -9 after the call", 3, "wsdtcourlmp", kills=True),
    Fault("kill -9 half-way through a write", 4, "w", kills=True),
    Fault("disk full from the call on", 5, "wtclm"),
    Fault("disk full half-way through a write", 6, "w"),
    Fault("read-only from the call on", 7, "wsdtcourlmp"),
    Fault("permission denied from the call on", 8, "courlmp"),
    Fault("input/output error at the call", 9, "wsdtcourlmp"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a piece of work said before it ended: charges returned and refused, and how it ended."""

    returned: int
    refused: int
    status: int
    said: str


class Striker:
    """The shim of this process, and the folders that cases work in."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.shim = ctypes.CDLL(os.environ[SHIM])
        self.shim.faults_kinds.restype = ctypes.c_char_p
        self.shim.faults_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_int]
        self._numbers = count()
        self._seed = scratch / "seed"
        self._make_seed()

    def _make_seed(self) -> None:
        self._seed.mkdir()
        for index in range(SEEDED):
            with Ledger(ledger_in(self._seed)) as ledger:
                charge(ledger, index)

    def folder(self) -> Path:
        """Returns the name of a fresh folder for a case."""
        return self.scratch / f"case-{next(self._numbers)}"

    def folder_for(self, work: str) -> Path:
        """Returns a fresh folder in which the work can begin."""
        folder = self.folder()
        if WORKS[work].before:
            shutil.copytree(self._seed, folder)
        else:
            folder.mkdir()
        return folder

    def run(self, work: str, folder: Path, mode: int, at: int, log: Path | None = None) -> Outcome:
        """Does the work in a process of its own, struck at call ``at``; a refusal repairs the disk."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            self._work(work, folder, mode, at, log, writing)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            said = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return Outcome(said.count("returned\n"), said.count("refused\n"), status, said)

    def _work(self, work: str, folder: Path, mode: int, at: int, log: Path | None, pipe: int) -> None:
        todo = WORKS[work]
        log_fd = -1 if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def arm(mode: int, at: int) -> None:
            self.shim.faults_arm(os.fsencode(folder), mode, at, log_fd)

        def report(word: str) -> None:
            if word == "armed":
                return arm(mode, at)
            if word == "returned":
                self.shim.faults_note()
            elif log is None:
                self.shim.faults_disarm()
            os.write(pipe, f"{word}\n".encode())

        try:
            arm(*((mode, at) if todo.do is not held_open else (COUNT if log else OFF, 0)))
            todo.do(ledger_in(folder), report, todo.charges)
            os.write(pipe, f"kinds {self.shim.faults_kinds().decode()}\nstruck {self.shim.faults_struck()}\n".encode())
        except BaseException as error:
            os.write(pipe, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
        os._exit(0)

    def calls(self, work: str) -> str:
        """Returns the kinds of all writing calls of the work, in order."""
        said = self.run(work, self.folder_for(work), COUNT, 0).said
        return said.partition("kinds ")[2].partition("\n")[0]


def build(folder: Path) -> Path:
    """Returns the compiled shim.

    Raises:
        RuntimeError: There is no compiler, or it failed.
    """
    compiler, shim = shutil.which("cc"), folder / "write_faults.so"
    if compiler is None:
        raise RuntimeError("The faults need a C compiler and there is no cc; install one (Debian: apt install gcc)")
    command = [
        compiler,
        "-shared",
        "-fPIC",
        "-O1",
        "-Wall",
        "-Werror",
        "-o",
        str(shim),
        str(Path(__file__).parent / "write_faults.c"),
        "-ldl",
    ]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode:
        raise RuntimeError(f"The faults do not compile:\n{built.stderr}")
    return shim
