"""Whoever watches the daemon, systemd or a page, is told when it is up, what it does and when it ends."""

from __future__ import annotations

import json
import socket
import threading
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml

from client.node.daemon import SiteDaemon
from client.site.pause import leave, pause
from client.site.site_file import SiteHome
from common.errors import DeviceError


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def health(port: int) -> dict[str, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/health")
        return dict(json.loads(connection.getresponse().read()))
    finally:
        connection.close()


def test_a_device_that_is_not_there_keeps_the_daemon_from_starting(joined: SiteHome) -> None:
    settings = yaml.safe_load(joined.site_file.read_text()) | {"device": "cuda:77"}
    joined.site_file.write_text(yaml.safe_dump(settings))
    with pytest.raises(DeviceError, match="device=cuda:77, and torch finds"):
        SiteDaemon(joined).run()
    assert not joined.state_file.exists()


def test_systemd_and_the_page_are_told(
    joined: SiteHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    port = free_port()
    settings = yaml.safe_load(joined.site_file.read_text()) | {"monitor_port": port}
    joined.site_file.write_text(yaml.safe_dump(settings))
    daemon: SiteDaemon = request.getfixturevalue("daemon")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        thread = threading.Thread(target=daemon.run)
        thread.start()
        try:
            assert manager.recv(200) == b"READY=1"
            assert manager.recv(200) == b"WATCHDOG=1\nSTATUS=running"
            assert health(port)["healthy"] and health(port)["status"] == "running"
            pause(joined)
            while manager.recv(200) != b"WATCHDOG=1\nSTATUS=paused":
                assert thread.is_alive()
        finally:
            leave(joined)
            thread.join(30)
        while manager.recv(200) != b"STOPPING=1":
            pass
    with pytest.raises(ConnectionRefusedError):
        health(port)
