"""Where networks run: the one place that chooses a processor, and what holds on it.

A model is moved to its device once; data follow it batch by batch, and what comes out goes back to the CPU before it is
noised, added up, signed or written. On a CUDA device every library is told to take the same way each time, in full
float32: neither TF32 nor bfloat16, for clipping bounds what float32 computes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from common.errors import DeviceError

if TYPE_CHECKING:
    import torch
    from torch import nn

Result = TypeVar("Result")
WORKSPACE, FIXED = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
"""With any other workspace cuBLAS takes another way through a product from one call to the next (its manual, 2.1.4)."""


def chosen(setting: str) -> torch.device:
    """Returns the device that a setting stands for, with the libraries set to repeat themselves on it.

    Raises:
        DeviceError: A CUDA device is asked for by name, and there is none, or fewer.
    """
    import torch

    count = torch.cuda.device_count() if setting != "cpu" and torch.cuda.is_available() else 0
    if setting == "cpu" or (setting == "auto" and not count):
        return torch.device("cpu")
    index = int(setting.partition(":")[2] or 0)
    if index >= count:
        raise DeviceError(
            f"device={setting}, and torch finds {count or 'no'} CUDA device{'s' * (count > 1)} here; write device=cpu "
            "or device=auto, or install the driver and a torch that is built for CUDA (python -c 'import torch; "
            "print(torch.cuda.is_available())' must print True)"
        )
    _repeat_exactly()
    return torch.device("cuda", index)


def nearest(setting: str) -> torch.device:
    """Returns the device that a finished run names, for a look at its model; here there may be another, or none."""
    return chosen("cpu" if setting == "cpu" else "auto")


def check_in_another_process(setting: str) -> None:
    """Refuses a setting as :func:`chosen` does, and leaves this process without torch and untouched by a GPU's driver.

    Raises:
        DeviceError: There is no such device.
    """
    if not setting.startswith("cuda"):
        return
    command = [sys.executable, "-m", __name__, setting]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode:
        raise DeviceError(asked.stdout.strip() or f"device={setting} cannot be tried: {asked.stderr.strip()[-500:]}")


def _repeat_exactly() -> None:
    """Same seed, same device, same bits; and float32 is float32."""
    import torch

    os.environ.setdefault(WORKSPACE, FIXED)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # torch sets it on a module class, unseen by mypy
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def described(device: torch.device) -> str:
    """Returns a device for people, such as ``cpu`` or ``cuda:0 (NVIDIA H100)``."""
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def device_of(module: nn.Module) -> torch.device:
    """Returns where a network's parameters are."""
    return next(module.parameters()).device


def accelerated(device: torch.device) -> bool:
    """Returns whether a device has a memory and a way with numbers of its own."""
    return device.type != "cpu"


def largest_fitting(work: Callable[[int], Result], wanted: int, least: int) -> Result:
    """Returns ``work(size)`` for the first size of ``wanted``, half of it and so on for which memory suffices.

    Args:
        work: Does all of the work with so many images at once, from its beginning.
        wanted: Images at once, at first.
        least: Images at once, at last.

    Raises:
        DeviceError: Memory does not suffice for the least.
    """
    import torch

    size = wanted
    while True:
        try:
            return work(size)
        except torch.OutOfMemoryError:
            pass  # what holds the memory goes with the exception, which ends here
        if size <= least:
            raise DeviceError(
                f"The device has too little memory for {size} image{'s' * (size > 1)} at once; end what else uses it, "
                "or run on the CPU (device=cpu), or study smaller images (data.image_size) or a smaller network"
            )
        torch.cuda.empty_cache()
        size = max(least, size // 2)


def main(setting: str) -> int:
    """Says which device a setting stands for, or why for none; returns the exit code."""
    try:
        print(described(chosen(setting)))
    except DeviceError as error:
        print(error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
