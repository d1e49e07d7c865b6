"""Machines of this machine's own: a network namespace each for the hub and every hospital, and a wire to each.

Nothing joins them to the network of this machine. It takes root and Debian's iproute2.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field

HUB_ADDRESS = "10.203.0.1"


@dataclass
class Wires:
    """Lays a wire from the hub to each hospital when entered; a context manager."""

    hospitals: tuple[str, ...]
    _made: list[str] = field(default_factory=list)

    def __enter__(self) -> Wires:
        self._host("hub")
        _ip("-n", self._namespace("hub"), "address", "add", f"{HUB_ADDRESS}/32", "dev", "lo")
        for hospital in self.hospitals:
            self._host(hospital)
            self._lay(hospital)
        return self

    def __exit__(self, *_: object) -> None:
        for namespace in self._made:
            _ip("netns", "delete", namespace)

    def on(self, host: str, command: list[str]) -> list[str]:
        """Returns the command as the hub or a hospital runs it."""
        return ["ip", "netns", "exec", self._namespace(host), *command]

    def pull(self, hospital: str) -> None:
        """Takes the wire out; nobody is told, and what is sent meanwhile is lost."""
        _ip("-n", self._namespace("hub"), "link", "set", self._plug(hospital), "down")

    def plug_in(self, hospital: str) -> None:
        """Puts the wire back."""
        _ip("-n", self._namespace("hub"), "link", "set", self._plug(hospital), "up")

    def address(self, hospital: str) -> str:
        """Returns the hospital's address on its wire."""
        return f"10.203.{1 + self.hospitals.index(hospital)}.2"

    def _host(self, host: str) -> None:
        _ip("netns", "add", self._namespace(host))
        self._made.append(self._namespace(host))
        _ip("-n", self._namespace(host), "link", "set", "lo", "up")

    def _lay(self, hospital: str) -> None:
        hub, site, plug = self._namespace("hub"), self._namespace(hospital), self._plug(hospital)
        near = f"10.203.{1 + self.hospitals.index(hospital)}.1"
        _ip("-n", hub, "link", "add", plug, "type", "veth", "peer", "name", "wire", "netns", site)
        _ip("-n", hub, "address", "add", f"{near}/24", "dev", plug)
        _ip("-n", site, "address", "add", f"{self.address(hospital)}/24", "dev", "wire")
        _ip("-n", hub, "link", "set", plug, "up")
        _ip("-n", site, "link", "set", "wire", "up")
        _ip("-n", site, "route", "add", HUB_ADDRESS, "via", near)

    def _plug(self, hospital: str) -> str:
        return f"plug{self.hospitals.index(hospital)}"

    def _namespace(self, host: str) -> str:
        return f"oncofed-{os.getpid()}-{host}"


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"hosts of their own take root and iproute2: ip {' '.join(arguments)}: {done.stderr}"
