"""A released model as a package for departments, signed by the hub; only what the run had released stands in it."""

from __future__ import annotations

from pathlib import Path

from common.errors import ConfigError, ModelError
from server.hub.home import HubHome

FOLDER = "package"
SIGNER = "hub"


def package(home: HubHome, run: Path, release: Path) -> tuple[str | None, str]:
    """Returns the digest of the package that it wrote below ``release``, or None and why there is none.

    The release holds without it: models of tables have none, nor has a run whose network cannot be built here. No
    appearance reference is written, for hospitals released none.

    Args:
        home: The hub, whose key signs the package.
        run: Folder of the run.
        release: Folder of its release, which was made before.

    Raises:
        TrustError: The hub's key is damaged.
    """
    from common.inference.signatures import sign_package
    from common.inference.writing import Wishes, write_package
    from common.trust.signing import SiteKey

    key = SiteKey.open(home.signing_key)
    try:
        made = write_package(run, release / FOLDER, Wishes(emulated=False))
    except (ModelError, ConfigError) as error:
        return None, str(error)
    sign_package(made.folder, made.digest, SIGNER, key)
    return made.digest, ""
