"""Noise has the distribution that is accounted, lies on the grid, and the rounding is in the sensitivity."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from common.errors import ModelError
from common.privacy import discrete, gaussian
from common.privacy import noise as module
from common.privacy.discrete import MAX_SCALE, discrete_gaussian
from common.privacy.gaussian import LARGEST, NormalBlocks
from common.privacy.noise import AHEAD, EXACT_VALUES, MAX_VALUES, GridNoise, NoiseSource
from common.privacy.stream import SecretStream

DRAWS = 1_000_000
UNLIKELY = 1e-6
"""Keys are fixed, so a test of a right sampler fails for good or never; a wrong one falls far below this."""
clips = st.floats(1e-3, 1e3)


def _stream(key: int = 0) -> SecretStream:
    return SecretStream(key.to_bytes(32, "big"))


def _normals(count: int, std: float = 1.0) -> NDArray[np.float64]:
    blocks = NormalBlocks(_stream())
    parts = []
    while count > 0:
        parts.append(blocks.block(count, std).copy())
        count -= len(parts[-1])
    return np.concatenate(parts)


def _rounded(count: int) -> NDArray[np.float64]:
    """Through the door that training takes, as multiples of the standard deviation."""
    noise = GridNoise(1.0, 1.5)
    assert noise.sampler(count) == "rounded Gaussian"
    return np.concatenate([block.copy() for block in noise.draw(count, _stream(1))]) / noise.std_steps


def _exact(count: int) -> NDArray[np.float64]:
    scale = GridNoise(1.0, 1.5).std_steps
    return discrete_gaussian(count, scale, _stream(2)) / scale


SAMPLERS = (_normals, _rounded, _exact)


@pytest.mark.parametrize("sampler", SAMPLERS)
class TestDistribution:
    def test_kolmogorov_smirnov(self, sampler: object) -> None:
        assert stats.kstest(sampler(DRAWS), "norm").pvalue > UNLIKELY  # type: ignore[operator]

    def test_moments(self, sampler: object) -> None:
        """Mean, variance, skewness and kurtosis; errors of the estimates are sqrt(1, 2, 6, 24 over the draws)."""
        drawn = sampler(DRAWS)  # type: ignore[operator]
        moments = (drawn.mean(), drawn.var() - 1, stats.skew(drawn), stats.kurtosis(drawn))
        errors = np.sqrt(np.array([1, 2, 6, 24]) / DRAWS)
        assert np.all(np.abs(moments) < 5 * errors)

    def test_tails(self, sampler: object) -> None:
        """How many lie beyond 1, 2, .. 5 standard deviations, on each side, is binomial with the normal's tail."""
        drawn = sampler(DRAWS)  # type: ignore[operator]
        for far in (1, 2, 3, 4, 5):
            for side in (drawn, -drawn):
                assert stats.binomtest(int((side > far).sum()), DRAWS, stats.norm.sf(far)).pvalue > UNLIKELY

    def test_neighbours_are_independent(self, sampler: object) -> None:
        """Both values of a pair lie half a block apart; the sum of squares would give a fixed radius away."""
        drawn = sampler(DRAWS)  # type: ignore[operator]
        for lag in (1, 2, gaussian.PAIRS):
            for values in (drawn, drawn**2):
                assert abs(np.corrcoef(values[:-lag], values[lag:])[0, 1]) < 6 / math.sqrt(DRAWS)


def test_the_polynomial_is_the_sine() -> None:
    """Box and Muller by the library's sine and cosine on the same words, to the last digits of float64."""
    words = _stream(5).words(2000)
    first, second = words[:1000], words[1000:]
    uniform = ((first & (2**63 - 1)).astype(np.float64) + 1) * 2.0**-63
    radius, angle = np.sqrt(-2 * np.log(uniform)), second * 2.0**-63 * np.pi / 2
    expected = np.concatenate([radius * np.sin(angle), radius * np.cos(angle) * np.where(first < 0, -1, 1)])
    drawn = NormalBlocks(_stream(5)).block(2000, 1.0)
    np.testing.assert_allclose(drawn, expected, rtol=0, atol=4e-15)


@pytest.mark.parametrize("word", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_the_rarest_words_give_finite_noise(word: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SecretStream, "words", lambda self, count: np.full(count, word, np.int64))
    drawn = NormalBlocks(_stream()).block(10, 1.0)
    assert np.isfinite(drawn).all() and np.abs(drawn).max() <= LARGEST


class TestExact:
    @pytest.mark.parametrize("scale", [1, 2, 5, 17])
    def test_probabilities_are_the_formula_s(self, scale: int) -> None:
        drawn = discrete_gaussian(DRAWS, scale, _stream(scale))
        reach = np.arange(-5 * scale, 5 * scale + 1)
        total = np.exp(-(np.arange(-40 * scale, 40 * scale + 1) ** 2) / (2 * scale**2)).sum()
        expected = DRAWS * np.exp(-(reach**2) / (2 * scale**2)) / total
        counts = np.array([(drawn == value).sum() for value in reach], dtype=float)
        likely = expected > 5
        both = [np.append(part[likely], DRAWS - part[likely].sum()) for part in (counts, expected)]
        assert stats.chisquare(*both).pvalue > UNLIKELY

    def test_the_scale_that_a_plan_uses_is_not_lost(self) -> None:
        """A sampler of 32 bits saturates at such a scale, silently."""
        for scale in (2**31 + 11, 2**38 + 7, MAX_SCALE):
            drawn = discrete_gaussian(100_000, scale, _stream(3)) / scale
            assert abs(drawn.std() - 1) < 5 / math.sqrt(2 * 100_000)
            assert stats.kstest(drawn, "norm").pvalue > UNLIKELY

    def test_what_is_near_a_boundary_is_decided_exactly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With everything in doubt, every decision is exact arithmetic's; the draws are the very same."""
        quick = discrete_gaussian(300, 1000, _stream(4))
        asked = []
        right = discrete._Uniform.below
        monkeypatch.setattr(discrete, "_DOUBT", 2.0)
        monkeypatch.setattr(discrete._Uniform, "below", lambda self, p: (asked.append(p), right(self, p))[1])
        assert np.array_equal(quick, discrete_gaussian(300, 1000, _stream(4)))
        assert len(asked) > 400

    def test_the_rungs_are_decided_with_more_bits(self) -> None:
        """A word that is a probability's first 63 bits: what it is below is in the bits that follow."""
        for least in range(1, 10):
            rung = int(discrete._tail(least)(63)[0])
            found = {int(discrete._wholes(np.array([rung]), _stream(key))[0]) for key in range(30)}
            assert found == {least - 1, least}
            assert discrete._wholes(np.array([rung - 1, rung + 1]), _stream()).tolist() == [least, least - 1]
        assert discrete._wholes(np.array([0]), _stream())[0] >= 9

    @given(st.fractions(0, 30, max_denominator=2**42), st.integers(1, 200))
    def test_bounds_of_the_exponential_hold_it_and_are_close(self, exponent: Fraction, bits: int) -> None:
        from mpmath import exp, mp, mpf

        with mp.workdps(200):
            truth = exp(-mpf(exponent.numerator) / exponent.denominator) * mpf(2) ** bits
            self._hold(truth, discrete._exp(exponent)(bits))

    @given(st.integers(1, 12), st.integers(1, 200))
    def test_bounds_of_the_tail_hold_it_and_are_close(self, least: int, bits: int) -> None:
        from mpmath import inf, mp, mpf, nsum

        with mp.workdps(200):
            tails = [nsum(lambda k: mp.exp(-(k**2) / 2), [start, inf]) for start in (least, 0)]
            self._hold(tails[0] / tails[1] * mpf(2) ** bits, discrete._tail(least)(bits))

    @staticmethod
    def _hold(truth: object, bounds: tuple[Fraction, Fraction]) -> None:
        from mpmath import mpf

        low, high = (mpf(side.numerator) / side.denominator for side in bounds)
        assert low <= truth <= high and high - low < mpf(2) ** -40

    def test_a_decision_at_the_known_bits_reads_more(self) -> None:
        """63 bits of e^-1 itself: whether the number lies below is in the bits that follow."""
        probability = discrete._exp(Fraction(1))
        known = math.floor(probability(63)[0])
        assert {discrete._Uniform(known, _stream(key)).below(probability) for key in range(40)} == {True, False}

    @pytest.mark.parametrize("scale", [0, -1, MAX_SCALE + 1])
    def test_a_scale_out_of_range_is_refused(self, scale: int) -> None:
        with pytest.raises(ValueError, match="scale"):
            discrete_gaussian(1, scale, _stream())


class TestGrid:
    @given(clips, st.floats(0.01, 1e4))
    def test_it_is_a_public_power_of_two_and_the_noise_covers_rounding(self, clip: float, multiplier: float) -> None:
        noise = GridNoise(clip, multiplier)
        assert math.frexp(noise.grid)[0] == 0.5
        assert clip * 2.0**-27 < noise.grid <= clip * 2.0**-26
        rounded = Fraction(clip) * (1 + Fraction(1, 1024)) + 2**14 * Fraction(noise.grid)
        assert Fraction(noise.sensitivity) >= rounded * (1 - Fraction(1, 2**50))
        assert Fraction(noise.std) >= Fraction(multiplier) * rounded * (1 - Fraction(1, 2**50))
        assert noise.sensitivity < 1.0013 * clip
        assert noise.std_steps <= MAX_SCALE

    @given(clips, st.integers(0, 2**32), st.integers(1, 300), st.sampled_from([np.float32, np.float64]))
    def test_what_leaves_is_a_multiple_of_the_grid(self, clip: float, seed: int, values: int, dtype: type) -> None:
        noise = GridNoise(clip, 2.0)
        total = (np.random.default_rng(seed).normal(size=values) * clip).astype(dtype)
        released = _released(noise, total, seed)
        assert released.dtype == np.float32 and np.isfinite(released).all()
        steps = released.astype(np.float64) / noise.grid
        assert np.array_equal(steps, np.rint(steps))

    @given(clips, st.integers(0, 2**32), st.integers(1, 300))
    def test_sums_that_round_alike_are_released_alike(self, clip: float, seed: int, values: int) -> None:
        """No bit below the grid reaches what leaves."""
        noise, generator = GridNoise(clip, 2.0), np.random.default_rng(seed)
        steps = generator.integers(-(2**28), 2**28, values)
        near = (steps + generator.uniform(-0.49, 0.49, values)) * noise.grid
        assert np.array_equal(_released(noise, near, seed), _released(noise, steps * noise.grid, seed))

    @given(clips, st.integers(0, 2**32), st.integers(1, 300))
    def test_a_patient_moves_the_rounded_sum_by_at_most_the_sensitivity(
        self, clip: float, seed: int, values: int
    ) -> None:
        noise, generator = GridNoise(clip, 2.0), np.random.default_rng(seed)
        others = generator.normal(size=values) * clip
        patient = generator.normal(size=values)
        patient *= clip / np.linalg.norm(patient)
        with_her, without = (np.rint(total / noise.grid) for total in (others + patient, others))
        moved = np.linalg.norm((with_her - without) * noise.grid)
        assert moved <= clip + math.sqrt(values) * noise.grid < noise.sensitivity

    @given(st.lists(st.integers(1, 50_000), min_size=1, max_size=6), st.booleans())
    def test_values_that_are_drawn_are_the_values_of_the_step(self, sizes: list[int], exact: bool) -> None:
        values = sum(sizes) + (0 if exact else EXACT_VALUES)
        noise = GridNoise(1.0, 1.0)
        assert sum(len(block) for block in noise.draw(values, _stream())) == values

    @given(st.lists(st.sampled_from([1, 7, 7, 7, 1281, AHEAD, AHEAD + 1]), min_size=2, max_size=30))
    def test_no_noise_is_handed_out_twice(self, steps: list[int]) -> None:
        """At 2^28 steps of the grid a value comes twice among these by chance about once in 10^3 runs of one pair."""
        noise = GridNoise(1.0, 1e4)
        source = NoiseSource(noise, _stream(9))
        drawn = [np.concatenate([block.copy() for block in source.draw_step(values)]) for values in steps]
        assert [len(part) for part in drawn] == steps
        everything = np.concatenate(drawn)
        assert len(np.unique(everything)) > 0.999 * len(everything)
        assert np.abs(everything).max() < 10 * noise.std_steps

    def test_more_values_than_the_sensitivity_allows_for_are_refused(self) -> None:
        with pytest.raises(ModelError, match="at most 268,435,456"):
            next(GridNoise(1.0, 1.0).draw(MAX_VALUES + 1, _stream()))

    @pytest.mark.parametrize("multiplier", [0.0, -1.0, math.nan, 20_000.0])
    def test_noise_out_of_range_does_not_construct(self, multiplier: float) -> None:
        with pytest.raises(ValueError, match="noise_multiplier"):
            GridNoise(1.0, multiplier)

    def test_the_sampler_changes_where_it_is_said_to(self) -> None:
        names = {GridNoise(1.0, 1.0).sampler(values) for values in (1, EXACT_VALUES)}
        assert names == {"discrete Gaussian"} and GridNoise(1.0, 1.0).sampler(EXACT_VALUES + 1) == module.ROUNDED


def _released(noise: GridNoise, total: NDArray[np.floating], key: int) -> NDArray[np.float32]:
    return noise.noisy(total, NoiseSource(noise, _stream(key)))
