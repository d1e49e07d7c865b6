"""Chance is the operating system's in a hospital and a seed's in a simulation, and the statement can tell."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.privacy import randomness as module
from common.privacy.randomness import Randomness
from common.privacy.stream import SecretStream

labels = st.lists(st.text("ab|\\:", max_size=4) | st.integers(0, 20), max_size=3).map(tuple)


def _streams(randomness: Randomness) -> dict[str, SecretStream]:
    return {name: stream for name, stream in vars(randomness).items() if isinstance(stream, SecretStream)}


def _draws(stream: SecretStream) -> tuple[int, ...]:
    return tuple(stream.words(4).tolist())


@given(st.integers(0, 5), labels, st.integers(0, 5), labels)
def test_a_stream_is_its_seed_and_labels(
    seed: int, some: tuple[str | int, ...], other_seed: int, others: tuple[str | int, ...]
) -> None:
    """Labels that hold the separator, or a number and its text, are not taken for each other."""
    first, second = Randomness.from_seed(seed, *some), Randomness.from_seed(other_seed, *others)
    same = (seed, [(type(label), label) for label in some]) == (other_seed, [(type(label), label) for label in others])
    for name, stream in _streams(first).items():
        assert (_draws(stream) == _draws(_streams(second)[name])) == same


@pytest.mark.parametrize("make", [Randomness.from_entropy, lambda: Randomness.from_seed(0, "site", 1)])
def test_every_purpose_has_a_stream_of_its_own(make: object) -> None:
    streams = _streams(make())  # type: ignore[operator]
    assert streams.keys() == {"sampling", "images", "noise", "regularisation"}
    assert len({_draws(stream) for stream in streams.values()}) == len(streams)


def test_drawing_for_one_purpose_moves_no_other() -> None:
    used, untouched = Randomness.from_seed(3), Randomness.from_seed(3)
    _draws(used.sampling), _draws(used.images), _draws(used.regularisation)
    assert _draws(used.noise) == _draws(untouched.noise)


def test_the_global_generators_are_neither_read_nor_moved() -> None:
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


def test_a_hospital_asks_the_operating_system_for_256_bits_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def entropy(count: int) -> bytes:
        asked.append(count)
        return bytes([len(asked)]) * count

    monkeypatch.setattr(module.secrets, "token_bytes", entropy)
    first, second = Randomness.from_entropy(), Randomness.from_entropy()
    assert asked == [32, 32]
    assert _draws(first.noise) != _draws(second.noise)


def _some_streams() -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Two sites, rounds and runs with every purpose; what a simulation derives and what a hospital draws."""
    for site, round_index, call in itertools.product(("north", "south"), (1, 2), range(2)):
        seeded = Randomness.from_seed(call, site, "train", round_index)
        for kind, randomness in (("seeded", seeded), ("hospital", Randomness.from_entropy())):
            for purpose, stream in _streams(randomness).items():
                yield f"{kind} {site} {round_index} {call} {purpose}", stream.words(8192)


def test_streams_of_rounds_sites_runs_and_purposes_are_unrelated() -> None:
    names, streams = zip(*_some_streams(), strict=True)
    blocks = np.concatenate([words.reshape(-1, 2) for words in streams])
    assert len(np.unique(blocks, axis=0)) == len(blocks), "two streams share a block of 128 bits"
    signs = np.stack([np.where(words > 0, 1.0, -1.0) for words in streams])
    correlation = np.abs(signs @ signs.T / signs.shape[1] - np.eye(len(names)))
    # 2,016 pairs of 8,192 fair signs each: six standard errors leave a false alarm of 4e-6.
    assert correlation.max() < 6 / np.sqrt(8192), names[int(correlation.argmax()) // len(names)]
