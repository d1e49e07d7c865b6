"""Results to a PACS: by C-STORE (PS3.7 section 9.1.1) or by DICOMweb STOW-RS (PS3.18 section 10.5)."""

from __future__ import annotations

import dataclasses
import re
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from client.node.pacs_outbox import Outcome
from common.errors import UsageError

if TYPE_CHECKING:
    from pydicom import Dataset

SECONDS = 20
"""How long an answer is waited for."""
SUCCESS, WARNINGS = 0x0000, range(0xB000, 0xC000)
"""Statuses of C-STORE under which the PACS keeps the object (PS3.4 table B.2-1)."""


@dataclasses.dataclass(frozen=True, slots=True)
class StorePeer:
    """A PACS that takes C-STORE.

    Attributes:
        title: Its AE title.
        host: Its address.
        port: Its port.
        calling: Our AE title.
        tls: Context of the connection; None: it is not encrypted.
    """

    title: str
    host: str
    port: int
    calling: str
    tls: ssl.SSLContext | None = None

    @property
    def name(self) -> str:
        """Its own among the destinations."""
        return re.sub(r"[^\w.-]", "_", f"store-{self.title}-{self.host}-{self.port}")

    def send(self, files: Sequence[Path], kept: Callable[[Path], None]) -> Outcome:
        """Sends the files over one association."""
        from pydicom import dcmread

        objects = [(path, dcmread(path)) for path in files]
        association = self._associate({str(one.SOPClassUID) for _, one in objects})
        if not association.is_established:
            return "unreachable"
        try:
            return self._stored(association, objects, kept)
        finally:
            association.release()

    def _stored(
        self, association: Any, objects: Sequence[tuple[Path, Dataset]], kept: Callable[[Path], None]
    ) -> Outcome:
        refused = False
        for path, one in objects:
            try:
                status = association.send_c_store(one).get("Status")
            except (ValueError, AttributeError):  # the PACS takes no object of this class
                status = 0x0122
            except RuntimeError:
                status = None  # the association is gone
            if status is None:
                return "unreachable"
            if status == SUCCESS or status in WARNINGS:
                kept(path)
            else:
                refused = True
        return "refused" if refused else "sent"

    def _associate(self, classes: set[str]) -> Any:
        from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
        from pynetdicom import AE

        entity = AE(ae_title=self.calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = SECONDS
        for one in sorted(classes):
            for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
                entity.add_requested_context(one, syntax)
        secure = None if self.tls is None else (self.tls, self.host)
        return entity.associate(self.host, self.port, ae_title=self.title, tls_args=secure)


@dataclasses.dataclass(frozen=True, slots=True)
class StowPeer:
    """A PACS that takes STOW-RS.

    Attributes:
        url: Of its DICOMweb service.
        authority: File of certificates that may have signed its own; None: those of the system.
    """

    url: str
    authority: Path | None = None

    @property
    def name(self) -> str:
        """Its own among the destinations."""
        return re.sub(r"[^\w.-]", "_", f"stow-{urlsplit(self.url).netloc}{urlsplit(self.url).path}")

    def send(self, files: Sequence[Path], kept: Callable[[Path], None]) -> Outcome:
        """Sends the files one by one, so that one refused object does not hold back the others."""
        from pydicom import dcmread
        from requests import ConnectionError, HTTPError, RequestException, Timeout

        client, refused = self._client(), False
        for path in files:
            try:
                stored = is_stored(client.store_instances([dcmread(path)]))
            except (ConnectionError, Timeout):
                return "unreachable"
            except HTTPError as error:
                if error.response is None or error.response.status_code >= 500:
                    return "unreachable"
                stored = False
            except (RequestException, ValueError):
                stored = False
            if stored:
                kept(path)
            refused = refused or not stored
        return "refused" if refused else "sent"

    def _client(self) -> Any:
        from dicomweb_client.api import DICOMwebClient
        from requests import Session

        session = Session()
        session.trust_env = False  # results go to the PACS and to no proxy of the environment
        if self.authority is not None:
            session.verify = str(self.authority)
        client = DICOMwebClient(self.url, session=session, timeout=SECONDS)
        client.set_http_retry_params(retry=False)
        return client


def is_stored(answer: Dataset) -> bool:
    """Returns whether a PACS keeps the object of a request with one.

    An answer may carry a FailedSOPSequence without an item (Orthanc 1.10 does), so items are counted.
    """
    return not len(answer.get("FailedSOPSequence") or ()) and bool(len(answer.get("ReferencedSOPSequence") or ()))


def store_peer(text: str, calling: str, tls: ssl.SSLContext | None = None) -> StorePeer:
    """Returns the PACS that ``TITLE@HOST:PORT`` names.

    Raises:
        UsageError: The text names none.
    """
    found = re.fullmatch(r"([^@\\\s]{1,16})@([^@\s]+):(\d{1,5})", text)
    if found is None or not 0 < int(found[3]) < 65536:
        raise UsageError(f"{text!r} names no PACS; expected TITLE@HOST:PORT, as in ORTHANC@127.0.0.1:4242")
    return StorePeer(found[1], found[2].strip("[]"), int(found[3]), calling, tls)
