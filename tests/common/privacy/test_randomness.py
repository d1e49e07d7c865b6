"""Chance is the operating system's in a hospital and a seed's in a simulation, and the statement can tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.privacy import randomness as module
from common.privacy.randomness import Randomness

labels = st.lists(st.text("ab|\\:", max_size=4) | st.integers(0, 20), max_size=3).map(tuple)


def _draws(generator: torch.Generator, count: int = 4) -> tuple[float, ...]:
    return tuple(torch.randn(count, generator=generator, dtype=torch.float64).tolist())


@given(st.integers(0, 5), labels, st.integers(0, 5), labels)
def test_a_stream_is_its_seed_and_labels(
    seed: int, some: tuple[str | int, ...], other_seed: int, others: tuple[str | int, ...]
) -> None:
    """Labels that hold the separator, or a number and its text, are not taken for each other."""
    first, second = Randomness.from_seed(seed, *some), Randomness.from_seed(other_seed, *others)
    same = (seed, [(type(label), label) for label in some]) == (other_seed, [(type(label), label) for label in others])
    assert (_draws(first.noise) == _draws(second.noise)) == same
    assert (_draws(first.sampling) == _draws(second.sampling)) == same


@pytest.mark.parametrize("make", [Randomness.from_entropy, lambda: Randomness.from_seed(0, "site", 1)])
def test_drawing_patients_moves_no_noise(make: object) -> None:
    randomness = make()  # type: ignore[operator]
    untouched = randomness.noise.get_state()
    drawn = _draws(randomness.sampling)
    assert torch.equal(randomness.noise.get_state(), untouched)
    assert _draws(randomness.noise) != drawn


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    before = torch.get_rng_state()
    seeded = _draws(Randomness.from_seed(7).noise)
    _draws(Randomness.from_entropy().noise)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        assert _draws(Randomness.from_seed(7).noise) == seeded


def test_only_a_seed_is_called_seeded() -> None:
    assert Randomness.from_seed(0).seeded
    assert not Randomness.from_entropy().seeded


def test_a_hospital_draws_the_whole_state_and_not_a_seed_of_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out is NumPy's Mersenne Twister in the state that the entropy says."""
    words = np.arange(624, dtype=np.uint32) * np.uint32(2654435761) + np.uint32(1)
    monkeypatch.setattr(module.secrets, "token_bytes", lambda count: words.tobytes()[:count])
    reference = np.random.MT19937()
    reference.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": 624}}
    noise = Randomness.from_entropy().noise
    got = torch.empty(2000, dtype=torch.int64).random_(0, 2**20, generator=noise)
    assert got.tolist() == (reference.random_raw(2000) % 2**20).tolist()


def test_hospitals_share_no_state() -> None:
    states = [g.get_state()[24:5016] for r in (Randomness.from_entropy(), Randomness.from_entropy())
              for g in (r.sampling, r.noise)]  # fmt: skip
    for index, state in enumerate(states):
        for other in states[index + 1 :]:
            # Four bytes of eight hold a word: two random ones differ in all but about one of 256.
            assert int((state != other).sum()) > 0.45 * len(state)


def test_normal_draws_of_a_hospital_are_standard_normal() -> None:
    noise = torch.randn(40_000, generator=Randomness.from_entropy().noise, dtype=torch.float64)
    # Standard errors 0.005 and 0.0035; eight of them leave a chance of a false alarm below 1e-14.
    assert abs(float(noise.mean())) < 0.04
    assert abs(float(noise.std()) - 1) < 0.03


def test_a_torch_that_keeps_its_state_otherwise_is_refused() -> None:
    with pytest.raises(RuntimeError, match="5056"):
        module._with_words(torch.zeros(5048, dtype=torch.uint8), bytes(2496))
