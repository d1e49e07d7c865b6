"""The checks of ``oncofed-site doctor`` between this machine and the hub: name, port, certificates, clock, way in."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPSConnection

from client.checks.finding import Finding
from client.site.site_file import SiteFile, SiteHome
from common.errors import NetworkError, TrustError
from common.trust.client_certificate import days_left

CLOCK_SECONDS = 120.0
"""The hub refuses what a site signs more than 150 s away from its own clock."""
CERTIFICATE_DAYS = 30.0
NETWORK_SECONDS = 5.0
_NEW_KEYS = "ask the hub for a new invitation, then: oncofed-site join KIT --new-keys"


def hub_checks(home: SiteHome, settings: SiteFile) -> Iterator[Finding]:
    """Yields what stands between site and hub, from its name to its proxy; ends where the next cannot be asked."""
    host, _, port = settings.hub.rpartition(":")
    host = host.strip("[]")
    proxies = [name for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY") if os.environ.get(name)]
    if proxies:
        yield Finding(check="proxy", status="warn", found=f"{', '.join(proxies)} is set and is not used",
                      fix=f"ask for a direct way to {settings.hub}, or a TCP relay that does not open TLS")  # fmt: skip
    try:
        address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][4]
    except (OSError, ValueError) as error:
        yield _network("dns", f"{host} has no address here ({error})", "correct `hub` in site.yaml, or ask for DNS")
        return
    yield Finding(check="dns", status="ok", found=f"{host} is {address[0]}")
    try:
        socket.create_connection((host, int(port)), timeout=NETWORK_SECONDS).close()
    except OSError as error:
        yield _network("port", f"{settings.hub} does not answer ({error})",
                       "ask your network for outgoing TCP to it, or the hub whether it runs")  # fmt: skip
        return
    yield Finding(check="port", status="ok", found=f"{settings.hub} answers")
    yield from _certificate(home, host, int(port))


def _certificate(home: SiteHome, host: str, port: int) -> Iterator[Finding]:
    try:
        context = ssl.create_default_context(cafile=str(home.ca))
        connection = HTTPSConnection(host, port, timeout=NETWORK_SECONDS, context=context)
        connection.connect()
        certificate = connection.sock.getpeercert()
        connection.request("GET", "/health")
        date = connection.getresponse().getheader("date")
        connection.close()
    except ssl.SSLCertVerificationError as error:
        yield Finding(
            check="certificate", status="fail", found=f"the hub is not proved to be ours: {error.verify_message}",
            fix="do not go on; ask the hub whether its certificate changed, and whether your network opens TLS",
            exit_code=TrustError.exit_code,
        )  # fmt: skip
        return
    except (OSError, ssl.SSLError) as error:
        yield _network("certificate", f"no TLS with {host}:{port} ({error})", "ask the hub whether it runs")
        return
    yield _validity(certificate)
    yield _clock(date)
    yield _own_certificate(home)
    yield _role(home, host, port)


def _validity(certificate: object) -> Finding:
    assert isinstance(certificate, dict)
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    days = (ends - datetime.now(UTC)).total_seconds() / 86400
    if days < CERTIFICATE_DAYS:
        return Finding(check="certificate", status="warn", found=f"the hub's ends in {days:.0f} days",
                       fix="tell the hub's operator: oncofed-hub rotate")  # fmt: skip
    return Finding(check="certificate", status="ok", found=f"the hub's is ours, {days:.0f} days left")


def _clock(date: str | None) -> Finding:
    if not date:
        return Finding(check="clock", status="warn", found="the hub did not say its time", fix="check NTP")
    skew = (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
    if abs(skew) > CLOCK_SECONDS:
        return Finding(check="clock", status="fail", found=f"{skew:+.0f} s from the hub's", fix="set the clock (NTP)")
    return Finding(check="clock", status="ok", found=f"{skew:+.0f} s from the hub's")


def _own_certificate(home: SiteHome) -> Finding:
    try:
        days = days_left(home.tls.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return Finding(check="own certificate", status="fail", found=f"{home.tls} is missing or damaged", fix=_NEW_KEYS,
                       exit_code=TrustError.exit_code)  # fmt: skip
    if days < 0:
        return Finding(check="own certificate", status="fail", found=f"it ended {-days:.0f} days ago", fix=_NEW_KEYS,
                       exit_code=TrustError.exit_code)  # fmt: skip
    if days < CERTIFICATE_DAYS:
        return Finding(check="own certificate", status="warn", found=f"it ends in {days:.0f} days", fix=_NEW_KEYS)
    return Finding(check="own certificate", status="ok", found=f"{days:.0f} days left")


def _role(home: SiteHome, host: str, port: int) -> Finding:
    """Asks the hub's proxy as whom it sees this site, with the certificate that the SuperNode shows it."""
    try:
        context = ssl.create_default_context(cafile=str(home.ca))
        context.load_cert_chain(home.tls, home.tls_key)
        connection = HTTPSConnection(host, port, timeout=NETWORK_SECONDS, context=context)
        connection.request("GET", "/oncofed/role")
        answer = connection.getresponse()
        role = answer.read().decode("utf-8", "replace").strip() if answer.status == 200 else ""
        connection.close()
    except (OSError, ssl.SSLError) as error:
        return _network("way in", f"no TLS with this site's own certificate ({error})", "ask the hub whether it runs")
    if answer.status == 404:
        return Finding(check="way in", status="ok", found="the hub has no proxy and asks for no certificate")
    if role == "site":
        return Finding(check="way in", status="ok", found="the hub knows this site's certificate")
    return Finding(check="way in", status="fail", found="the hub does not know this site's certificate",
                   fix="send it request.json to approve; where it revoked you: " + _NEW_KEYS,
                   exit_code=TrustError.exit_code)  # fmt: skip


def _network(check: str, found: str, fix: str) -> Finding:
    return Finding(check=check, status="fail", found=found, fix=fix, exit_code=NetworkError.exit_code)
