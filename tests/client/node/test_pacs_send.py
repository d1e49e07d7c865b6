"""Results on their way: kept until the PACS keeps them, each tried again, none in another's way."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE, evt

from client.node.pacs_outbox import Delivery, Outbox, Outcome
from client.node.pacs_send import StorePeer, StowPeer, is_stored, store_peer
from common.errors import UsageError
from tests.client.node.test_daemon import free_port
from tests.client.node.test_pacs_spool import Clock
from tests.exams_as_dicom import ULTRASOUND, source

# pynetdicom leaves sockets of connections that failed to the garbage collector; it runs before the next file.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Exception ignored in. <s:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("collected"),
]

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def small(**tags: Any) -> Dataset:
    return source("US", shape=(8, 8), **tags)


@dataclass
class Pacs:
    """A destination that does as it is told."""

    name: str
    answers: dict[str, Outcome] = field(default_factory=dict)
    default: Outcome = "sent"
    tried: list[str] = field(default_factory=list)

    def send(self, files: Sequence[Path], kept: Callable[[Path], None]) -> Outcome:
        job = files[0].parent.parent.name
        self.tried.append(job)
        outcome = self.answers.get(job, self.default)
        for path in files[: len(files) if outcome == "sent" else 1 if outcome == "refused" else 0]:
            kept(path)
        return outcome


def test_a_job_waits_for_each_destination_apart_and_goes_when_all_have_it(tmp_path: Path) -> None:
    outbox, clock = Outbox(tmp_path), Clock()
    near, far = Pacs("near"), Pacs("far", default="unreachable")
    delivery = Delivery(outbox, [near, far], clock)
    outbox.put("a", [small(), small()], ["near", "far"])
    outbox.put("a", [small()], ["near", "far"])
    assert outbox.waiting == 4 and outbox.has("a"), "a job is written once"
    assert delivery.flush() == {"sent": 1, "refused": 0, "unreachable": 1}
    assert outbox.waiting == 2 and delivery.flush() == {"sent": 0, "refused": 0, "unreachable": 0}
    far.default = "sent"
    clock.now += 5
    assert Outbox(tmp_path).waiting == 2 and delivery.flush()["sent"] == 1
    assert not outbox.has("a") and not any(tmp_path.iterdir())


def test_pauses_grow_and_one_refused_job_does_not_hold_back_the_others(tmp_path: Path) -> None:
    outbox, clock = Outbox(tmp_path), Clock()
    pacs = Pacs("pacs", answers={"bad": "refused"})
    delivery = Delivery(outbox, [pacs], clock)
    for job in ("bad", "good"):
        outbox.put(job, [small(), small(), small()], ["pacs"])
    delivery.flush()
    assert sorted(pacs.tried) == ["bad", "good"] and not outbox.has("good")
    assert len(outbox.files("bad", "pacs")) == 2, "what the PACS took of it is not sent again"
    times = []
    for second in range(2000):
        clock.now = 100.0 + second
        before = len(pacs.tried)
        pacs.answers["bad"] = "unreachable" if second < 1500 else "sent"
        delivery.flush()
        times += [second] * (len(pacs.tried) - before)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert not outbox.has("bad") and 5 < len(times) < 15 and gaps[0] < 10 and max(gaps) <= 600


def test_a_crash_while_a_job_is_written_leaves_no_half_of_it(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)

    class Full(Dataset):
        def save_as(self, *arguments: Any, **options: Any) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="space"):
        outbox.put("a", [small(), Full()], ["pacs"])
    assert not any(tmp_path.iterdir())
    (tmp_path / ".b.partial" / "pacs").mkdir(parents=True)
    (tmp_path / ".b.partial" / "pacs" / "000.dcm").write_bytes(b"half")
    assert Outbox(tmp_path).jobs("pacs") == [] and not any(tmp_path.iterdir())


@contextmanager
def store(statuses: Callable[[Any], int], classes: Sequence[str] = (ULTRASOUND, CAPTURE)) -> Iterator[StorePeer]:
    entity = AE(ae_title="PACS")
    entity.require_called_aet = True
    for one in classes:
        entity.add_supported_context(one, "1.2.840.10008.1.2")
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: statuses(event))]
    )
    assert server is not None
    yield store_peer(f"PACS@127.0.0.1:{server.server_address[1]}", "ONCOFED")
    server.shutdown()


def files_in(folder: Path, objects: list[Dataset]) -> list[Path]:
    outbox = Outbox(folder)
    outbox.put("job", objects, ["pacs"])
    return outbox.files("job", "pacs")


def test_c_store_tells_kept_refused_and_gone_apart(tmp_path: Path) -> None:
    capture = small(SOPClassUID=CAPTURE)
    files, kept = files_in(tmp_path, [small(), capture, small()]), []
    with store(lambda event: 0xA700 if event.request.AffectedSOPClassUID == CAPTURE else 0x0000) as peer:
        assert peer.send(files, kept.append) == "refused" and kept == [files[0], files[2]]
    kept.clear()
    with store(lambda event: 0xB000) as peer:
        assert peer.send(files, kept.append) == "sent" and kept == files, "a warning: it is kept all the same"
    kept.clear()
    with store(lambda event: 0, classes=(ULTRASOUND,)) as peer:
        assert peer.send(files, kept.append) == "refused" and kept == [files[0], files[2]]

    def dies(event: Any) -> int:
        event.assoc.abort()
        return 0

    kept.clear()
    with store(dies) as peer:
        assert peer.send(files, kept.append) == "unreachable" and not kept
    assert peer.send(files, kept.append) == "unreachable", "nobody listens there any more"


@contextmanager
def web(answer: Callable[[], tuple[int, Dataset | None]]) -> Iterator[StowPeer]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = answer()
            text = json.dumps(body.to_json_dict() if body is not None else {}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield StowPeer(f"http://127.0.0.1:{server.server_address[1]}/dicom-web")
    server.shutdown()
    thread.join()
    server.server_close()


def answer(stored: int, failed: int | None) -> Dataset:
    found = Dataset()
    found.ReferencedSOPSequence = [small_reference() for _ in range(stored)]
    if failed is not None:
        found.FailedSOPSequence = [small_reference() for _ in range(failed)]
    return found


def small_reference() -> Dataset:
    found = Dataset()
    found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID = ULTRASOUND, "1.2.3"
    return found


@pytest.mark.parametrize(
    ("stored", "failed", "kept"), [(1, None, True), (1, 0, True), (0, 1, False), (0, 0, False), (0, None, False)]
)
def test_items_of_a_stow_answer_are_counted(stored: int, failed: int | None, kept: bool) -> None:
    assert is_stored(answer(stored, failed)) is kept


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, answer(1, 0), "sent"), (202, answer(0, 1), "refused"), (409, answer(0, 1), "refused"),
        (401, None, "refused"), (503, None, "unreachable"),
    ],
)  # fmt: skip
def test_stow_tells_kept_refused_and_gone_apart(
    status: int, body: Dataset | None, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    files, kept = files_in(tmp_path, [small(), small()]), []
    with web(lambda: (status, body)) as peer:
        assert peer.send(files, kept.append) == outcome
    assert kept == (files if outcome == "sent" else [])
    assert peer.send(files, kept.append) == "unreachable"
    assert [dcmread(path).Modality for path in files] == ["US", "US"]


@pytest.mark.parametrize("text", ["PACS", "PACS@host", "PACS@host:0", "PACS@host:70000", f"{'A' * 17}@host:1", "@h:1"])
def test_a_destination_that_names_no_pacs_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="TITLE@HOST:PORT"):
        store_peer(text, "ONCOFED")
