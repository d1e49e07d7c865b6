"""The key with which a hub signs its requests: made, shown, made anew."""

from __future__ import annotations

import time

from common.errors import ConfigError
from common.services.supervisor import is_held, only_one
from common.trust.signing import SiteKey
from server.hub.home import HubHome


def public_key(home: HubHome) -> str:
    """Returns the public key (hex) with which the hub signs requests; an older hub gets its key now.

    Raises:
        TrustError: The private key is damaged, or other users can read it.
    """
    return SiteKey.open(home.signing_key).public_hex


def renew_signing_key(home: HubHome) -> str:
    """Returns the public half of a new key for requests; the old one is put aside, and sites must pin the new one.

    Raises:
        ConfigError: The hub runs.
    """
    if is_held(home.lock):
        raise ConfigError(f"The hub in {home.path} runs; stop it, run oncofed-hub key --new, then start it again")
    with only_one(home.lock):
        if home.signing_key.exists():
            home.signing_key.replace(home.signing_key.with_name(f"{home.signing_key.name}.{time.time_ns()}.old"))
        return public_key(home)
