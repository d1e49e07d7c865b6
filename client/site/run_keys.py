"""A site's keys of secure sums: one a run, made at enrolment, gone with the run's last question.

A key lies in a file that only this user can read, beside the digests of the sums that it has masked. A mask hides one
vector: two under the same mask would tell their difference. So a digest is written down, durably, before its mask is
used, and is never used again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import QuestionRefused, TrustError
from common.protocol.secure_sum import RunKey
from common.trust.durable import exclusive
from common.trust.pki import write_private

FOLDER = "sums"


def sum_key(folder: Path) -> Path:
    """Returns where the long-term key is that the other hospitals know.

    It is none of ``keys/``, which the daemon cannot see: those are for people (ADR 7).
    """
    return folder / "site.ed25519"


def forget_all(home: Path) -> int:
    """Removes the keys of all runs; returns how many there were.

    Files that were put back may be older than the masks that were used since. Without a key the next run enrols anew.
    """
    keys = list((home / FOLDER).glob("*.json"))
    for path in keys:
        path.unlink(missing_ok=True)
    return len(keys)


@dataclass(frozen=True, slots=True)
class RunKeys:
    """The key of one run, in a file of the site's home.

    Attributes:
        home: The site's folder.
        run: Identifier of the run.
    """

    home: Path
    run: str

    def made(self) -> RunKey:
        """Returns the key, made on first use."""
        with self._locked():
            if not self._path.exists():
                self._write({"key": RunKey.fresh().secret, "masked": []})
            return RunKey.from_hex(self._read()["key"])

    def held(self) -> RunKey:
        """Returns the key.

        Raises:
            TrustError: There is none: the run has not enrolled here, or is over.
        """
        with self._locked():
            return RunKey.from_hex(self._read()["key"])

    def mask_once(self, digest: str) -> None:
        """Notes, durably, that the key masks the sum with this digest.

        Raises:
            QuestionRefused: It has masked that sum before.
        """
        with self._locked():
            found = self._read()
            if digest in found["masked"]:
                raise QuestionRefused(
                    "The hub asks again for a masked update that is no longer kept; under the same mask another one "
                    "would tell the difference. It may ask for a new attempt"
                )
            self._write({**found, "masked": [*found["masked"], digest]})

    def forget(self) -> None:
        """Removes the key: what it masked can be unmasked by nobody from then on."""
        with self._locked():
            self._path.unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return self.home / FOLDER / f"{hashlib.sha256(self.run.encode()).hexdigest()}.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folder = self.home / FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with exclusive(folder / "lock"):
            yield

    def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
            return {"key": str(found["key"]), "masked": list(found["masked"])}
        except FileNotFoundError:
            raise TrustError("This site holds no key of that run for secure sums; the hub must enrol it anew") from None
        except (OSError, ValueError, KeyError, TypeError):
            raise TrustError(f"{self._path} is damaged; end the run, then delete it") from None

    def _write(self, document: Mapping[str, Any]) -> None:
        write_private(self._path, json.dumps(document).encode())
