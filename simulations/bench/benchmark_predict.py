"""What an exam costs beside the bare forward pass of its network, and whether memory stays flat over many.

usage: python -m simulations.bench.benchmark_predict PACKAGE IMAGES [--exams 100] [--many 10000] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

SMALL = 64
"""Side in pixels of the images of the memory test: reading is all that it is about."""


def measured(package: Path, images: Path, exams: int, many: int, threads: int) -> dict[str, Any]:
    """Returns milliseconds of the steps of an exam of one image, and the memory of a process over many.

    Args:
        package: Folder of a package.
        images: Folder of images, taken in turn.
        exams: How many are timed.
        many: How many small ones memory is watched over.
        threads: Of the network.
    """
    from common.inference.exams import find_exams
    from common.inference.package import load_package
    from common.inference.predict import Predictor

    started = time.perf_counter()
    predictor = Predictor(load_package(package, datetime.now(UTC), threads=threads))
    loading = time.perf_counter() - started
    found = find_exams([images]).exams
    chosen = [found[place % len(found)] for place in range(exams)]
    bare = _bare(predictor, threads)
    alone, written = _seconds(predictor, chosen), _written(predictor, chosen)
    return {
        "side": predictor.package.data.image_size, "threads": threads, "load_ms": 1000 * loading, "exams": len(chosen),
        "images_of_an_exam": float(np.mean([len(exam.files) for exam in chosen])),
        **{f"bare_{name}_ms": 1000 * seconds for name, seconds in bare.items()},
        "exam_ms": 1000 * alone, "exam_with_record_and_picture_ms": 1000 * written,
        "over_bare_torch": alone / bare["torch"], "over_bare_onnx": alone / bare["onnx"],
        "memory": _memory(predictor, many),
    }  # fmt: skip


def _bare(predictor: Any, threads: int, repeats: int = 30) -> dict[str, float]:
    """Returns the median seconds of one image through the network alone, by the package and by torch."""
    import torch

    from common.config.study import from_dict
    from common.inference.package import STUDY, document
    from common.models.zoo import build_model
    from simulations.bench.timing import interleaved

    torch.set_num_threads(threads)
    data = predictor.package.data
    settings = from_dict(document(predictor.package.folder / STUDY))
    model = build_model(settings.model, (data.channels, data.image_size, data.image_size), 0).eval()
    image = np.random.default_rng(0).uniform(-1, 1, (1, data.channels, data.image_size, data.image_size))
    given = image.astype(np.float32)

    def by_torch() -> None:
        with torch.no_grad():
            model(torch.from_numpy(given))

    both = interleaved([lambda: predictor.package.network(given), by_torch], repeats)
    return dict(zip(("onnx", "torch"), both, strict=True))


def _seconds(predictor: Any, exams: list[Any]) -> float:
    for exam in exams[:5]:
        predictor.predict(exam)
    started = time.perf_counter()
    for exam in exams:
        predictor.predict(exam)
    return (time.perf_counter() - started) / len(exams)


def _written(predictor: Any, exams: list[Any]) -> float:
    from client.site.predicting import Reading, read_exams

    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        started = time.perf_counter()
        for _ in read_exams(exams, Reading(predictor, None, out / "records.jsonl", out)):
            pass
        return (time.perf_counter() - started) / len(exams)


def _memory(predictor: Any, many: int) -> dict[str, float]:
    """Returns MiB of the process after a tenth of the exams and after all, records written."""
    from client.site.predicting import Reading, read_exams
    from common.inference.exams import find_exams

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        exams = [find_exams([path]).exams[0] for path in _small(folder, 50)]
        turns = (exams[number % len(exams)] for number in range(many))
        using = Reading(predictor, None, folder / "records.jsonl", None)
        early = 0.0
        for number, _ in enumerate(read_exams(turns, using), start=1):
            if number == max(1, many // 10):
                early = _resident()
        return {"exams": many, "after_a_tenth_mib": early, "after_all_mib": _resident(), "peak_mib": _peak()}


def _small(folder: Path, count: int) -> Iterator[Path]:
    from PIL import Image

    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 150, (SMALL, SMALL), dtype=np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        yield path


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Prints one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--exams", type=int, default=100)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    found = measured(options.package, options.images, options.exams, options.many, options.threads)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
