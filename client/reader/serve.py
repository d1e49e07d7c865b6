"""The reader's page served on this machine, until the command is stopped."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import socket
from collections.abc import Callable

import uvicorn

from client.reader.app import STATIC, Pages
from client.reader.asking import Asking
from client.reader.journal import FILE, Journal
from client.reader.stages import Desk
from client.reader.worklist import Source, check
from common.errors import ConfigError, UsageError
from common.services.web.gate import START, Gate
from common.services.web.session import Session

ADDRESSES = {"127.0.0.1": socket.AF_INET, "localhost": socket.AF_INET, "::1": socket.AF_INET6}
CLOSED = (
    "This page shows images of patients. Open the address that `oncofed-site read` printed, in one browser; it works "
    "once. If it was used, stop the command and start it again."
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How the page is served.

    Attributes:
        reader: Who reads.
        blind: Whether she reads before she sees what the model says.
        host: Of this machine only.
        port: 0: any free one.
    """

    reader: str
    blind: bool = True
    host: str = "127.0.0.1"
    port: int = 0


def serve(source: Source, wanted: Wanted, tell: Callable[[str, int], None]) -> None:
    """Serves until SIGTERM or SIGINT.

    Args:
        source: What is read.
        wanted: By whom and where.
        tell: Is told the address with its token and the number of exams, once it answers.

    Raises:
        UsageError: The address is not this machine's own, or there is nothing to read from.
        ConfigError: The port is taken, or no model is active.
        DataError, ModelError, TrustError: Images, answers or the package cannot be used.
    """
    check(source)
    journal = Journal(source.keeps / FILE)
    desk = Desk(wanted.reader, wanted.blind, journal.entries())
    with listening(wanted) as ear:
        asking = Asking(source)
        try:
            asking.begin()
            asyncio.run(_run(ear, source, wanted, Parts(asking, desk, journal), tell))
        finally:
            asking.end()


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What the pages are made of."""

    asking: Asking
    desk: Desk
    journal: Journal


def listening(wanted: Wanted) -> socket.socket:
    """Returns a socket of this machine alone.

    Raises:
        UsageError: Another address is named.
        ConfigError: It is taken.
    """
    family = ADDRESSES.get(wanted.host)
    if family is None:
        raise UsageError(
            f"{wanted.host} is not an address of this machine alone. The page shows images of patients without "
            "encryption, so it answers at 127.0.0.1 only; from another machine use: ssh -L PORT:127.0.0.1:PORT"
        )
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((wanted.host, wanted.port))
    except OSError as error:
        found.close()
        raise ConfigError(f"Port {wanted.port} cannot be used ({error.strerror}); name another with --port") from None
    return found


async def _run(
    ear: socket.socket, source: Source, wanted: Wanted, parts: Parts, tell: Callable[[str, int], None]
) -> None:
    pages = Pages(parts.asking, parts.desk, parts.journal, source.home, await parts.asking.model())
    exams = await pages.scan()
    port = ear.getsockname()[1]
    session = Session(f"oncofed-read-{port}")
    names = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
    gate = Gate(pages.application(), names, session, STATIC, CLOSED)
    # No log of requests: an address holds the token. One process, which Flower's own servers have too.
    config = uvicorn.Config(
        gate, log_level="warning", access_log=False, server_header=False, lifespan="off", proxy_headers=False,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    server = Server(config)
    host = "[::1]" if wanted.host == "::1" else wanted.host
    server.ready = lambda: tell(f"http://{host}:{port}{START}?token={session.token}", exams)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn takes these while it serves, and raises them again at its end: to be stopped is no failure.
        signal.signal(number, lambda *_: None)
    await server.serve([ear])


class Server(uvicorn.Server):
    """Says when it answers."""

    ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, and says so."""
        await super().startup(sockets)
        self.ready()
