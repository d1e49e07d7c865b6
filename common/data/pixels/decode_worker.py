"""The process that runs native decoders, so that a damaged file can end it and nothing else.

Started by path, it imports nothing of OncoFed. It reads one JSON request a line from standard input and answers each
with one JSON line on standard output, followed by the bytes of the array when there is one.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from typing import Any, BinaryIO


def main() -> None:
    """Answers requests until standard input ends."""
    # Whatever a decoder prints must not mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    warnings.simplefilter("ignore")
    for line in sys.stdin.buffer:
        _answer(json.loads(line), answers)


def _answer(request: dict[str, Any], answers: BinaryIO) -> None:
    _bound_memory(int(request["bytes"]))
    try:
        array = _JOBS[request["job"]](request)
        head = {"shape": array.shape, "dtype": array.dtype.str}
        body = array.tobytes()
    # Decoders and h5py raise whatever a damaged byte leads them to.
    except Exception as error:
        head, body = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}, b""
    answers.write(json.dumps(head).encode() + b"\n")
    answers.write(body)
    answers.flush()


def _bound_memory(size: int) -> None:
    """Lets this process have at most ``size`` bytes of addresses."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _dicom(request: dict[str, Any]) -> Any:
    import pydicom
    from pydicom.pixels.utils import pixel_array

    # Without a preamble too: whoever asks has looked at the file.
    return pixel_array(pydicom.dcmread(request["path"], force=True))


def _h5_shape(request: dict[str, Any]) -> Any:
    import h5py
    import numpy as np

    with h5py.File(request["path"], "r") as file:
        return np.array(file[request["name"]].shape, dtype=np.int64)


def _h5_rows(request: dict[str, Any]) -> Any:
    import h5py

    with h5py.File(request["path"], "r") as file:
        return file[request["name"]][request["start"] : request["stop"]]


_JOBS = {"dicom": _dicom, "h5_shape": _h5_shape, "h5_rows": _h5_rows}

if __name__ == "__main__":
    main()
