"""How fast the listener acknowledges when many send at once, and whether all that it acknowledged is there.

python -m tests.scenarios.pacs.load --senders 50 --images 4 --side 1000
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from client.node.pacs_listen import Listener, ListenSettings
from client.node.pacs_spool import Spool
from tests.exams_as_dicom import ULTRASOUND, source


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--senders", type=int, default=50)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--side", type=int, default=1000)
    wanted = parser.parse_args()
    images = [
        [source("US", shape=(wanted.side, wanted.side)) for _ in range(wanted.images)] for _ in range(wanted.senders)
    ]
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder), 10**11)
        listener = Listener(spool, ListenSettings(title="ONCOFED", callers=("PACS",), port=0))
        port, times, kept = listener.start(), [], []

        def send(group: list) -> None:
            entity = AE(ae_title="PACS")
            entity.add_requested_context(ULTRASOUND, ExplicitVRLittleEndian)
            association = entity.associate("127.0.0.1", port, ae_title="ONCOFED")
            for image in group if association.is_established else ():
                started = time.perf_counter()
                if association.send_c_store(image).get("Status") == 0:
                    kept.append(str(image.SOPInstanceUID))
                times.append(time.perf_counter() - started)
            association.release()

        threads = [threading.Thread(target=send, args=(group,)) for group in images]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - started
        listener.stop()
        there = {str(dcmread(path).SOPInstanceUID) for study in spool.due(-1) for path in study.files}
    ordered = sorted(times)
    print(f"{len(kept)} of {wanted.senders * wanted.images} images acknowledged in {seconds:.1f} s, "
          f"{len(set(kept) - there)} of them lost; seconds an image: median {statistics.median(ordered):.2f}, "
          f"95 % {ordered[int(0.95 * len(ordered))]:.2f}, longest {ordered[-1]:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
