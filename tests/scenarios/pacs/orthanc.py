"""Debian's Orthanc as the PACS of the tests: its own ports on this machine only, no service, gone afterwards."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from pydicom import Dataset

from tests.dicom_tools import UNPACKED, environment, program

SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def until(true: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """Returns the first true value; fails where there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen in {seconds:g} s")


@dataclass
class Orthanc:
    """A PACS that can be started and killed."""

    folder: Path
    listener: int
    http: int = field(default_factory=free_port)
    dicom: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "orthanc.json").write_text(json.dumps(self._settings()))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program("Orthanc"), str(self.folder / "orthanc.json")], env=environment(), stdout=log, stderr=log
            )
        until(self._answers, "the start of Orthanc")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(SECONDS)
            self.process = None

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            return self.get("system") is not None
        except requests.ConnectionError:
            return False

    def _settings(self) -> dict[str, Any]:
        plugin = next(iter([*UNPACKED.glob("usr/lib/orthanc/libOrthancDicomWeb.so*"),
                            *Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so")]))  # fmt: skip
        return {
            "Name": "tests",
            "StorageDirectory": str(self.folder / "store"), "IndexDirectory": str(self.folder / "store"),
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "HttpServerEnabled": True,
            "HttpPort": self.http, "DicomServerEnabled": True, "DicomAet": "ORTHANC", "DicomPort": self.dicom,
            "DicomCheckCalledAet": True, "StableAge": 1, "Plugins": [str(plugin)], "DicomWeb": {"Enable": True},
            "DicomModalities": {"oncofed": ["ONCOFED", "127.0.0.1", self.listener]},
            "DicomAlwaysAllowStore": True, "DicomAlwaysAllowFind": True, "OverwriteInstances": False,
        }  # fmt: skip

    @property
    def web(self) -> str:
        return f"http://127.0.0.1:{self.http}/dicom-web"

    def get(self, path: str) -> Any:
        return requests.get(f"http://127.0.0.1:{self.http}/{path}", timeout=SECONDS).json()

    def post(self, path: str, body: Any) -> Any:
        answer = requests.post(f"http://127.0.0.1:{self.http}/{path}", data=body, timeout=SECONDS)
        assert answer.ok, answer.text
        return answer.json()

    def take(self, files: list[Path]) -> list[str]:
        """Stores images as a scanner would and returns how Orthanc calls them."""
        return [self.post("instances", path.read_bytes())["ID"] for path in files]

    def route(self, instances: list[str]) -> None:
        """Sends images to the listener by C-STORE."""
        self.post("modalities/oncofed/store", json.dumps({"Resources": instances, "Synchronous": True}))

    def series(self, study: str) -> list[Dataset]:
        """Returns what QIDO-RS says of the series of a study."""
        from dicomweb_client.api import DICOMwebClient

        found = DICOMwebClient(self.web).search_for_series(study, fields=["SeriesDescription"])
        return [Dataset.from_json(one) for one in found]

    def modalities(self, study: str) -> list[str]:
        """Returns the modalities of a study's series, sorted."""
        return sorted(str(one.Modality) for one in self.series(study))

    def instances(self, study: str) -> list[Dataset]:
        """Returns the objects of a study by WADO-RS."""
        from dicomweb_client.api import DICOMwebClient

        return list(DICOMwebClient(self.web).retrieve_study(study))
