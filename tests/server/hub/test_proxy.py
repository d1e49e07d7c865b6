"""The real nginx before a stand-in for the SuperLink: who gets in, as what, and who is turned away how."""

from __future__ import annotations

import json
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.checks.hub_checks import hub_checks
from client.site.site_file import SiteData, SiteFile, SiteHome
from common.errors import ConfigError
from common.trust.client_certificate import create_client_certificate, proxy_fingerprint
from common.trust.kit import JoinRequest
from server.cli.main import app
from server.hub.daemon import HubDaemon
from server.hub.home import HubConfig, HubHome, create, write_config
from server.hub.proxy import proxy_files
from server.hub.registry import Registry
from simulations.engine.deployment import free_port

PULL, LIST = "/v1/fleet/pull-messages", "/v1/control/list-runs"


class _Link(BaseHTTPRequestHandler):
    """Answers with the path and the headers that the gate judges by."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        shown = {name: self.headers[f"X-OncoFed-{name}"] for name in ("Proxy", "Role")}
        body = json.dumps({"path": self.path} | shown).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@dataclass
class Front:
    """A hub's home, its nginx, and what stands behind it."""

    home: HubHome
    config: HubConfig
    process: subprocess.Popen[bytes] | None = None

    def admit(self, name: str, stem: Path, days: int = 30) -> Path:
        """Invites and approves a site; its certificate and key are ``stem.crt`` and ``stem.key``."""
        invitation = Registry(self.home.sites_file).invite(name).invitation
        pem = create_client_certificate(stem.with_suffix(".key"), stem.with_suffix(".crt"), name, days=days)
        request = JoinRequest(
            site=name, invitation=invitation, node_key=f"key of {name}", signing_key=f"of {name}", certificate=pem
        )
        Registry(self.home.sites_file).approve(request)
        return stem

    def start(self, before: str = ":") -> None:
        """Writes nginx its files and starts it anew as the daemon does, once the shell has done what comes before."""
        self.stop()
        proxy_files(self.home).write(self.home.proxy)
        arguments = ["-e", "stderr", "-p", str(self.home.proxy), "-c", str(self.home.proxy / "nginx.conf")]
        command = ["sh", "-c", f'{before}; exec "$@"', "sh", sys.executable, "-m", "server.hub.processes", "proxy"]
        with (self.home.logs / "proxy.log").open("ab") as log:
            self.process = subprocess.Popen([*command, *arguments], stderr=log)
        deadline = time.monotonic() + 20
        while not self._listens():
            assert self.process.poll() is None and time.monotonic() < deadline

    def stop(self) -> None:
        """Ends nginx, if it runs, once it has logged what it has answered."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)

    def ask(
        self, path: str, stem: Path | None = None, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str]]:
        """Returns the status and what reached the SuperLink, if anything did."""
        context = ssl.create_default_context(cafile=str(self.home.ca))
        if stem is not None:
            context.load_cert_chain(stem.with_suffix(".crt"), stem.with_suffix(".key"))
        connection = HTTPSConnection("127.0.0.1", self.config.port, timeout=20, context=context)
        try:
            connection.request("POST", path, body=body, headers=headers or {})
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text.startswith(b"{") else {}
        finally:
            connection.close()

    @property
    def operator(self) -> Path:
        """Stem of the operator's certificate and key."""
        return self.home.operator.with_suffix("")

    def _listens(self) -> bool:
        try:
            return bool(self.ask("/health"))
        except OSError:
            return False


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    home = HubHome(tmp_path / "hub")
    config = HubConfig(port=free_port(), inner_port=free_port())
    create(home, config)
    link = ThreadingHTTPServer(("127.0.0.1", config.inner_port), _Link)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home.server, home.server_key)
    link.socket = context.wrap_socket(link.socket, server_side=True)
    thread = threading.Thread(target=link.serve_forever)
    thread.start()
    made = Front(home, config)
    yield made
    made.stop()
    link.shutdown()
    thread.join()
    link.server_close()


def test_each_certificate_opens_the_paths_of_its_role_and_no_other(front: Front, tmp_path: Path) -> None:
    site = front.admit("north", tmp_path / "north")
    front.start()
    secret = front.home.proxy_secret.read_text()
    assert front.ask(PULL, site) == (200, {"path": PULL, "Proxy": secret, "Role": "site"})
    assert front.ask(LIST, front.operator) == (200, {"path": LIST, "Proxy": secret, "Role": "operator"})
    assert (front.ask(LIST, site)[0], front.ask(LIST)[0]) == (404, 404)
    assert (front.ask(PULL, front.operator)[0], front.ask(PULL)[0]) == (401, 401)
    for path in ("/v1/runtime/acquire-task", "/docs", "/", "/v1/fleet/../runtime/acquire-task"):
        assert {front.ask(path, stem)[0] for stem in (None, site, front.operator)} == {404}
    assert front.ask("/health")[0] == 200


def test_nobody_gives_himself_a_role_or_the_secret(front: Front, tmp_path: Path) -> None:
    site = front.admit("north", tmp_path / "north")
    front.start()
    claims = {"X-OncoFed-Role": "operator", "X-OncoFed-Proxy": "guess"}
    assert front.ask(LIST, None, headers=claims) == (404, {})
    _, reached = front.ask(PULL, site, headers=claims)
    assert (reached["Role"], reached["Proxy"]) == ("site", front.home.proxy_secret.read_text())


def test_unknown_expired_and_revoked_certificates_get_one_answer_and_reach_nothing(
    front: Front, tmp_path: Path
) -> None:
    good, gone = front.admit("north", tmp_path / "north"), front.admit("south", tmp_path / "south")
    expired = front.admit("east", tmp_path / "east", days=0)
    stranger = tmp_path / "stranger"
    create_client_certificate(stranger.with_suffix(".key"), stranger.with_suffix(".crt"), "north")
    front.start()
    assert (front.ask(PULL, good)[0], front.ask(PULL, gone)[0]) == (200, 200)
    Registry(front.home.sites_file).revoke("south")
    front.start()
    assert front.ask(PULL, good)[0] == 200
    assert [front.ask(PULL, stem) for stem in (gone, expired, stranger)] == [(401, {})] * 3
    front.stop()
    lines = [line for line in (front.home.logs / "refused.log").read_text().splitlines() if PULL in line]
    assert len(lines) == 3 and "expired" in lines[1]
    for line, stem in zip(lines, (gone, expired, stranger), strict=True):
        assert proxy_fingerprint(stem.with_suffix(".crt").read_text()) in line


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    """Room for many connections; they close in the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    with ExitStack() as opened:
        yield opened
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_stranger_who_opens_a_thousand_connections_keeps_nobody_out(
    front: Front, tmp_path: Path, sockets: ExitStack
) -> None:
    site = front.admit("north", tmp_path / "north")
    front.start("ulimit -Sn 1024")
    for _ in range(1100):
        sockets.enter_context(socket.create_connection(("127.0.0.1", front.config.port), timeout=20))
    assert front.ask(PULL, site)[0] == 200
    assert "client_header_timeout 10s;" in proxy_files(front.home).config


def test_it_starts_for_a_user_who_may_open_few_files(front: Front, tmp_path: Path) -> None:
    site = front.admit("north", tmp_path / "north")
    front.start("ulimit -n 256")
    assert front.ask(PULL, site)[0] == 200


def test_doctor_says_as_whom_the_hub_sees_the_site(front: Front, tmp_path: Path) -> None:
    site = SiteHome(tmp_path / "site")
    site.tls_key.parent.mkdir(parents=True)
    shutil.copy(front.home.ca, site.ca)
    hub = f"127.0.0.1:{front.config.port}"
    settings = SiteFile(name="north", hub=hub, declared_patients=10, data=SiteData())

    def way_in(days: int = 30) -> dict[str, str]:
        for old in (site.tls, site.tls_key):
            old.unlink(missing_ok=True)
        create_client_certificate(site.tls_key, site.tls, "north", days=days)
        return {finding.check: finding.status for finding in hub_checks(site, settings)}

    front.start()
    assert way_in(400) == {
        "dns": "ok", "port": "ok", "certificate": "ok", "clock": "ok", "own certificate": "ok", "way in": "fail"
    }  # fmt: skip
    assert (way_in(20)["own certificate"], way_in(0)["own certificate"]) == ("warn", "fail")
    front.admit("north", tmp_path / "north")
    shutil.copy(tmp_path / "north.crt", site.tls)
    shutil.copy(tmp_path / "north.key", site.tls_key)
    front.start()
    assert {finding.check: finding.status for finding in hub_checks(site, settings)}["way in"] == "ok"


def test_a_message_of_flowers_size_passes_and_a_larger_one_does_not(front: Front, tmp_path: Path) -> None:
    site = front.admit("north", tmp_path / "north")
    front.start()
    assert front.ask("/v1/fleet/push-object", site, body=b"0" * (6 << 20))[0] == 200
    assert front.ask("/v1/fleet/push-object", site, headers={"Content-Length": str(17 << 20)})[0] == 413


def test_the_operator_can_read_the_configuration_and_the_days_of_certificates(front: Front, tmp_path: Path) -> None:
    front.admit("north", tmp_path / "north", days=10)
    Registry(front.home.sites_file).invite("south")
    shown = CliRunner().invoke(app, ["proxy", "--home", str(front.home.path)]).stdout
    assert front.home.proxy_secret.read_text() not in shown
    assert shown.replace("(secret)", front.home.proxy_secret.read_text()) == proxy_files(front.home).config
    listed = json.loads(CliRunner().invoke(app, ["sites", "--json", "--home", str(front.home.path)]).stdout)["data"][
        "sites"
    ]
    assert {site["name"]: site["certificate_days_left"] for site in listed} == {"north": 9, "south": None}


def test_files_change_only_with_what_they_say(front: Front, tmp_path: Path) -> None:
    assert proxy_files(front.home).write(front.home.proxy)
    assert not proxy_files(front.home).write(front.home.proxy)
    Registry(front.home.sites_file).invite("north")
    assert not proxy_files(front.home).write(front.home.proxy)
    front.admit("north", tmp_path / "north")
    assert proxy_files(front.home).write(front.home.proxy)
    assert (front.home.proxy / "nginx.conf").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("bind", "listens"),
    [
        ("127.0.0.1", ["127.0.0.1:9443"]),
        ("0.0.0.0", ["0.0.0.0:9443"]),
        ("::", ["[::]:9443", "0.0.0.0:9443"]),
        ("10.0.0.5", ["10.0.0.5:9443", "127.0.0.1:9443"]),
        ("fd00::5", ["[fd00::5]:9443", "127.0.0.1:9443"]),
    ],
)
def test_it_listens_where_sites_dial_and_where_the_operators_commands_do(
    front: Front, bind: str, listens: list[str]
) -> None:
    write_config(front.home, HubConfig(bind=bind))
    lines = [line.split()[1] for line in proxy_files(front.home).config.splitlines() if line.endswith(" ssl;")]
    assert lines == listens


def test_a_home_that_nginx_cannot_read_and_lost_files_are_named(front: Front, tmp_path: Path) -> None:
    odd = HubHome(tmp_path / 'a"b')
    create(odd, HubConfig())
    with pytest.raises(ConfigError, match="without quotes"):
        proxy_files(odd)
    front.home.operator.unlink()
    with pytest.raises(ConfigError, match="oncofed-hub rotate"):
        proxy_files(front.home)


def test_without_nginx_the_hub_says_what_to_install_before_it_starts(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *given, **named: None)
    with pytest.raises(ConfigError, match="install"):
        HubDaemon(front.home)
    write_config(front.home, replace(front.config, proxy=False))
    assert HubDaemon(front.home)


def test_one_port_for_two_is_refused() -> None:
    with pytest.raises(ConfigError, match="both 9444"):
        HubConfig(port=9444)
