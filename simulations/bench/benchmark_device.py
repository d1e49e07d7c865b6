"""Private against plain steps where networks run: images a second, ratios and peak memory, of each network and size.

A step is here what training takes: rows moved to the device, gradients, the clipped sum brought back, noise, divisor,
SGD. It ends once the device has done all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from simulations.bench.steps import step_of
from simulations.bench.timing import interleaved

if TYPE_CHECKING:
    import torch

KINDS = ("plain", "book_keeping", "hooks")
SECONDS = 420.0
"""What all of it may take: a device is lent for minutes."""
Step = Callable[[], None]


def device_steps(
    setting: str, sizes: Sequence[int], networks: Sequence[str], *, rows: int, repeats: int, seconds: float = SECONDS
) -> list[dict[str, Any]]:
    """Returns a row for each network and image side; those that time did not suffice for say so.

    Args:
        setting: ``cpu``, ``cuda`` or ``cuda:n``.
        sizes: Image sides in pixels, the smallest first.
        networks: Names of the zoo.
        rows: Images a step, one a patient; halved until they fit.
        repeats: Steps of each kind, taken in turn.
        seconds: After which no further row is begun.

    Raises:
        DeviceError: There is no such device.
    """
    from common.training.device import chosen, described

    device, end = chosen(setting), time.monotonic() + seconds
    pairs = [(name, side) for side in sizes for name in networks if not (name == "lite0" and side < 32)]
    return [
        {"device": described(device), "network": name, "side": side}
        | (_row(device, name, side, rows, repeats) if time.monotonic() < end else {"rows": "no time left"})
        for name, side in pairs
    ]


def _row(device: torch.device, name: str, side: int, rows: int, repeats: int) -> dict[str, Any]:
    from common.training.device import largest_fitting

    return largest_fitting(lambda fitting: _measured(device, name, side, fitting, repeats), rows, 1)


def _measured(device: torch.device, name: str, side: int, rows: int, repeats: int) -> dict[str, Any]:
    steps = {kind: step for kind, step in _steps(device, name, side, rows)}
    memory = {kind: _peak(device, step) for kind, step in steps.items()}
    finished = [_finished(device, step) for step in steps.values()]
    times = dict(zip(steps, interleaved(finished, repeats), strict=True))
    shares = {f"private/{kind}": times["book_keeping"] / times[kind] for kind in ("plain", "hooks")}
    speeds = {f"{kind} images/s": rows / seconds for kind, seconds in times.items()}
    return {"rows": rows, **shares, **speeds, **{f"{kind} MB": peak for kind, peak in memory.items()}}


def _steps(device: torch.device, name: str, side: int, rows: int) -> Iterator[tuple[str, Step]]:
    import torch

    for kind in KINDS:
        model, _, _ = step_of(name, side)
        images, labels = torch.randn(rows, 1, side, side), (torch.arange(rows) % 2).float()
        optimizer = torch.optim.SGD(model.to(device).parameters(), lr=1e-6)
        make = _plain if kind == "plain" else _private
        yield kind, make(kind, model, images, labels, optimizer)


def _plain(kind: str, model: Any, images: Any, labels: Any, optimizer: Any) -> Step:
    import torch.nn.functional as F

    def step() -> None:
        optimizer.zero_grad()
        logits = model(images.to(model.device))
        F.binary_cross_entropy_with_logits(logits, labels.to(model.device)).backward()
        optimizer.step()

    return step


def _private(kind: str, model: Any, images: Any, labels: Any, optimizer: Any) -> Step:
    import torch
    import torch.nn.functional as F

    from common.privacy.engine import gradient_engine
    from common.privacy.layers import Patients
    from common.privacy.noise import GridNoise
    from common.privacy.optimizer import PatientOptimizer
    from common.privacy.randomness import Randomness

    noise, stream = GridNoise(1.0, 1.0), Randomness.from_entropy().noise
    noisy = PatientOptimizer(optimizer, noise=noise, expected_batch_patients=float(len(labels)), stream=stream)
    patients = Patients(torch.arange(len(labels)), len(labels))

    def step() -> None:
        there, own = labels.to(model.device), patients.to(model.device)
        with gradient_engine(kind, model) as engine:
            sums, _ = engine.clipped_sum(
                images.to(model.device),
                lambda logits: F.binary_cross_entropy_with_logits(logits, there, reduction="none"), own, 1.0,
            )  # fmt: skip
        noisy.begin()
        noisy.accumulate(sums)
        noisy.noisy_gradient()
        optimizer.step()

    return step


def _finished(device: torch.device, step: Step) -> Step:
    """Returns the step with a wait for the device, which works on while Python has gone on."""
    import torch

    def whole() -> None:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return whole


def _peak(device: torch.device, step: Step) -> float | None:
    """Returns the most memory in MB that two steps held on the device beyond the weights; None on the CPU."""
    import torch

    if device.type != "cuda":
        return None
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    step()
    return (torch.cuda.max_memory_allocated(device) - before) / 1e6
