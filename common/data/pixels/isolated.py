"""Native decoders kept at arm's length: a request goes to a worker process, an array or a DataError comes back.

JPEG, JPEG-LS, JPEG 2000 and HDF5 libraries crash, loop or ask for all memory on damaged files. The worker has a bound
on its memory and on the time of a request; when it dies the next request starts another.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError

SECONDS = 60.0
"""Longest a request may take; a whole mammogram takes one to three."""
BASE_BYTES = 1 << 30
"""Addresses that Python, NumPy and the decoders take by themselves."""
_WORKER = Path(__file__).with_name("decode_worker.py")
_LONGEST_HEAD = 10_000


def decode(path: Path, job: str, *, most_bytes: int, **arguments: Any) -> NDArray[Any]:
    """Returns the array that the worker's job (``dicom``, ``h5_shape``, ``h5_rows``) makes of the file.

    Args:
        path: The file; the worker opens it.
        job: One of the worker's jobs.
        most_bytes: Largest array accepted; the worker may use several times as much on its way.
        arguments: Of the job.

    Raises:
        DataError: The file is damaged, or its decoder died, ran out of time or out of memory.
    """
    request = {"job": job, "path": str(path), "bytes": BASE_BYTES + 8 * most_bytes, **arguments}
    with _LOCK:
        try:
            return _current().ask(request, most_bytes)
        except _Refused as error:
            raise DataError(f"{path} cannot be decoded ({error}); export it again") from None
        except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
            _stop()
            raise DataError(f"{path} ended its decoder ({error}); the file is damaged, export it again") from None


class _Refused(Exception):
    """The worker is well and says what is wrong with the file."""


class _Worker:
    def __init__(self) -> None:
        self.owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Each thread of a maths library reserves addresses, which are bounded.
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )

    def usable(self) -> bool:
        """Returns whether it lives and is this process's own: pipes copied by a fork would mix the answers."""
        return self.owner == os.getpid() and self._process.poll() is None

    def ask(self, request: dict[str, Any], most_bytes: int) -> NDArray[Any]:
        assert self._process.stdin and self._process.stdout
        deadline = time.monotonic() + SECONDS
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        head = json.loads(self._line(deadline))
        if "error" in head:
            raise _Refused(head["error"])
        dtype, shape = np.dtype(str(head["dtype"])), tuple(int(side) for side in head["shape"])
        size = dtype.itemsize * math.prod(shape)
        if dtype.kind not in "biuf" or not 0 <= size <= most_bytes:
            raise ValueError(f"{dtype} {shape}, expected numbers of at most {most_bytes} bytes")
        array: NDArray[Any] = np.frombuffer(self._bytes(size, deadline), dtype=dtype).reshape(shape)
        return array

    def _line(self, deadline: float) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n"):
            line += self._bytes(1, deadline)
            if len(line) > _LONGEST_HEAD:
                raise ValueError("an answer without end")
        return bytes(line)

    def _bytes(self, size: int, deadline: float) -> bytearray:
        assert self._process.stdout
        descriptor, got = self._process.stdout.fileno(), bytearray()
        while len(got) < size:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"no answer within {SECONDS:.0f} s")
            part = os.read(descriptor, min(size - len(got), 1 << 20))
            if not part:
                raise EOFError(f"exit code {self._process.wait()}")
            got += part
        return got

    def close(self) -> None:
        """Ends the process; a process of another owner (after a fork) is left to that owner."""
        if self.owner == os.getpid():
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                # Unsent bytes of a request to a dead worker have nowhere to go.
                with contextlib.suppress(OSError):
                    pipe.close()


_LOCK = threading.Lock()
_WORKERS: list[_Worker] = []


def _current() -> _Worker:
    if _WORKERS and not _WORKERS[0].usable():
        _stop()
    if not _WORKERS:
        _WORKERS.append(_Worker())
    return _WORKERS[0]


def _stop() -> None:
    while _WORKERS:
        _WORKERS.pop().close()


atexit.register(_stop)
