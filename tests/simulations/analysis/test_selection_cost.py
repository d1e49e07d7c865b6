"""Choosing settings privately costs more than one run, and all runs shown cost what they compose to."""

from __future__ import annotations

import pytest

from simulations.analysis.selection_cost import EPSILONS, costs


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_selection_costs_more_than_a_run_and_less_than_ten_shown(epsilon: float) -> None:
    *selected, shown = costs(epsilon)
    assert all(1.5 * epsilon < cost < shown for cost in selected)
    assert selected == [*sorted(selected[:3], reverse=True), selected[3]] and selected[3] > selected[2]
