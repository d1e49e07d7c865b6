"""The nginx before the SuperLink: it asks for the caller's certificate and shows each role its own paths.

It knows the approved sites from the registry, so to approve or revoke a site is to write its list anew.
"""

from __future__ import annotations

import shutil
import string
from dataclasses import dataclass
from pathlib import Path

from common.errors import ConfigError
from common.services.notify import credential
from common.trust.client_certificate import proxy_fingerprint
from common.trust.durable import write_durably
from common.trust.pki import write_private
from server.hub.home import HubConfig, HubHome
from server.hub.registry import Registry

TEMPLATE = Path(__file__).with_name("nginx.conf.template")
CONNECTIONS = 8192
"""That nginx holds at once, of hospitals and strangers together."""
OPEN_FILES = 2 * CONNECTIONS + 64
"""Files that it may need for them: the body of a request may lie in one of its own."""
_END = "-----END CERTIFICATE-----\n"
_WILDCARDS = ("0.0.0.0", "::")
_SEARCHED = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"


class _Template(string.Template):
    """``@{name}``, since nginx has its own use for the dollar."""

    delimiter = "@"


@dataclass(frozen=True, slots=True)
class ProxyFiles:
    """What nginx reads.

    Attributes:
        config: Text of ``nginx.conf``; it holds the secret that the SuperLink knows the proxy by.
        clients: PEM of all certificates that open the proxy.
    """

    config: str
    clients: str

    def take_away(self, folder: Path) -> bool:
        """Tells whether a certificate that the files below ``folder`` let in is not let in any more."""
        return any(block not in self.clients for block in _text(folder / "clients.pem").split(_END))

    def write(self, folder: Path) -> bool:
        """Writes both below ``folder``, and returns whether anything changed."""
        (folder / "tmp").mkdir(parents=True, exist_ok=True, mode=0o700)
        before = [_text(folder / name) for name in ("nginx.conf", "clients.pem")]
        if before == [self.config, self.clients]:
            return False
        write_durably(folder / "clients.pem", self.clients)
        write_private(folder / "nginx.conf", self.config.encode())
        return True


def proxy_files(home: HubHome) -> ProxyFiles:
    """Returns what nginx must read now, from the settings, the registry and the operator's certificate.

    Raises:
        ConfigError: A file of the home is missing, or the home's path cannot stand in nginx's configuration.
    """
    config = home.config()
    try:
        operator, secret = home.operator.read_text(encoding="ascii"), home.proxy_secret.read_text(encoding="ascii")
        its_role = {proxy_fingerprint(operator): "operator"}
    except (OSError, ValueError):
        raise ConfigError(
            f"{home.server.parent} lacks what the proxy needs; make it with: oncofed-hub rotate"
        ) from None
    sites = [site.certificate for site in Registry(home.sites_file).by_status("approved") if site.certificate]
    roles = {proxy_fingerprint(site): "site" for site in sites} | its_role
    text = _Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        folder=_quotable(home.proxy),
        logs=_quotable(home.logs),
        certificate=_quotable(home.server),
        key=_quotable(Path(credential("server.key") or home.server_key)),
        authority=_quotable(home.ca),
        secret=secret,
        inner_port=config.inner_port,
        connections=CONNECTIONS,
        listen="\n".join(f"        listen {address} ssl;" for address in _addresses(config)),
        roles="\n".join(f"        {fingerprint} {role};" for fingerprint, role in sorted(roles.items())),
    )
    return ProxyFiles(text, operator + "".join(sites))


def nginx() -> str:
    """Returns the path of nginx.

    Raises:
        ConfigError: It is not installed.
    """
    found = shutil.which("nginx") or shutil.which("nginx", path=_SEARCHED)
    if found is None:
        raise ConfigError(
            "There is no nginx on this machine; install it (Debian: apt-get install nginx-light), or, where nobody "
            "but you reaches the port, set `proxy: false` in hub.yaml"
        )
    return found


def _addresses(config: HubConfig) -> list[str]:
    """Returns where nginx listens: where sites dial, and always where this machine's own commands do."""
    own = f"127.0.0.1:{config.port}"
    if config.bind == "::":
        return [f"[::]:{config.port}", f"0.0.0.0:{config.port}"]
    bind = f"[{config.bind}]" if ":" in config.bind else config.bind
    return list(dict.fromkeys([f"{bind}:{config.port}", *([] if config.bind in _WILDCARDS else [own])]))


def _quotable(path: Path) -> str:
    if any(character in str(path) for character in '"$\\\n'):
        raise ConfigError(f"nginx cannot read a path like {path}; choose a home without quotes, dollars, backslashes")
    return str(path)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
