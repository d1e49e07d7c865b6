"""Whether the site answers: paused until it is resumed, or left for good.

Each is a file in the home, so that a crash or a restart changes nothing. A paused site stays connected and answers
every new request with a refusal; what it was already answering is paid for, and leaves.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from client.site.site_file import SiteFile, SiteHome
from common.canonical import canonical
from common.errors import ConfigError, LedgerError, NetworkError, SiteClosed
from common.services.supervisor import is_held
from common.trust.durable import sync_folder, write_durably
from common.trust.pki import key_fingerprint, public_line
from common.trust.signing import SiteKey

STOP_SECONDS = 60.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """What the site sends to the hub when it leaves.

    Attributes:
        node_key: Fingerprint of the key that the hub should revoke.
        signature: Of all other fields, by the site's key, hex.
    """

    site: str
    time: str
    node_key: str
    signing_key: str
    signature: str = ""

    def text(self) -> bytes:
        """Returns what is signed."""
        return canonical({key: value for key, value in asdict(self).items() if key != "signature"}).encode()


def pause(home: SiteHome) -> None:
    """Has every new request refused from now on; the first pause's time is kept.

    Raises:
        ConfigError: There is no site here.
    """
    home.read()
    if not home.paused.exists():
        write_durably(home.paused, json.dumps({"since": _now()}) + "\n")


def resume(home: SiteHome) -> None:
    """Has requests answered again.

    Raises:
        ConfigError: There is no site here, or it has left.
    """
    home.read()
    check_not_left(home)
    home.paused.unlink(missing_ok=True)
    sync_folder(home.path)


def leave(home: SiteHome, seconds: float = STOP_SECONDS) -> Path:
    """Stops the daemon for good and returns the signed notice for the hub; nothing is deleted.

    Args:
        home: The site that leaves.
        seconds: How long the daemon may take to end; what it was answering is given up.

    Raises:
        ConfigError: There is no site here.
        TrustError: One of its keys cannot be read.
        NetworkError: The daemon still runs; it answers nobody.
    """
    settings = home.read()
    if not home.left.exists():
        write_durably(home.left, json.dumps(asdict(_notice(home, settings)), indent=2) + "\n")
    deadline = time.monotonic() + seconds
    while is_held(home.path / "site.lock"):
        if time.monotonic() > deadline:
            raise NetworkError(f"The daemon still runs after {seconds:g} s, and answers nobody; end it, then try again")
        time.sleep(_POLL_SECONDS)
    _release(home.path / settings.ledger)
    return home.left


def _release(path: Path) -> None:
    """Gives back the budget that is held for studies which will not run here any more."""
    from common.privacy.ledger import Ledger
    from common.privacy.notes import release_everything

    if path.exists():
        with suppress(LedgerError), Ledger(path) as ledger:  # one that is not believed lets nothing train anyway
            for body in release_everything(ledger.rows()):
                ledger.append(body)


def check_not_left(home: SiteHome) -> None:
    """Refuses to work for a site that left.

    Raises:
        ConfigError: It left; says how to come back.
    """
    if home.left.exists():
        raise ConfigError(
            f"This site left its consortium; to come back, ask the hub for a kit and run: oncofed-site join KIT "
            f"--new-keys --home {home.path}"
        )


def check_answers(home: SiteHome) -> None:
    """Refuses a new request while the site is paused or gone.

    Raises:
        SiteClosed: It is; leaves the site as ``unavailable``.
    """
    if home.left.exists():
        raise SiteClosed("The site has left its consortium")
    if home.paused.exists():
        raise SiteClosed("The site is paused; go on with: oncofed-site resume")


def pause_facts(home: SiteHome) -> dict[str, str | None]:
    """Returns since when the site is paused and since when it has left (UTC, ISO), None where it is not."""
    return {"paused_since": _since(home.paused, "since"), "left_since": _since(home.left, "time")}


def _since(path: Path, key: str) -> str | None:
    """Returns what the file says, else when it was written: its presence is what counts."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        return str(found[key])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")


def _notice(home: SiteHome, settings: SiteFile) -> Leave:
    key = SiteKey.open(home.signing_key)
    node_key = key_fingerprint(public_line(home.node_key, settings.name))
    bare = Leave(site=settings.name, time=_now(), node_key=node_key, signing_key=key.public_hex)
    return Leave(**asdict(bare) | {"signature": key.sign(bare.text())})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
