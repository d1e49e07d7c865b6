"""Makes one site lie: what Python imports first, where PYTHONPATH names this folder, in that site's processes only.

The worker's own code stays as installed, so its digest is the true one; only what it sends is changed at the last
moment, as the file ``lie`` in the site's home says when the request is answered.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def _lie(arrays: Any, kind: str) -> Any:
    import numpy as np

    first = sorted(arrays)[0]
    changed = {name: np.array(value) for name, value in arrays.items()}
    if kind == "nan":
        changed[first].flat[0] = np.nan
    elif kind == "huge":
        changed = {name: np.full_like(value, 1e30) for name, value in changed.items()}
    elif kind == "shape":
        changed[first] = np.zeros((3, 3), np.float32)
    elif kind == "names":
        changed["another.weight"] = changed.pop(first)
    elif kind == "dtype":
        changed[first] = changed[first].astype(np.float64)
    return changed


def _install() -> None:
    import dataclasses

    import client.app as app
    from common.protocol.messages import TrainAnswer, pack_answer

    def pack(answer: Any) -> Any:
        wish = Path(os.environ["ONCOFED_SITE_HOME"]) / "lie"
        kind = wish.read_text().strip() if wish.exists() else ""
        if kind and isinstance(answer, TrainAnswer):
            answer = dataclasses.replace(answer, arrays=_lie(answer.arrays, kind))
        return pack_answer(answer)

    vars(app)["pack_answer"] = pack


def _after(function: Any) -> Any:
    """The worker calls it first; Flower may be imported only after it."""

    def wrapped(*arguments: Any) -> None:
        function(*arguments)
        _install()

    return wrapped


if "client.node.worker" in sys.orig_argv:
    import common.flower.patches

    vars(common.flower.patches)["quicken"] = _after(common.flower.patches.quicken)
