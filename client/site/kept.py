"""A round that a site has trained and is asked for again is answered again: the same update, at no new charge.

A hub asks twice after it died, stood still or lost the answer. Noise that was paid for protects its sum however often
that sum is sent (post-processing: Dwork and Roth 2014, proposition 2.1); only what is trained anew is paid anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.protocol.messages import MASKED, MaskedAnswer, Request, TrainAnswer
from common.protocol.secure_sum import roster_digest
from common.trust.pki import write_private

log = logging.getLogger("oncofed.site")
KEPT = "kept-update.safetensors"


@dataclass(frozen=True, slots=True)
class KeptUpdate:
    """The last update of a site, in a file of its home; it holds nothing that has not been sent, or was about to be.

    Attributes:
        path: A safetensors file.
        declared_patients: The site's, which stand in each answer.
    """

    path: Path
    declared_patients: int

    def keep(self, request: Request, answer: TrainAnswer | MaskedAnswer) -> None:
        """Replaces the file; where that fails the answer still stands, and a repeated request is trained and paid."""
        from safetensors.numpy import save

        asked = self._asked(request)
        facts = json.dumps({"weight": answer.weight, "epsilon_spent": answer.epsilon_spent})
        arrays = {MASKED: answer.masked} if isinstance(answer, MaskedAnswer) else dict(answer.arrays)
        said = {"asked": asked, "facts": facts, "whole": _digest(arrays, asked, facts)}
        try:
            write_private(self.path, save(arrays, metadata=said))
        except OSError as error:
            log.warning("The update could not be kept (%s); asked again, the round is paid again", error.strerror)

    def answer(self, request: Request, site: str) -> TrainAnswer | MaskedAnswer | None:
        """Returns what was answered to the very same request; None where it was another, or the file is not whole."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="numpy") as file:
                said = file.metadata() or {}
                if said.get("asked") != self._asked(request):
                    return None
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError):
            said, arrays = {}, {}
        if said.get("whole") != _digest(arrays, said.get("asked", ""), said.get("facts", "")):
            log.warning("The kept update is damaged; the round is trained and paid again")
            return None
        log.info("Round %d is asked for again; its update is at hand", request.round_index)
        facts = {"site": site, "round_index": request.round_index, **json.loads(said["facts"])}
        if request.roster:
            return MaskedAnswer(attempt=request.attempt, masked=arrays[MASKED], **facts)
        return TrainAnswer(arrays={name: arrays[name] for name in request.arrays}, **facts)

    def _asked(self, request: Request) -> str:
        """All that the answer depends on but the patients and the noise; of a secure sum, who is in it and which try.

        An update that was kept from one roster and sent to another would tell the difference: one hospital's update.
        """
        asked = [
            request.study.digest(), request.run, request.round_index, self.declared_patients, request.attempt,
            roster_digest(request.roster),
        ]  # fmt: skip
        return _digest(request.arrays, *map(str, asked))


def _digest(arrays: Mapping[str, NDArray[Any]], *texts: str) -> str:
    found = hashlib.sha256(json.dumps(texts).encode())
    for name, values in sorted(arrays.items()):
        found.update(json.dumps([name, values.shape]).encode())
        found.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
    return found.hexdigest()
