"""The benchmark of adding updates times a float sum, fixed point, and all that the hub does."""

from __future__ import annotations

from simulations.bench.benchmark_aggregation import aggregations


def test_each_part_of_adding_an_update_is_timed() -> None:
    (row,) = aggregations([200_000], repeats=1)
    assert row["values"] == 200_000 and row["float32 sum (ms)"] > 0
    assert row["with checks (ms)"] > 0 and row["fixed point/float32"] > 0
