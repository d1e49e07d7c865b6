"""A TCP cable between a site and the hub that can be cut: what a firewall or a dug-up street does, without root.

``reset``: connections end at once, and new ones are refused after they were taken. ``hole``: connections stay open, new
ones are taken, nothing ever arrives, and nobody is told. What was swallowed stays lost: a connection of the time of a
cut never comes to life again, only new ones do, as behind a firewall that has forgotten it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Literal

State = Literal["whole", "reset", "hole"]
LOOK_SECONDS = 0.1
PIECE = 65_536


class Cable:
    """Carries bytes from ``port`` on this machine to the hub's, until it is told otherwise; a context manager."""

    def __init__(self, hub_port: int) -> None:
        self._hub_port = hub_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(LOOK_SECONDS)
        self.port = int(self._listener.getsockname()[1])
        self.state: State = "whole"
        self.swallowed = 0
        self._cuts = 0
        self._closed = False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Cable:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._listener.close()
        self._reset_all()

    def cut(self, how: State) -> None:
        """From now on connections end (``reset``), or nothing arrives any more (``hole``)."""
        with self._lock:
            self.state, self._cuts = how, self._cuts + 1
        if how == "reset":
            self._reset_all()

    def heal(self) -> None:
        """New connections work again; those of the time of a hole stay as they are."""
        with self._lock:
            self.state = "whole"

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        born = self._cuts
        self._keep(near)
        if self.state == "reset":
            return self._reset(near)
        if self.state == "hole":
            return self._pump(near, None, born - 1)
        try:
            far = socket.create_connection(("127.0.0.1", self._hub_port), timeout=10)
        except OSError:
            return self._reset(near)
        self._keep(far)
        threading.Thread(target=self._pump, args=(far, near, born), daemon=True).start()
        self._pump(near, far, born)

    def _pump(self, source: socket.socket, sink: socket.socket | None, born: int) -> None:
        """Carries bytes one way; a connection that lived through a cut is never carried again."""
        source.settimeout(None)
        try:
            while piece := source.recv(PIECE):
                if sink is None or born != self._cuts:
                    self.swallowed += len(piece)
                else:
                    sink.sendall(piece)
        except OSError:
            pass
        if sink is not None and born == self._cuts:  # the end of a connection arrives like its bytes, or not at all
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)

    def _keep(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def _reset_all(self) -> None:
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            self._reset(connection)

    def _reset(self, connection: socket.socket) -> None:
        """Ends it with RST, at once and without a word, whoever waits in ``recv``."""
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            connection.close()
