"""The model packages that a hospital keeps, which of them is active, and what it measured with them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import ConfigError, ModelError, TrustError
from common.trust.durable import make_folder, sync_folder

if TYPE_CHECKING:
    from common.inference.package import Package

FOLDER, RECORDS = "models", "records.jsonl"


@dataclasses.dataclass(frozen=True, slots=True)
class Pointer:
    """Digests of the active package and of the one that runs beside it in silence; None: there is none."""

    active: str | None
    shadow: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class KeptPackages:
    """A folder with a folder for each package, called by its digest.

    Args:
        home: The site's folder.
    """

    home: Path

    @property
    def path(self) -> Path:
        """Where the packages are."""
        return self.home / FOLDER

    @property
    def records(self) -> Path:
        """Where each prediction leaves a line."""
        return self.home / RECORDS

    def pins(self, given: Mapping[str, str]) -> dict[str, str]:
        """Returns the keys that must have signed a package: the hub's, where the site knows it, and those given.

        Raises:
            TrustError: The site's copy of the hub's key is damaged.
        """
        from client.site.proof import pinned_hub

        hub = self.home / "hub.key"
        return ({"hub": pinned_hub(hub)} if hub.exists() else {}) | dict(given)

    def add(self, source: Path, keys: Mapping[str, str]) -> Package:
        """Returns the package that was copied, after everything of it was checked.

        Raises:
            ModelError, TrustError: It is refused (:func:`common.inference.package.load_package`).
        """
        from common.inference.package import load_package

        package = load_package(source, datetime.now(UTC), keys)
        if package.personal is not None:
            raise TrustError(
                f"This is the personal model of {package.personal.site}, which must not leave that hospital and is "
                "made where it is used: oncofed-site model personal"
            )
        target, partial = self.path / package.digest, self.path / f".{package.digest}.partial"
        if target.exists():
            raise ConfigError(f"This site has the package {package.digest[:16]} already")
        make_folder(self.path)
        shutil.rmtree(partial, ignore_errors=True)
        _copy(source, partial, package.manifest.files)
        copied = load_package(partial, datetime.now(UTC), keys)
        if copied.digest != package.digest:
            raise ModelError(f"{source} changed while it was copied; copy it again")
        partial.replace(target)
        sync_folder(self.path)
        return dataclasses.replace(copied, folder=target)

    def digests(self) -> list[str]:
        """Returns the digests of all that are kept, sorted."""
        return sorted(one.name for one in self.path.glob("[!.]*") if one.is_dir())

    def folder(self, start: str) -> Path:
        """Returns the folder of the one package whose digest begins so.

        Raises:
            ConfigError: There is none, or more than one.
        """
        found = [digest for digest in self.digests() if start and digest.startswith(start)]
        if len(found) != 1:
            known = ", ".join(digest[:16] for digest in self.digests()) or "none"
            raise ConfigError(f"{len(found)} packages of this site begin with {start!r}; it has {known}")
        return self.path / found[0]

    def load(self, digest: str, threads: int = 1) -> Package:
        """Returns a kept package, checked again.

        Raises:
            ConfigError: The site has no such package.
            ModelError, TrustError: It is refused.
        """
        from common.inference.package import load_package

        package = load_package(self.folder(digest), datetime.now(UTC), threads=threads)
        if not package.digest.startswith(digest):
            raise TrustError(f"{package.folder} holds the package {package.digest[:16]}; add it again")
        return package

    def pointer(self) -> Pointer:
        """Returns which packages are in use; none where there is no pointer.

        Raises:
            TrustError: The pointer is damaged, not signed by this site, or not the journal's latest.
        """
        from client.site.lifecycle.registry import SiteRegistry

        return Pointer(*SiteRegistry(self.home).pointed())


def _copy(source: Path, target: Path, files: Iterable[str]) -> None:
    """Copies what the package names and its signatures: no link, and nothing that somebody else put beside them."""
    from common.inference.manifest import FILE
    from common.inference.signatures import signature_files

    signatures = [path.relative_to(source).as_posix() for path in signature_files(source)]
    for name in (FILE, *files, *signatures):
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, place, follow_symlinks=False)
