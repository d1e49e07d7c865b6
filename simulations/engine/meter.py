"""A TCP relay on this machine that counts what it carries, TLS and all."""

from __future__ import annotations

import asyncio
import contextlib
import threading

PIECE = 65_536


class Meter:
    """Carries bytes from ``port`` to ``hub_port`` on 127.0.0.1; a context manager.

    Attributes:
        port: Where it listens.
        hub_port: Where it carries to.
        up: Bytes from those who dial.
        down: Bytes to them.
    """

    def __init__(self) -> None:
        self.port = self.hub_port = self.up = self.down = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Meter:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            hub_reader, hub_writer = await asyncio.open_connection("127.0.0.1", self.hub_port)
            with contextlib.closing(hub_writer):
                await asyncio.gather(
                    self._carry(reader, hub_writer, up=True), self._carry(hub_reader, writer, up=False)
                )
        writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE):
                if up:
                    self.up += len(piece)
                else:
                    self.down += len(piece)
                writer.write(piece)
                await writer.drain()
            writer.write_eof()
