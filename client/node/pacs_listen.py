"""The C-STORE listener: an image is written to the spool, then acknowledged; nothing else is done while a PACS waits.

pynetdicom runs each association in a thread. A handler that decodes or scores holds up all the others, so the bytes are
written as they came, and a loop reads them later.
"""

from __future__ import annotations

import dataclasses
import io
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from client.node.pacs_spool import Spool, SpoolFull
from common.errors import ConfigError, DataError, UsageError

SUCCESS, OUT_OF_RESOURCES, MISMATCH, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000
"""Statuses of C-STORE (PS3.4 table B.2-1)."""
MOST_ASSOCIATIONS = 64
PDU_BYTES = 1 << 17
"""Longest piece that is taken; the usual 16 KiB make a mammogram slow."""
IMAGES = (
    "1.2.840.10008.5.1.4.1.1.6.1",
    "1.2.840.10008.5.1.4.1.1.3.1",
    "1.2.840.10008.5.1.4.1.1.1.2",
    "1.2.840.10008.5.1.4.1.1.1.2.1",
)
"""Ultrasound (one image, several), mammograms (for presentation, for processing). Secondary captures are not taken:
so a PACS that sends us our own results in a circle is refused."""
_UID = "1.2.840.10008.1.2"
SYNTAXES = tuple(
    _UID + rest
    for rest in (".1", "", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91", ".5", ".2")
)
"""Uncompressed, JPEG, JPEG-LS, JPEG 2000, RLE: what the reader reads."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ListenSettings:
    """Where and to whom the listener listens.

    Attributes:
        title: Our AE title; a caller must name it.
        callers: AE titles that may send; at least one.
        host: Address to listen at.
        port: Port; 0: any free one.
        tls: Context of the connections; None: they are not encrypted.
    """

    title: str
    callers: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = 11112
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        """Holds the names to DICOM's.

        Raises:
            UsageError: A title is none, or nobody may send.
        """
        if not self.callers:
            raise UsageError("Name who may send, by AE title: --from TITLE; without a list every device could")
        for title in (self.title, *self.callers):
            if not title.strip() or len(title) > 16 or "\\" in title or not title.isascii() or not title.isprintable():
                raise UsageError(f"{title!r} is no AE title; expected 1 to 16 ASCII characters without backslash")


class Listener:
    """Takes images until it is stopped.

    Attributes:
        counts: Images acknowledged, refused because the spool is full, and not understood.
    """

    def __init__(self, spool: Spool, settings: ListenSettings) -> None:
        self._spool, self._settings, self._server, self._lock = spool, settings, None, threading.Lock()
        self.counts = {"kept": 0, "full": 0, "wrong": 0}

    def start(self) -> int:
        """Returns the port at which it listens now.

        Raises:
            ConfigError: The address cannot be listened at.
        """
        from pynetdicom import evt

        place = (self._settings.host, self._settings.port)
        handlers = [(evt.EVT_C_STORE, self._store)]
        try:
            self._server = self._entity().start_server(
                place, block=False, ssl_context=self._settings.tls, evt_handlers=handlers
            )
        except OSError as error:
            where = f"{place[0]}:{place[1]}"
            raise ConfigError(f"Nothing can listen at {where} ({error.strerror}); choose another --port") from None
        port: int = self._server.server_address[1]  # type: ignore[attr-defined]
        return port

    def stop(self) -> None:
        """Takes no more; associations that are open are aborted, and their senders send again."""
        if self._server is not None:
            self._server.shutdown()
            self._server.ae.shutdown()

    def _entity(self) -> Any:
        from pynetdicom import AE
        from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

        entity = AE(ae_title=self._settings.title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(self._settings.callers)
        entity.maximum_associations, entity.maximum_pdu_size = MOST_ASSOCIATIONS, PDU_BYTES
        for one in IMAGES:
            entity.add_supported_context(one, list(SYNTAXES))
        entity.add_supported_context(Verification)
        return entity

    def _store(self, event: Any) -> int:
        status, counted = self._kept(event)
        with self._lock:
            self.counts[counted] += 1
        return status

    def _kept(self, event: Any) -> tuple[int, str]:
        try:
            image = event.encoded_dataset()
            uids = identifiers(image)
        except Exception:  # pydicom raises nearly every built-in error on damaged bytes
            return NOT_UNDERSTOOD, "wrong"
        request = event.request
        wanted = (str(request.AffectedSOPInstanceUID), str(request.AffectedSOPClassUID))
        if (uids["SOPInstanceUID"], uids["SOPClassUID"]) != wanted:
            return MISMATCH, "wrong"
        try:
            self._spool.put(uids["StudyInstanceUID"], uids["SOPInstanceUID"], image)
        except (SpoolFull, DataError):
            return OUT_OF_RESOURCES, "full"
        return SUCCESS, "kept"


def identifiers(image: bytes) -> Mapping[str, str]:
    """Returns the UIDs of the study, the instance and its class, of a DICOM file.

    Raises:
        ValueError: One is missing.
        Exception: Of nearly every built-in kind, by pydicom, on damaged bytes.
    """
    from pydicom import dcmread

    from common.data.pixels.dicom_file import quiet

    names = ["StudyInstanceUID", "SOPInstanceUID", "SOPClassUID"]
    with quiet():
        tags = dcmread(io.BytesIO(image), stop_before_pixels=True, specific_tags=list(names))
        found = {name: str(tags.get(name) or "") for name in names}
    if not all(found.values()):
        raise ValueError("a UID is missing")
    return found


def server_context(certificate: Path, key: Path, authority: Path | None) -> ssl.SSLContext:
    """Returns the context of a listener; with ``authority`` a caller must show a certificate that it signed.

    Raises:
        ConfigError: A file holds no certificate or key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, certificate, key, authority)
    if authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(certificate: Path, key: Path, authority: Path | None) -> ssl.SSLContext:
    """Returns the context towards a PACS, whose certificate must be of ``authority``, or of the system's where None.

    Raises:
        ConfigError: A file holds no certificate or key.
    """
    context = ssl.create_default_context()
    _load(context, certificate, key, authority)
    return context


def _load(context: ssl.SSLContext, certificate: Path, key: Path, authority: Path | None) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        if authority is not None:
            context.load_verify_locations(authority)
    except (OSError, ssl.SSLError):
        raise ConfigError("The TLS files cannot be used; name a PEM certificate, its key and the authority") from None
