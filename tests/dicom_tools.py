"""Programs of others that read and serve DICOM, Debian's, as .ci/packages unpacks them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

UNPACKED = Path(__file__).parents[1] / ".pacs"


def environment() -> dict[str, str]:
    """Returns the variables under which the unpacked programs find their libraries and their dictionary."""
    libraries = {str(path.parent) for path in UNPACKED.glob("**/lib/**/*.so*")}
    dictionaries = [*UNPACKED.glob("usr/share/libdcmtk*/dicom.dic"), *Path("/usr/share").glob("libdcmtk*/dicom.dic")]
    return os.environ | {
        "LD_LIBRARY_PATH": os.pathsep.join(sorted(libraries)),
        "DCMDICTPATH": str(dictionaries[0]) if dictionaries else "",
    }


def program(name: str) -> str:
    """Returns the path of a program.

    Raises:
        AssertionError: It is not here.
    """
    places = os.pathsep.join([str(UNPACKED / "usr/bin"), str(UNPACKED / "usr/sbin"), os.environ["PATH"], "/usr/sbin"])
    found = shutil.which(name, path=places)
    assert found, f"{name} is not here; run: make packages"
    return found


def output(name: str, *arguments: object) -> str:
    """Returns what a program says, on both streams, whatever it ends with."""
    command = [program(name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, env=environment(), timeout=60)
    return (done.stdout + done.stderr).decode(errors="replace")


def errors(path: Path) -> list[str]:
    """Returns the errors that dciodvfy finds in a DICOM file."""
    said = output("dciodvfy", path)
    assert said.strip(), "dciodvfy names the class of every file that it judges, and said nothing"
    return [line for line in said.splitlines() if line.startswith("Error")]
