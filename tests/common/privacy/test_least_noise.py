"""The search for the least noise, against plain halving, and what is kept of its answers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.privacy import accounting, kept_noise
from common.privacy.accounting import Event, epsilon_of, solve_noise_multiplier
from common.privacy.least_noise import LEAST_NOISE, MAX_NOISE, PRECISION, least_noise


def _by_halving(cost: Callable[[float], float], limit: float, start: float, step: float) -> float | None:
    """The definition: the interval that start and step lead to, halved, with a look at each end."""
    low, high = start, start * step
    while cost(high) > limit:
        low, high = high, high * step
        if high > MAX_NOISE:
            return None
    while cost(low) <= limit:
        low, high = low / step, low
        if low < LEAST_NOISE:
            return high
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) > limit else (low, middle)
    return high


class _Counted:
    def __init__(self, cost: Callable[[float], float]) -> None:
        self.cost, self.looks = cost, set[float]()

    def __call__(self, noise: float) -> float:
        self.looks.add(noise)
        return self.cost(noise)


@given(
    power=st.floats(0.3, 4), scale=st.floats(1e-6, 1e6), limit=st.floats(0.01, 100), start=st.floats(0.02, 50),
    step=st.floats(1.05, 3),
)  # fmt: skip
def test_a_falling_cost_gets_the_answer_of_halving_with_fewer_looks(
    power: float, scale: float, limit: float, start: float, step: float
) -> None:
    ours, plain = (_Counted(lambda noise: scale * noise**-power) for _ in range(2))
    assert least_noise(ours, limit, start, step) == _by_halving(plain, limit, start, step)
    assert len(ours.looks) <= len(plain.looks) + 3


@given(limit=st.floats(0.1, 10), wave=st.floats(0, 0.3), pace=st.floats(10, 1000))
def test_whatever_the_cost_does_the_answer_stays_below_the_limit(limit: float, wave: float, pace: float) -> None:
    def cost(noise: float) -> float:
        return (1 + wave * math.sin(pace * noise)) / noise

    found = least_noise(cost, limit, 0.3, 1.5)
    assert found is not None and cost(found) <= limit


@pytest.mark.parametrize(("epsilon", "rate", "steps"), [(8.0, 0.3, 60), (1.0, 0.05, 200)])
def test_prv_is_asked_less_often_for_the_same_bits(epsilon: float, rate: float, steps: int) -> None:
    start = 0.88 * accounting._noise_by_whole_orders(epsilon, 1e-5, rate, steps)
    ours, plain = (_Counted(lambda noise: epsilon_of([Event(noise, rate, steps)], 1e-5)) for _ in range(2))
    assert least_noise(ours, epsilon, start, 1.1) == _by_halving(plain, epsilon, start, 1.1)
    assert len(ours.looks) < len(plain.looks)


# --- what is kept ----------------------------------------------------------------------------------------------------

ASKED = {"epsilon": 4.0, "delta": 1e-5, "sampling_rate": 0.25, "steps": 12, "accountant": "rdp"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "oncofed" / "noise"


def _solved(**changes: object) -> float:
    """As another process would find it."""
    solve_noise_multiplier.cache_clear()
    return solve_noise_multiplier(**{**ASKED, **changes})  # type: ignore[arg-type]


def test_a_second_process_searches_no_more(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _solved()
    monkeypatch.setattr(accounting, "least_noise", lambda *_: pytest.fail("searched again"))
    assert _solved() == first
    assert [path.suffix for path in cache.iterdir()] == [".json"]


@pytest.mark.parametrize("factor", [0.5, 0.99, 1.2, 10.0])
def test_what_costs_too_much_or_far_too_little_is_not_believed(cache: Path, factor: float) -> None:
    right = _solved()
    (path,) = cache.iterdir()
    path.write_text(json.dumps({"multiplier": right * factor}))
    assert _solved() == right
    assert json.loads(path.read_text()) == {"multiplier": right}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"multiplier": "1"}', '{"multiplier": NaN}', '{"multiplier": -1.0}']
)
def test_a_damaged_file_is_none(cache: Path, text: str) -> None:
    right = _solved()
    (path,) = cache.iterdir()
    path.write_text(text)
    assert _solved() == right


def test_each_question_has_a_file_of_its_own(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for changes in ({}, {"steps": 13}, {"delta": 1e-6}, {"sampling_rate": 0.5}, {"epsilon": 5.0}):
        _solved(**changes)
    monkeypatch.setattr(kept_noise.metadata, "version", lambda name: "99")
    _solved()
    assert len(list(cache.iterdir())) == 6


def test_a_service_without_a_home_solves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "expanduser", homeless)
    monkeypatch.chdir(tmp_path)
    assert _solved() == _solved() > 0 and not list(tmp_path.iterdir())


def test_without_a_place_to_write_it_is_solved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert _solved() == pytest.approx(_solved())
