"""``oncofed-site listen``: exams come from a PACS by C-STORE, results go back to it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.privacy import Home
from common.cli.guard import say

if TYPE_CHECKING:
    import ssl

    from client.node.pacs import Loop
    from client.node.pacs_listen import Listener

TICK_SECONDS = 0.5
LOCK = "listen.lock"


def register(app: typer.Typer) -> None:
    """Adds the command to ``app``."""
    app.command()(listen)


def listen(
    callers: Annotated[
        list[str], typer.Option("--from", metavar="TITLE", help="AE title that may send; again for more.")
    ],
    stores: Annotated[
        list[str] | None, typer.Option("--to", metavar="TITLE@HOST:PORT", help="PACS that gets results by C-STORE.")
    ] = None,
    stows: Annotated[
        list[str] | None, typer.Option("--stow", metavar="URL", help="DICOMweb service that gets results.")
    ] = None,
    title: Annotated[str, typer.Option("--title", help="AE title of this listener.")] = "ONCOFED",
    host: Annotated[str, typer.Option(help="Address to listen at; only this machine unless another is named.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one.")] = 11112,
    quiet: Annotated[float, typer.Option(min=0, help="Seconds without an image after which a study is read.")] = 30,
    keep: Annotated[float, typer.Option(min=0, help="Seconds that images stay after they were read.")] = 3600,
    limit: Annotated[float, typer.Option("--spool-gb", min=0.001, help="Gigabytes of images kept at most.")] = 20,
    spool: Annotated[
        Path | None, typer.Option(help="Folder of images and results [default: pacs/ at the site].", show_default=False)
    ] = None,
    package: Annotated[
        Path | None, typer.Option(help="Folder of a model package [default: the active one].", show_default=False)
    ] = None,
    segment: Annotated[bool, typer.Option("--segmentation", help="Write the attention map as DICOM SEG too.")] = False,
    certificate: Annotated[Path | None, typer.Option("--tls-certificate", help="PEM file.", show_default=False)] = None,
    key: Annotated[Path | None, typer.Option("--tls-key", help="PEM file.", show_default=False)] = None,
    authority: Annotated[
        Path | None, typer.Option("--tls-authority", help="PEM file: who signs the others.", show_default=False)
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Processor threads of the network.")] = 1,
    home: Home = None,
) -> None:
    """Take exams from a PACS, read each with the active model, send results back. Research use only.

    An image is acknowledged once it is on the disk. A full spool refuses (A700). Results wait on the disk until the
    PACS keeps them. Ends at SIGTERM; what is unfinished is taken up at the next start.

    Examples:
      oncofed-site listen --from ORTHANC --to ORTHANC@127.0.0.1:4242

      oncofed-site listen --from PACS --stow http://127.0.0.1:8042/dicom-web --package packages/busbra
    """
    from client.node.pacs_listen import Listener, ListenSettings
    from client.site.site_file import site_home
    from common.data.pixels.dicom_file import quiet as silence
    from common.errors import ConfigError
    from common.services.supervisor import only_one
    from common.trust.durable import make_folder

    site = site_home(home).path
    folder = spool if spool is not None else site / "pacs"
    if spool is None and not site.is_dir():
        raise ConfigError(f"There is no site at {site}; name a folder for images and results with --spool")
    secure = _secure(certificate, key, authority)
    settings = ListenSettings(title=title, callers=tuple(callers), host=host, port=port, tls=secure[0])
    make_folder(folder)
    with only_one(folder / LOCK), silence():
        loop = _loop(site, folder, package, (stores or [], stows or []), (title, secure[1], authority), limit,
                     (quiet, keep), segment, threads)  # fmt: skip
        listener = Listener(loop.spool, settings)
        _begin(listener.start(), settings.host, secure[0] is not None, loop)
        try:
            _run(loop, listener)
        finally:
            listener.stop()


def _secure(
    certificate: Path | None, key: Path | None, authority: Path | None
) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    from client.node.pacs_listen import client_context, server_context
    from common.errors import UsageError

    if certificate is None and key is None:
        return None, None
    if certificate is None or key is None:
        raise UsageError("Name both --tls-certificate and --tls-key")
    return server_context(certificate, key, authority), client_context(certificate, key, authority)


def _loop(
    site: Path, folder: Path, package: Path | None, peers: tuple[list[str], list[str]],
    calling: tuple[str, ssl.SSLContext | None, Path | None], limit: float, pace: tuple[float, float], segment: bool,
    threads: int,
) -> Loop:  # fmt: skip
    import time

    from client.node.pacs import Loop, Pace
    from client.node.pacs_outbox import Delivery, Destination, Outbox
    from client.node.pacs_read import StudyReader, device_uid
    from client.node.pacs_send import StowPeer, store_peer
    from client.node.pacs_spool import Spool
    from client.site.packages import RECORDS
    from client.site.predicting import InUse
    from common.errors import UsageError
    from common.inference.dicom_origin import Device

    destinations: list[Destination] = [
        *(store_peer(text, calling[0], calling[1]) for text in peers[0]),
        *(StowPeer(url.rstrip("/"), calling[2]) for url in peers[1]),
    ]
    if not destinations:
        raise UsageError("Name a PACS that gets the results: --to TITLE@HOST:PORT or --stow URL")
    device = Device(device_uid(folder), calling[0])
    using = InUse(site, package, threads, folder / RECORDS, meanwhile="exams wait in the spool")
    reader = StudyReader(using, device, segment)
    problem = reader.using().problem
    if problem:
        say(problem)
    delivery = Delivery(Outbox(folder / "outbox"), destinations, time.monotonic)
    kept = Spool(folder, int(limit * 1e9))
    return Loop(kept, delivery, reader, Pace(quiet=pace[0], keep=pace[1]), time.monotonic)


def _begin(port: int, host: str, secure: bool, loop: Loop) -> None:
    from common.notice import RESEARCH_USE

    say(f"{RESEARCH_USE}. Listening at {host}:{port}{', with TLS' if secure else ', not encrypted'}.")
    say(f"{loop.spool.waiting} studies and {loop.delivery.outbox.waiting} results wait from before.")
    print(port, flush=True)


def _run(loop: Loop, listener: Listener) -> None:
    """Works until it is told to stop; says what changed, in counts only."""
    import time
    from collections import Counter

    from common.services.supervisor import Stop

    stop, totals, told = Stop(), Counter[str](), ""
    while not stop.asked:
        totals.update(loop.turn())
        line = (
            f"images: {listener.counts['kept']} kept, {listener.counts['full']} refused, {listener.counts['wrong']} "
            f"not understood; studies: {totals['read']} read, {totals['without']} without a report, {totals['failed']} "
            f"failed, {loop.spool.waiting} wait; results: {totals['sent']} sent, {totals['refused']} refused, "
            f"{loop.delivery.outbox.waiting} objects wait"
        )
        if line != told:
            print(f"{line}{f'; last error {loop.last_error}' if loop.last_error else ''}", file=sys.stderr, flush=True)
        told = line
        time.sleep(TICK_SECONDS)
