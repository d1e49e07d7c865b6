"""The benchmark of an exam measures what it says, on a package and images of any kind."""

from __future__ import annotations

from pathlib import Path

from common.inference.package import Package
from simulations.bench.benchmark_predict import measured
from tests.packaged import made, phantom_run, pictures

__all__ = ["made", "phantom_run", "pictures"]


def test_it_times_the_network_and_the_whole_exam_and_watches_memory(made: Package, pictures: Path) -> None:
    found = measured(made.folder, pictures, exams=6, many=20, threads=1)
    assert found["side"] == 32 and found["exams"] == 6 and found["images_of_an_exam"] >= 1
    assert all(found[name] > 0 for name in ("bare_torch_ms", "bare_onnx_ms", "exam_ms", "load_ms"))
    assert found["over_bare_torch"] > 0 and found["memory"]["exams"] == 20
    assert all(found["memory"][name] > 10 for name in ("peak_mib", "after_all_mib", "after_a_tenth_mib"))
