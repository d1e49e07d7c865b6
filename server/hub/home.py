"""The hub's home: one folder with its authority, certificate, settings, sites, journal and runs."""

from __future__ import annotations

import dataclasses
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from common.config.settings_file import settings_text
from common.config.study import StudyConfig, compose
from common.errors import ConfigError
from common.services.notify import credential
from common.services.supervisor import is_held, only_one
from common.trust import pki
from common.trust.address import check_address, check_host
from common.trust.client_certificate import create_client_certificate
from common.trust.durable import write_durably
from common.trust.signing import SiteKey

OPERATOR = "OncoFed operator"
"""Name in the operator's certificate; with a blank, which no site's name has."""
HOME_VARIABLE = "ONCOFED_HUB_HOME"
LONGEST_NAME = 46
"""Bytes of a consortium's name: with what follows it, 64 are the most that a certificate may hold."""
Port = Annotated[int, Field(ge=1, le=65_535)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HubConfig:
    """What ``hub.yaml`` says.

    Attributes:
        name: Of the consortium; it stands in the authority's certificate.
        bind: Address that the proxy listens on, or the SuperLink where there is none.
        port: Its port.
        proxy: Whether nginx stands before the SuperLink and asks callers for their certificate. Without it, hospitals'
            paths are open to whoever reaches the port, and all others to every user of this machine.
        inner_port: Port of the SuperLink on 127.0.0.1 behind the proxy.
        address: ``host:port`` that sites dial.
        names: DNS names and addresses in the server's certificate.
        overrides: Hydra overrides of the study.
        restart_seconds: Longest pause before a dead process is started again.
        patience_seconds: Longest time that a machine short of processor time may take to start the aggregator, or to
            answer one of Flower's commands.
        monitor_port: Port on 127.0.0.1 for ``/health`` and ``/metrics``; None: no such page.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)] = "consortium"
    bind: str = "127.0.0.1"
    port: Port = 9443
    proxy: bool = True
    inner_port: Port = 9444
    address: str = "127.0.0.1:9443"
    names: tuple[str, ...] = ("localhost", "127.0.0.1")
    overrides: tuple[str, ...] = ()
    restart_seconds: Annotated[float, Field(gt=0)] = 30.0
    patience_seconds: Annotated[float, Field(ge=30, le=86_400)] = 600.0
    monitor_port: Port | None = None

    def __post_init__(self) -> None:
        if len(self.name.encode()) > LONGEST_NAME or not self.name.isprintable():
            raise ConfigError(
                f"The name {self.name[:80]!r} is not usable; expected at most {LONGEST_NAME} bytes of printable text, "
                "where a letter such as é takes two"
            )
        check_address(self.address)
        for host in (self.bind, *self.names):
            check_host(host)
        if self.proxy and self.port == self.inner_port:
            raise ConfigError(f"port and inner_port are both {self.port}; the SuperLink behind the proxy needs its own")
        if self.monitor_port in (self.port, *([self.inner_port] if self.proxy else [])):
            raise ConfigError(f"monitor_port {self.monitor_port} is the port of something else; choose one of its own")

    @property
    def local(self) -> str:
        """``host:port`` at which the hub's own workers reach the SuperLink."""
        return f"127.0.0.1:{self.inner_port}" if self.proxy else self.front

    @property
    def front(self) -> str:
        """``host:port`` at which commands of this machine reach the hub as its operator."""
        return f"{'127.0.0.1' if self.proxy or self.bind in ('0.0.0.0', '::') else self.bind}:{self.port}"

    def study(self) -> StudyConfig:
        """Returns the composed study.

        Raises:
            ConfigError: An override is wrong.
        """
        return compose(list(self.overrides))


_ADAPTER = TypeAdapter(HubConfig)


def checked_config(**fields: Any) -> HubConfig:
    """Returns the settings, each within its range.

    Raises:
        ConfigError: Names each that is not.
    """
    try:
        return _ADAPTER.validate_python(fields)
    except ValidationError as error:
        raise ConfigError(f"The settings are not usable: {_named(error)}") from None


def _named(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'hub.yaml'}: {e['msg']}" for e in error.errors())


@dataclasses.dataclass(frozen=True, slots=True)
class HubHome:
    """Where everything is."""

    path: Path

    @property
    def config_file(self) -> Path:
        """Settings."""
        return self.path / "hub.yaml"

    @property
    def ca_key(self) -> Path:
        """The authority's private key; the most secret file here."""
        return self.path / "ca" / "ca.key"

    @property
    def ca(self) -> Path:
        """The authority's certificate, which every kit carries."""
        return self.path / "ca" / "ca.crt"

    @property
    def server_key(self) -> Path:
        """The server's private key."""
        return self.path / "tls" / "server.key"

    @property
    def server(self) -> Path:
        """The server's certificate."""
        return self.path / "tls" / "server.pem"

    @property
    def secret(self) -> Path:
        """What the SuperExec shows the SuperLink before it is given a task."""
        return self.path / "tls" / "superexec.secret"

    @property
    def operator_key(self) -> Path:
        """Private key of the operator, which opens the control API."""
        return self.path / "tls" / "operator.key"

    @property
    def operator(self) -> Path:
        """The operator's certificate."""
        return self.path / "tls" / "operator.crt"

    @property
    def proxy_secret(self) -> Path:
        """What the proxy shows the SuperLink."""
        return self.path / "tls" / "proxy.secret"

    @property
    def checkpoint_key(self) -> Path:
        """Ed25519 key with which the aggregator signs checkpoints."""
        return self.path / "tls" / "checkpoint.ed25519"

    @property
    def signing_key(self) -> Path:
        """Ed25519 key with which the aggregator signs requests; every site has pinned its public half."""
        return self.path / "tls" / "requests.ed25519"

    @property
    def proxy(self) -> Path:
        """What nginx reads and writes."""
        return self.path / "proxy"

    @property
    def sites_file(self) -> Path:
        """The registry of sites."""
        return self.path / "sites.json"

    @property
    def lock(self) -> Path:
        """Held by the daemon while it runs."""
        return self.path / "hub.lock"

    @property
    def flower(self) -> Path:
        """``FLWR_HOME``: state and connections of Flower."""
        return self.path / "flower"

    @property
    def runs(self) -> Path:
        """Folders of the runs."""
        return self.path / "runs"

    @property
    def last_run(self) -> Path:
        """Names the folder of the newest run, which may be anywhere."""
        return self.path / "last-run"

    @property
    def flower_run(self) -> Path:
        """Flower's number of the run that was submitted last."""
        return self.path / "flower-run"

    @property
    def stop_asked(self) -> Path:
        """Names the run that its operator has stopped, for the command that follows it."""
        return self.path / "stop-asked"

    @property
    def run_lock(self) -> Path:
        """Held by the command that follows a run."""
        return self.path / "run.lock"

    @property
    def logs(self) -> Path:
        """Logs of the processes."""
        return self.path / "logs"

    @property
    def state_file(self) -> Path:
        """What the daemon does now, for ``status``."""
        return self.path / "state.json"

    def config(self) -> HubConfig:
        """Returns the settings.

        Raises:
            ConfigError: There is no hub here, or ``hub.yaml`` has an unknown key or a bad value.
        """
        try:
            return _ADAPTER.validate_json(settings_text(self.config_file), strict=True)
        except FileNotFoundError:
            raise ConfigError(f"There is no hub in {self.path}; make one with: oncofed-hub init") from None
        except ValidationError as error:
            raise ConfigError(f"{self.config_file} is not valid ({_named(error)})") from None


def hub_home(given: Path | None) -> HubHome:
    """Returns the home: ``given``, else ``ONCOFED_HUB_HOME``, else ``~/.oncofed/hub``."""
    chosen = given or Path(os.environ.get(HOME_VARIABLE, "~/.oncofed/hub"))
    return HubHome(chosen.expanduser().resolve())


def create(home: HubHome, config: HubConfig) -> None:
    """Makes the home: authority, server certificate, secret, settings, empty registry.

    Raises:
        ConfigError: There is a hub already, the study is wrong, or the folder cannot be written.
    """
    if home.config_file.exists():
        raise ConfigError(f"{home.path} already holds a hub; choose another folder with --home, or remove it yourself")
    config.study()
    try:
        for folder in (home.path, home.ca_key.parent, home.server.parent, home.flower, home.runs, home.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        home.path.chmod(0o700)  # a folder that was there keeps its mode, and open invitations lie in this one
    except OSError as error:
        raise ConfigError(f"{home.path} cannot be written ({error.strerror}); choose another with --home") from None
    pki.create_authority(home.ca_key, home.ca, config.name)
    rotate(home, config.names)
    SiteKey.open(home.signing_key)
    write_durably(home.sites_file, '{"schema_version": 1, "sites": {}}\n')
    write_config(home, config)


def rotate(home: HubHome, names: Sequence[str]) -> None:
    """Makes the server's and the operator's certificates and the secrets anew; sites notice nothing.

    Raises:
        ConfigError: The hub runs: one process of it would read a new secret while another has the old one.
    """
    if is_held(home.lock):
        raise ConfigError(f"The hub in {home.path} runs; stop it, run oncofed-hub rotate, then start it again")
    with only_one(home.lock):
        _renew(home, names)


def _renew(home: HubHome, names: Sequence[str]) -> None:
    everyone = list(dict.fromkeys([*names, "localhost", "127.0.0.1"]))
    pki.issue_server(home.ca_key, home.ca, everyone, key=home.server_key, certificate=home.server)
    pki.write_private(home.secret, secrets.token_bytes(32))
    pki.write_private(home.proxy_secret, secrets.token_hex(32).encode())
    for old in (home.operator_key, home.operator):
        old.unlink(missing_ok=True)
    create_client_certificate(home.operator_key, home.operator, OPERATOR, days=pki.SERVER_DAYS)


def check_certificates(home: HubHome, config: HubConfig) -> None:
    """Checks that the server, and the operator where a proxy asks for it, have a certificate for their key.

    Raises:
        ConfigError: One is missing, damaged or another key's, as after a `rotate` that was cut short.
    """
    server_key = Path(credential("server.key") or home.server_key)
    pairs = [(server_key, home.server), *([(home.operator_key, home.operator)] if config.proxy else [])]
    for key, certificate in pairs:
        if not pki.is_pair(key, certificate):
            raise ConfigError(f"{certificate} is not the certificate of {key}; make both with: oncofed-hub rotate")


def write_config(home: HubHome, config: HubConfig) -> None:
    """Writes ``hub.yaml``."""
    import yaml

    document: dict[str, Any] = _ADAPTER.dump_python(config, mode="json")
    text = yaml.safe_dump(document, sort_keys=False)
    write_durably(home.config_file, "# Settings of this hub; the guide for hub operators explains each.\n" + text)
