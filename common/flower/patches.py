"""What is changed inside Flower at hub and site alike, all in one place, since the names are not for us.

``tests/common/flower/test_patches.py`` fails on a Flower that has moved them.
"""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import Any

_COPIES = (
    "flwr.supercore.inflatable.inflatable_utils",
    "flwr.supercore.heartbeat",
    "flwr.supercore.retry.http_retry",
)
"""Modules that take the values as they are when they are imported."""
FIRST_PULL_PAUSE = 0.1
"""Seconds after which an array that is not there yet is asked for again; Flower's own second doubles each time."""


HEARTBEAT_SECONDS = 10.0
"""Flower's own least. Twice that without a sign of life and a site counts as gone, or may come back."""
LONGEST_RETRY_SECONDS = 4
"""Between two tries of a request; with Flower's own 20 a hub that was away for 8 s missed sites that were there."""


def quicken(heartbeat: float | None = None) -> None:
    """Shortens Flower's pauses between two pulls and between two tries; call it before any other import of Flower.

    Args:
        heartbeat: Also has this process send and expect a sign of life at this interval, in seconds.

    Raises:
        RuntimeError: Too late: the values have been copied already.
    """
    import flwr.common.constant as common
    import flwr.supercore.constant as supercore

    late = [name for name in _COPIES if name in sys.modules]
    if late and supercore.PULL_INITIAL_BACKOFF != FIRST_PULL_PAUSE:
        raise RuntimeError(f"quicken() was called after {', '.join(late)}")
    vars(supercore)["PULL_INITIAL_BACKOFF"] = FIRST_PULL_PAUSE
    vars(common)["MAX_RETRY_DELAY"] = LONGEST_RETRY_SECONDS
    if heartbeat is not None:
        vars(common)["HEARTBEAT_DEFAULT_INTERVAL"] = heartbeat


def wait_for_tasks(seconds: float) -> None:
    """Has this SuperLink wait so long for the first sign of life of a task, and twice that for each later one.

    Flower's own 30 s pass on a machine short of processor time while the aggregator still imports its libraries, and
    Flower then ends the run. Who started the task sees its process end, so nobody waits for a dead one.
    """
    from flwr.supercore.corestate import in_memory_corestate, sql_corestate

    for module in (sql_corestate, in_memory_corestate):
        vars(module)["HEARTBEAT_DEFAULT_INTERVAL"] = seconds


def endure_cuts() -> None:
    """Has every HTTP client of Flower in this process try again after a TLS handshake that broke off or took too long.

    Flower takes each error whose text says "ssl" for a wrong certificate and gives up for good. Call it after
    :func:`quicken`.
    """
    import httpx
    from flwr.supercore.protobuf.client import ProtobufClient

    plain = ProtobufClient.__init__

    def enduring(self: Any, *given: Any, **named: Any) -> None:
        plain(self, *given, **named)
        send = self._client.send

        def sent(*given: Any, **named: Any) -> Any:
            try:
                return send(*given, **named)
            except httpx.TransportError as error:
                if isinstance(error, httpx.TimeoutException) or "EOF occurred" in str(error):
                    raise httpx.ReadError("The connection was cut") from error
                raise

        self._client.send = sent

    setattr(ProtobufClient, "__init__", enduring)  # noqa: B010 - a plain assignment is an error to mypy


def keep_beating() -> None:
    """Has every sign of life of this process be tried again, whatever went wrong; call it after :func:`quicken`.

    Flower's thread for them dies of an answer such as 500, and all else goes on: the hub would miss the site for ever.
    """
    from flwr.supercore.heartbeat import HeartbeatFailure, HeartbeatSender

    once = HeartbeatSender._heartbeat

    def again(self: HeartbeatSender) -> None:
        try:
            once(self)
        except Exception as error:
            raise HeartbeatFailure from error

    setattr(HeartbeatSender, "_heartbeat", again)  # noqa: B010 - a plain assignment is an error to mypy


def show_certificate(certificate: Path, key: Path) -> None:
    """Has every HTTP client of Flower in this process prove itself with a certificate; call it after :func:`quicken`.

    Flower proves a site with headers inside of the request, which a proxy cannot judge.

    Raises:
        OSError: The certificate or its key cannot be read.
    """
    from flwr.supercore.protobuf.client import ProtobufClient

    plain = ProtobufClient.__init__

    def proved(self: Any, base_url: str, *, verify: ssl.SSLContext | str, **others: Any) -> None:
        trusted = ssl.create_default_context(cafile=verify) if isinstance(verify, str) else verify
        trusted.load_cert_chain(certificate, key)
        plain(self, base_url, verify=trusted, **others)

    ssl.create_default_context().load_cert_chain(certificate, key)
    setattr(ProtobufClient, "__init__", proved)  # noqa: B010 - a plain assignment is an error to mypy
