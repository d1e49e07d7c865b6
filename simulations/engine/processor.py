"""Where the networks of a simulation run: settled once, before anything starts, for all of its processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from common.config.study import StudyConfig

GPU_SHARE = 0.25
"""Of a GPU that each of Flower's simulated clients holds: up to four answer at once, each with CUDA's own half GB."""
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Processor:
    """Where a simulation's networks run.

    Attributes:
        device: As torch calls it: ``cpu`` or ``cuda:n``.
        words: For people, with the card's name.
    """

    device: str
    words: str

    @classmethod
    def of(cls, study: StudyConfig) -> Processor:
        """Returns what the study's setting stands for on this machine.

        Raises:
            DeviceError: A CUDA device is asked for that is not there.
        """
        from common.training.device import chosen, described

        device = chosen(study.simulation.device)
        return cls(str(device), described(device))

    @property
    def gpus_per_client(self) -> float:
        """Returns which share of a GPU Ray reserves for a client; 0 where none is used."""
        return GPU_SHARE if self.device.startswith("cuda") else 0.0

    def override(self, engine: str) -> list[str]:
        """Returns the override that names a GPU for each process of the run; Flower's see that one alone, as the first.

        Where none is used, the study says what it says.
        """
        if not self.gpus_per_client:
            return []
        return [f"simulation.device={'cuda:0' if engine == 'flower' else self.device}"]

    def environment(self, around: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Returns what Flower's processes see of the GPUs: the chosen one alone; empty: all that this process sees."""
        if not self.gpus_per_client:
            return {}
        index, seen = int(self.device.partition(":")[2] or 0), around.get(VISIBLE, "")
        return {VISIBLE: seen.split(",")[index] if seen else str(index)}
