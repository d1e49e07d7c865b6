"""``oncofed-site join``: checks a kit, makes the site's keys here, and writes the request that goes back."""

from __future__ import annotations

import json
import time
from pathlib import Path

from client.site_file import SiteHome
from common.errors import ConfigError
from common.trust.client_certificate import create_client_certificate
from common.trust.durable import write_durably
from common.trust.kit import JoinRequest, Kit, read_kit, signed_request, write_request
from common.trust.pki import certificate_facts, create_node_key
from common.trust.signing import SiteKey


def join(home: SiteHome, kit_path: Path, *, new_keys: bool = False) -> JoinRequest:
    """Returns the request, which also lies in ``request.json``; an existing ``site.yaml`` or policy is kept.

    Keys are kept too, unless ``new_keys``; the old ones are then put aside.

    Raises:
        ConfigError: This home belongs to another site, or cannot be written.
        TrustError: The kit is damaged or was changed.
    """
    kit = read_kit(kit_path)
    if home.site_file.exists() and home.read().name != kit.site:
        raise ConfigError(f"{home.path} belongs to {home.read().name}, the kit is for {kit.site}; use another --home")
    try:
        for folder in (home.path, home.node_key.parent, home.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"{home.path} cannot be written ({error.strerror}); choose another with --home") from None
    if new_keys:
        _put_aside(home)
    home.ca.write_text(kit.ca, encoding="utf-8")
    (home.path / "study.json").write_text(json.dumps(kit.study, indent=2) + "\n", encoding="utf-8")
    certificate = create_client_certificate(home.tls_key, home.tls, kit.site)
    request = signed_request(kit, create_node_key(home.node_key, kit.site), certificate, SiteKey.open(home.signing_key))
    write_request(home.path / "request.json", request)
    _write_once(home.site_file, _site_yaml(kit))
    _write_once(home.path / "policy.yaml", _policy_yaml(kit, certificate_facts(home.ca).fingerprint))
    home.left.unlink(missing_ok=True)  # whoever left comes back with a new kit
    return request


def _put_aside(home: SiteHome) -> None:
    for path in (home.node_key, home.signing_key, home.tls_key, home.tls):
        if path.exists():
            path.replace(path.with_name(f"{path.name}.{time.time_ns()}.old"))


def _write_once(path: Path, text: str) -> None:
    if not path.exists():
        write_durably(path, text)


def _site_yaml(kit: Kit) -> str:
    return f"""\
# What only this hospital knows. Nothing of it leaves but the name and declared_patients.
name: {json.dumps(kit.site)}
hub: {json.dumps(kit.hub)}
# Public size of the training cohort, agreed with the consortium; round it, and do not change it for one study.
declared_patients: 1
data:
  name: manifest
  # A CSV with the columns image, patient, label (malignant or benign); paths relative to it, or to `images`.
  root: ""
  images: null
# Longest time one request may take, in seconds.
job_seconds: 3600
threads: 1
# Port on 127.0.0.1 for /health and Prometheus' /metrics; null: none.
monitor_port: null
"""


def _policy_yaml(kit: Kit, authority: str) -> str:
    privacy = {key: _plain(value) for key, value in kit.study.get("privacy", {}).items()}
    model = _plain(kit.study.get("model", {}).get("name"))
    asks = ", ".join(f"{key} {privacy.get(key)}" for key in ("mode", "epsilon", "delta", "max_images"))
    return f"""\
# What this hospital allows, whatever the hub says. Everything is closed until the privacy officer opens it.
# The study of the kit asks for: model {model}, {asks}.
# Its digest, to allow it and no other:
#   studies: [{kit.study_digest}]
#   models: [{model}]
#   modes: [{privacy.get("mode")}]
# The authority that proves the hub of the kit (SHA-256 of its certificate); compare it with the consortium's:
#   hubs: ["{authority}"]
ceiling: 0.0
delta_max: 1.0e-5
min_patients: 20
max_images: 8
models: []
studies: []
modes: []
hubs: []
# Local times between which the site works, for example ["20:00", "06:00"]; null: at any hour.
opening_hours: null
release_metrics: false
# Fewest patients of a split whose scores may leave, and of a group or class that may be counted.
min_split: 10
min_group: 5
"""


def _plain(value: object) -> str:
    """Returns it without what could end the comment that it stands in."""
    return "".join(character for character in str(value) if character.isprintable())
