"""The table of what a hub sees in noised quarters."""

from __future__ import annotations

from simulations.analysis.quarters import SHOWN, table


def test_large_quarters_show_a_moved_threshold_and_nothing_where_nothing_moved() -> None:
    large, small = table((40, 1500)[::-1], (4,), 40)
    assert float(large["threshold"]) > 0.95 and float(large["nothing"]) < 0.15
    assert float(small["threshold"]) < float(large["threshold"])
    assert large["epsilon of a year"] == small["epsilon of a year"] and {*SHOWN} <= {*large}
