"""What a hub hands to a hospital before they trust each other, and what the hospital hands back.

The kit is a small zip without any secret but a one-time invitation number: the authority's certificate, where the
hub is, what the study is. The request that comes back holds public keys only, signed with the site's own key, and
is believed once a person at the hub has compared its fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from common.canonical import canonical, document_digest
from common.errors import ConfigError, TrustError
from common.trust.address import check_address
from common.trust.client_certificate import checked_client_certificate
from common.trust.hub_key import checked_hub_key, hub_fingerprint
from common.trust.pki import checked_public_line, key_fingerprint
from common.trust.signing import SiteKey, signature_holds

SUMS = "SHA256SUMS"
FILES = ("kit.json", "ca.crt", "study.json", "README.md")
MAX_BYTES = 1_000_000
_NAME = re.compile(r"(?!node-)[a-z0-9][a-z0-9_-]{0,39}")
"""``node-7`` is how a hub calls a node that gave no name."""
MAX_DECLARED = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What is in a kit.

    Attributes:
        site: Name that the consortium gave the site.
        hub: ``host:port`` that the site dials.
        invitation: One-time number of the invitation, hex.
        study_digest: SHA-256 of the study.
        study: The travelling study.
        ca: PEM of the authority's certificate.
        hub_key: Ed25519 public key, hex, with which the hub signs its requests.
    """

    site: str
    hub: str
    hub_key: str
    invitation: str
    study_digest: str
    study: Mapping[str, Any]
    ca: str

    def __post_init__(self) -> None:
        check_site_name(self.site)
        checked_hub_key(self.hub_key)
        check_address(self.hub)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """What a site sends back: its name, its invitation, its public keys.

    Attributes:
        node_key: EC P-384 public key, an OpenSSH line without comment; proves the site to the hub's SuperLink.
        signing_key: Ed25519 public key, hex; signs the site's journals and this request.
        certificate: PEM; proves the site to the proxy before the hub.
        declared_patients: Public size of the training cohort that the site proposes; 0: it will be told otherwise.
    """

    site: str
    invitation: str
    node_key: str
    signing_key: str
    certificate: str
    declared_patients: int = 0
    signature: str = ""

    def text(self) -> bytes:
        """Returns what is signed."""
        return canonical({key: value for key, value in asdict(self).items() if key != "signature"}).encode()

    @property
    def fingerprint(self) -> str:
        """What both sides compare by telephone; it covers all keys, the name and the declared patients."""
        return key_fingerprint(f"{hashlib.sha256(self.text()).hexdigest()} request")


def check_site_name(name: str) -> str:
    """Returns the name.

    Raises:
        ConfigError: It could not be a file name and a word in a report.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"The site name {name!r} is not usable; expected 1 to 40 of a-z, 0-9, - and _, first a letter or digit, "
            "and not node- at the start"
        )
    return name


def write_kit(path: Path, kit: Kit) -> None:
    """Writes the zip, byte for byte the same for the same kit."""
    fields = {key: value for key, value in asdict(kit).items() if key not in ("ca", "study")}
    files = {
        "kit.json": json.dumps({"schema_version": 1} | fields, indent=2) + "\n",
        "ca.crt": kit.ca,
        "study.json": json.dumps(kit.study, indent=2, sort_keys=True) + "\n",
        "README.md": _readme(kit),
    }
    files[SUMS] = "".join(f"{_sha(text)}  {name}\n" for name, text in files.items())
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    path.write_bytes(buffer.getvalue())


def read_kit(path: Path) -> Kit:
    """Returns the kit.

    Raises:
        ConfigError: There is no kit at ``path``.
        TrustError: It is damaged, was changed, or its study is not the one that its hash names.
    """
    files = _read_files(path)
    try:
        sums = {line.partition("  ")[2]: line.partition("  ")[0] for line in files[SUMS].splitlines()}
        wrong = [name for name in FILES if sums.get(name) != _sha(files[name])]
        fields = json.loads(files["kit.json"])
        fields.pop("schema_version")
        kit = Kit(**fields, ca=files["ca.crt"], study=json.loads(files["study.json"]))
    except (KeyError, ValueError, TypeError):
        raise TrustError(f"{path} is not a whole kit; ask the hub to send it again") from None
    if wrong:
        raise TrustError(f"{path}: {', '.join(wrong)} changed on the way; ask the hub to send the kit again")
    found = study_digest(kit.study)
    if found != kit.study_digest:
        raise TrustError(f"The kit's study has the digest {found[:16]}, its card says {kit.study_digest[:16]}")
    return kit


def study_digest(study: Mapping[str, Any]) -> str:
    """Returns the digest of a travelling study, as :meth:`common.config.study.StudyConfig.digest` does."""
    return document_digest(study)


def check_declared(patients: object) -> int:
    """Returns the number of declared patients, 0 where a site has not told it.

    Raises:
        TrustError: It is no whole number of patients that a federation could sum.
    """
    if type(patients) is not int or not 0 <= patients <= MAX_DECLARED:
        raise TrustError(f"Expected declared_patients to be a whole number up to {MAX_DECLARED}; ask the site again")
    return patients


def signed_request(kit: Kit, node_key: str, certificate: str, key: SiteKey, declared_patients: int = 0) -> JoinRequest:
    """Returns the site's answer to a kit.

    Raises:
        TrustError: The node key or the certificate is not of the agreed kind.
    """
    plain = JoinRequest(
        site=kit.site,
        invitation=kit.invitation,
        node_key=checked_public_line(node_key),
        signing_key=key.public_hex,
        certificate=checked_client_certificate(certificate, kit.site),
        declared_patients=declared_patients,
    )
    return replace(plain, signature=key.sign(plain.text()))


def write_request(path: Path, request: JoinRequest) -> None:
    """Writes the request as JSON."""
    path.write_text(json.dumps({"schema_version": 1} | asdict(request), indent=2) + "\n", encoding="utf-8")


def read_request(path: Path) -> JoinRequest:
    """Returns the request, whose signature holds under the key that it brings, with each key in its normal form.

    Raises:
        ConfigError: There is no such file.
        TrustError: It is damaged, was changed after it was signed, or a key in it is not of the agreed kind.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields.pop("schema_version")
        declared = check_declared(fields.pop("declared_patients", 0))
        request = JoinRequest(**{key: str(value) for key, value in fields.items()}, declared_patients=declared)
    except FileNotFoundError:
        raise ConfigError(f"There is no request at {path}; it is the file that oncofed-site join wrote") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise TrustError(f"{path} is no request of a site; ask for the file that oncofed-site join wrote") from None
    if not signature_holds(request.signing_key, request.text(), request.signature):
        raise TrustError(f"{path} was changed after the site signed it; ask the site to send it again")
    check_site_name(request.site)
    return replace(
        request,
        node_key=checked_public_line(request.node_key),
        signing_key=bytes.fromhex(request.signing_key).hex(),
        certificate=checked_client_certificate(request.certificate, request.site),
    )


def _read_files(path: Path) -> dict[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            known = [info for info in archive.infolist() if info.filename in (*FILES, SUMS)]
            if sum(info.file_size for info in known) > MAX_BYTES:
                raise TrustError(f"{path} is larger than any kit; ask the hub to send it again")
            return {info.filename: archive.read(info).decode("utf-8") for info in known}
    except FileNotFoundError:
        raise ConfigError(f"There is no kit at {path}; it is the zip that the hub sent") from None
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError):
        raise TrustError(f"{path} is not a kit; ask the hub to send it again") from None


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _readme(kit: Kit) -> str:
    return f"""\
# Joining the study "{kit.study.get("name", "study")}" as {kit.site}

Research use only - not a medical device.

This kit holds no private key. It lets your hospital find the hub at {kit.hub} and be sure that it is the hub.

1. Install OncoFed on the machine that can read your images, as its guide for hospital engineers says.
2. `oncofed-site join {kit.site}.kit.zip` makes your keys on that machine; they never leave it.
3. Send the file `request.json` that it writes to the hub's operator, and read them its fingerprint by telephone.
   Let them read you theirs: the hub signs its requests with the key {hub_fingerprint(kit.hub_key)}.
4. Edit `site.yaml` (where the images are) and `policy.yaml` (what your privacy officer allows; all is closed now).
5. `oncofed-site doctor`, and when it is green `oncofed-site start`.

Study digest (SHA-256): {kit.study_digest}
"""
