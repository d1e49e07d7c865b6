"""What images cost to become tensors, once and again, in time and memory: a part of ``make benchmark``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.config.study import DataConfig
    from common.data.manifest import Dataset

SIDE = 224


def loading(images: Sequence[int] = (200, 800)) -> list[dict[str, Any]]:
    """Returns what it takes to read ultrasound-sized PNGs once and again, against a plain loop, and the memory kept."""
    return [_loading_row(count) for count in images]


def _loading_row(count: int) -> dict[str, Any]:
    from common.data.loading import to_tensors

    with tempfile.TemporaryDirectory() as folder:
        files = _pictures(Path(folder), count)
        dataset, config = _dataset(Path(folder))
        plain = _seconds(lambda: [_plain_read(path, SIDE) for path in files])
        first, later = (
            _seconds(lambda: to_tensors(dataset, config, Path(folder) / "cache").inputs.sum()) for _ in range(2)
        )
        code = "import sys; from simulations.bench.benchmark_loading import kept_megabytes;" + (
            "print(kept_megabytes(*sys.argv[1:]))"
        )
        kept = subprocess.run([sys.executable, "-c", code, folder], check=True, capture_output=True, text=True).stdout
    megabytes = count * SIDE * SIDE * 4 / 1e6
    return {"images": count, "PIL loop (s)": plain, "first epoch (s)": first, "later epochs (s)": later,
            "first/loop": first / plain, "tensors MB": megabytes, "memory kept MB": float(kept)}  # fmt: skip


def _pictures(folder: Path, count: int) -> list[Path]:
    import numpy as np
    from PIL import Image

    generator, files = np.random.default_rng(0), []
    for index in range(count):
        files.append(folder / f"{index:04}.png")
        Image.fromarray(generator.integers(0, 64, (450, 600), dtype=np.uint8)).save(files[-1])
    return files


def _plain_read(path: Path, side: int) -> Any:
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((side, side), Image.Resampling.BILINEAR), dtype=np.float32) / 255


def _seconds(action: Callable[[], object]) -> float:
    started = time.process_time()
    action()
    return time.process_time() - started


def kept_megabytes(folder: str) -> float:
    """Returns the memory that the cached tensors of a folder keep, in MB without the file's pages."""
    import psutil
    import torch

    from common.data.loading import to_tensors

    dataset, config = _dataset(Path(folder))
    before = psutil.Process().memory_info()
    inputs = to_tensors(dataset, config, Path(folder) / "cache").inputs
    for chunk in inputs.split(32):
        torch.relu(chunk).sum()
    after = psutil.Process().memory_info()
    return ((after.rss - after.shared) - (before.rss - before.shared)) / 1e6


def _dataset(folder: Path) -> tuple[Dataset, DataConfig]:
    from common.config.study import DataConfig
    from common.data.manifest import Dataset, Record
    from common.data.pixels.images import ImageFiles

    names = sorted(path.name for path in folder.glob("*.png"))
    records = tuple(Record(name, f"p{index}", index % 2) for index, name in enumerate(names))
    return Dataset("png", records, read=ImageFiles(folder)), DataConfig(name="manifest", image_size=SIDE)
