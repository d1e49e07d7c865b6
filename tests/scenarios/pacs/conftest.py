"""The listener as a process of its own, and Orthanc before and behind it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common.inference.package import Package
from tests.packaged import made, phantom_run, pictures
from tests.scenarios.pacs.orthanc import Orthanc, free_port

__all__ = ["made", "phantom_run", "pictures"]


@dataclass
class Listening:
    """``oncofed-site listen`` in a folder of its own."""

    folder: Path
    package: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        self.folder.mkdir(exist_ok=True)
        command = [
            sys.executable, "-m", "client.cli.main", "listen", "--package", str(self.package), "--port", str(self.port),
            "--spool", str(self.folder / "pacs"), "--home", str(self.folder / "home"), *options,
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == str(self.port).encode(), self.log()

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self.process is not None and self.process.stdout is not None
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.process.stdout.close()
        self.process = None
        return code


@pytest.fixture
def listening(tmp_path: Path, made: Package) -> Iterator[Listening]:
    one = Listening(tmp_path / "site", made.folder)
    yield one
    if one.process is not None:
        one.kill()


@pytest.fixture
def orthanc(tmp_path: Path, listening: Listening) -> Iterator[Orthanc]:
    one = Orthanc(tmp_path / "orthanc", listening.port)
    one.start()
    yield one
    one.stop()


@pytest.fixture
def pictured(pictures: Path) -> Callable[[int], Path]:
    """The path of a phantom's picture, by number."""
    return lambda number: sorted(pictures.rglob("*.png"))[number]
