"""One site neither raises the common limit of a round beyond honest updates, nor has honest ones scaled down."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from server.run.clipping import OVER_MEDIAN, common_limit

honest_norms = st.lists(st.floats(1.0, 2.0), min_size=2, max_size=9)
lies = st.one_of(st.just(0.0), st.floats(0.0, 1e-300), st.floats(0.0, 1e12))


@given(honest=honest_norms, lie=lies)
def test_one_liar_among_two_or_more_honest_sites(honest: list[float], lie: float) -> None:
    """Of four sites, one that sent nothing had made the lower median the smallest honest norm."""
    limit = common_limit({"liar": lie} | {f"site_{n}": norm for n, norm in enumerate(honest)})
    assert limit == math.inf or OVER_MEDIAN * min(honest) <= limit <= OVER_MEDIAN * max(honest)
    assert all(norm <= limit for norm in honest)
    assert lie < 1 or limit < math.inf


@given(st.lists(st.floats(0.0, 1e9), max_size=2))
def test_two_sites_cannot_bound_each_other(norms: list[float]) -> None:
    assert common_limit({str(n): norm for n, norm in enumerate(norms)}) == math.inf


def test_a_site_that_sends_nothing_lets_no_honest_one_be_scaled_down() -> None:
    """Honest updates of very unlike sites: the lower median was the smallest of them."""
    assert common_limit({"liar": 0.0, "a": 1.0, "b": 3.5, "c": 3.6}) >= 3.6
