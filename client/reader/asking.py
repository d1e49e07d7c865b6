"""The pages' end of the process that reads images (:mod:`client.reader.bench`)."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from client.reader.worklist import Listed, Source
from common.errors import DataError

if TYPE_CHECKING:
    from client.reader.bench import Bench, Opened

DIED = "The program that reads images ended on this exam; its files may be damaged. Every other exam can be read on"
_bench: Bench | None = None
"""In the other process only."""


def _begin(source: Source) -> None:
    global _bench
    from client.reader.bench import Bench

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the pages, and they end this
    _bench = Bench(source)


def _do(name: str, arguments: tuple[Any, ...]) -> Any:
    assert _bench is not None  # as _begin was first
    return getattr(_bench, name)(*arguments)


class Asking:
    """One process, one question at a time, in the order in which they were asked; a new one where it died.

    Args:
        source: What it reads.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    def begin(self) -> None:
        """Loads the model, and waits for it.

        Raises:
            OncoFedError: It is refused, or there is none.
        """
        self._pool.submit(_begin, self._source).result()

    def end(self) -> None:
        """Ends the process."""
        self._pool.shutdown(cancel_futures=True)

    async def model(self) -> dict[str, Any]:
        """Returns :meth:`client.reader.bench.Bench.model`."""
        found: dict[str, Any] = await self._ask("model")
        return found

    async def scan(self) -> tuple[tuple[Listed, ...], int]:
        """Returns :meth:`client.reader.bench.Bench.scan`."""
        found: tuple[tuple[Listed, ...], int] = await self._ask("scan")
        return found

    async def open(self, exam: str) -> Opened:
        """Returns :meth:`client.reader.bench.Bench.open`."""
        found: Opened = await self._ask("open", exam)
        return found

    async def picture(self, exam: str, number: int) -> bytes:
        """Returns :meth:`client.reader.bench.Bench.picture`."""
        found: bytes = await self._ask("picture", exam, number)
        return found

    async def attention(self, exam: str, number: int, model: str) -> bytes:
        """Returns :meth:`client.reader.bench.Bench.attention`."""
        found: bytes = await self._ask("attention", exam, number, model)
        return found

    async def _ask(self, name: str, *arguments: Any) -> Any:
        try:
            return await asyncio.wrap_future(self._pool.submit(_do, name, arguments))
        except BrokenProcessPool:
            await self._again()
            raise DataError(DIED) from None

    async def _again(self) -> None:
        """Starts another process. Its worklist is found again, since exams are known by their files."""
        self._pool.shutdown(wait=False)
        self._pool = self._new()
        await asyncio.wrap_future(self._pool.submit(_begin, self._source))
        await asyncio.wrap_future(self._pool.submit(_do, "scan", ()))
