"""The listener: who may send, what is acknowledged, and what a sender hears otherwise."""

from __future__ import annotations

import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid
from pynetdicom import AE

from client.node.pacs_listen import IMAGES, Listener, ListenSettings, client_context, identifiers, server_context
from client.node.pacs_spool import Spool
from common.errors import ConfigError, UsageError
from common.trust.pki import (
    certificate_builder,
    certificate_text,
    common_name,
    create_authority,
    issue_server,
    pkcs8,
    read_certificate,
)
from tests.exams_as_dicom import ULTRASOUND, source, write_exam

# pynetdicom leaves sockets of connections that failed to the garbage collector; it runs before the next file.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Exception ignored in. <s:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("collected"),
]

SETTINGS = {"title": "ONCOFED", "callers": ("PACS",), "port": 0}


@contextmanager
def listening(folder: Path, limit: int = 10**9, **changes: Any) -> Iterator[tuple[int, Listener, Spool]]:
    spool = Spool(folder, limit)
    listener = Listener(spool, ListenSettings(**(SETTINGS | changes)))
    yield listener.start(), listener, spool
    listener.stop()


def sent(
    port: int, images: list[Dataset], *, calling: str = "PACS", called: str = "ONCOFED", tls: Any = None
) -> list[int]:
    """Returns the statuses of images sent over one association; none where there is no association."""
    entity = AE(ae_title=calling)
    entity.add_requested_context(ULTRASOUND, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title=called, tls_args=tls and (tls, "127.0.0.1"))
    if not association.is_established:
        return []
    found = [int(association.send_c_store(image).Status) for image in images]
    association.release()
    return found


def small(**tags: Any) -> Dataset:
    return source("US", shape=(16, 16), **tags)


def test_an_image_is_kept_as_it_was_sent(tmp_path: Path) -> None:
    image = small(PatientName="Müller^Zoë", SpecificCharacterSet="ISO_IR 192")
    with listening(tmp_path) as (port, listener, spool):
        assert sent(port, [image, image]) == [0, 0]
        (study,) = spool.due(-1)
        kept = dcmread(study.files[0])
    assert kept.PatientName == image.PatientName and kept.PixelData == image.PixelData
    assert kept.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert listener.counts == {"kept": 2, "full": 0, "wrong": 0} and len(study.files) == 1


def test_only_named_callers_may_send_and_they_must_name_the_listener(tmp_path: Path) -> None:
    with listening(tmp_path) as (port, listener, _):
        assert sent(port, [small()], calling="OTHER") == sent(port, [small()], called="ANY-SCP") == []
        assert sent(port, [small()]) == [0]
    assert listener.counts["kept"] == 1


@pytest.mark.parametrize(
    "changes", [{"callers": ()}, {"callers": ("",)}, {"title": "A" * 17}, {"callers": ("A\\B",)}, {"title": "Ä"}]
)
def test_a_list_that_lets_everybody_in_and_odd_titles_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ListenSettings(**(SETTINGS | changes))
    assert ListenSettings(**SETTINGS).host == "127.0.0.1"


def test_what_is_no_image_has_no_context(tmp_path: Path) -> None:
    report, capture = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.7"
    with listening(tmp_path) as (port, _, _):
        entity = AE(ae_title="PACS")
        for one in (*IMAGES, report, capture):
            entity.add_requested_context(one, [ExplicitVRLittleEndian, JPEG2000Lossless])
        association = entity.associate("127.0.0.1", port, ae_title="ONCOFED")
        assert {one.abstract_syntax for one in association.accepted_contexts} == set(IMAGES)
        association.release()


def test_what_cannot_be_kept_is_not_acknowledged(tmp_path: Path) -> None:
    nameless = small()
    del nameless.StudyInstanceUID
    with listening(tmp_path, limit=3000) as (port, listener, spool):
        assert sent(port, [nameless]) == [0xC000]
        assert sent(port, [small(), small(), small(), small(), small()])[-1] == 0xA700
        assert listener.counts["kept"] == sum(len(study.files) for study in spool.due(-1)) > 0
        assert listener.counts["wrong"] == 1 and listener.counts["full"] > 0


def test_an_image_under_the_name_of_another_is_refused(tmp_path: Path) -> None:
    spool, image = Spool(tmp_path / "spool", 10**9), small()
    data = write_exam(tmp_path, [image])[0].read_bytes()

    class Request:
        AffectedSOPInstanceUID, AffectedSOPClassUID = generate_uid(), image.SOPClassUID

    class Event:
        request = Request()

        def encoded_dataset(self) -> bytes:
            return data

    listener = Listener(spool, ListenSettings(**SETTINGS))
    assert listener._store(Event()) == 0xA900 and spool.waiting == 0
    assert identifiers(data)["SOPInstanceUID"] == image.SOPInstanceUID


def test_fifty_associations_at_once_lose_nothing(tmp_path: Path) -> None:
    studies = [generate_uid() for _ in range(10)]
    images = [[small(StudyInstanceUID=studies[number % 10]) for _ in range(4)] for number in range(50)]
    answers: list[list[int]] = [[] for _ in images]

    def send(number: int, port: int) -> None:
        answers[number] = sent(port, images[number])

    with listening(tmp_path) as (port, listener, spool):
        threads = [threading.Thread(target=send, args=(number, port)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kept = {str(dcmread(path).SOPInstanceUID) for study in spool.due(-1) for path in study.files}
    acknowledged = {
        str(image.SOPInstanceUID)
        for group, statuses in zip(images, answers, strict=True)
        for image, status in zip(group, statuses, strict=False)
        if status == 0
    }
    assert kept == acknowledged and len(kept) == 200, Counter(map(len, answers))
    assert listener.counts == {"kept": 200, "full": 0, "wrong": 0} and spool.waiting == 10


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """An authority, the listener's certificate, and a scanner's."""
    create_authority(tmp_path / "ca.key", tmp_path / "ca.crt", "hospital")
    issue_server(tmp_path / "ca.key", tmp_path / "ca.crt", ["127.0.0.1"],
                 key=tmp_path / "server.key", certificate=tmp_path / "server.crt")  # fmt: skip
    authority = load_pem_private_key((tmp_path / "ca.key").read_bytes(), None)
    private = ec.generate_private_key(ec.SECP384R1())
    issuer = read_certificate(tmp_path / "ca.crt")
    built = certificate_builder(common_name("scanner"), issuer.subject, private.public_key(), 10)
    assert isinstance(authority, ec.EllipticCurvePrivateKey)
    (tmp_path / "scanner.crt").write_text(certificate_text(built.sign(authority, hashes.SHA384())))
    (tmp_path / "scanner.key").write_bytes(pkcs8(private))
    return tmp_path


def test_with_tls_only_a_certificate_of_the_authority_sends(keys: Path, tmp_path: Path) -> None:
    server = server_context(keys / "server.crt", keys / "server.key", keys / "ca.crt")
    with listening(tmp_path / "spool", tls=server) as (port, listener, _):
        known = client_context(keys / "scanner.crt", keys / "scanner.key", keys / "ca.crt")
        assert sent(port, [small()], tls=known) == [0]
        nobody = ssl.create_default_context(cafile=str(keys / "ca.crt"))
        assert sent(port, [small()], tls=nobody) == []
        assert sent(port, [small()]) == []
    assert listener.counts["kept"] == 1
    with pytest.raises(ConfigError, match="TLS"):
        server_context(keys / "ca.crt", keys / "server.key", None)


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with listening(tmp_path / "a") as (port, _, _), pytest.raises(ConfigError, match="--port"):
        Listener(Spool(tmp_path / "b", 1), ListenSettings(**(SETTINGS | {"port": port}))).start()
