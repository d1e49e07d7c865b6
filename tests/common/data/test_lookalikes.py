"""Look-alikes: single linkage against a textbook implementation, and what a thumbnail does not see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from common.data.lookalikes import SIGNATURE_BITS, groups, seen_again, signatures, thumbnail


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_single_linkage_clusters(seed: int) -> None:
    generator = np.random.default_rng(seed)
    points = generator.standard_normal((60, 5)).astype(np.float32)
    points -= points.mean(axis=1, keepdims=True)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    ours = np.array(groups(list(points), threshold=0.85))
    theirs = fcluster(linkage(points, "single", metric="correlation"), t=0.15, criterion="distance")
    assert np.array_equal(ours[:, None] == ours[None], theirs[:, None] == theirs[None])
    assert all(leader == min(np.flatnonzero(ours == leader)) for leader in ours)


def test_a_chain_is_one_group() -> None:
    angles = np.arange(12) * 0.3
    chain = [np.array([np.cos(angle), np.sin(angle)], np.float32) for angle in angles]
    assert set(groups(chain, threshold=np.cos(0.31))) == {0}
    assert len(set(groups(chain, threshold=np.cos(0.29)))) == 12


def test_brightness_size_and_colour_do_not_matter_but_content_does() -> None:
    generator = np.random.default_rng(0)
    coarse = generator.random((6, 6))
    image = np.kron(coarse, np.ones((20, 20))).astype(np.float32)
    other = np.kron(generator.random((6, 6)), np.ones((20, 20))).astype(np.float32)
    darker, larger = image * 0.5 + 0.1, np.kron(coarse, np.ones((32, 32))).astype(np.float32)
    flat = np.full((9, 9), 0.5, np.float32)
    pictures = [image, darker, larger, np.repeat(image[..., None], 3, axis=2), other, flat, flat]
    assert groups([thumbnail(picture) for picture in pictures]) == [0, 0, 0, 0, 4, 5, 6]


@pytest.mark.parametrize("correlation", [0.99, 0.96, 0.9, 0.5, 0.0])
def test_signatures_differ_by_the_angle(correlation: float) -> None:
    """Goemans and Williamson 1995, lemma 3.2: random hyperplanes part two vectors in angle / pi of all cases."""
    generator = np.random.default_rng(0)
    shares = []
    for _ in range(40):
        one, noise = (thumbnail(generator.random((48, 48)).astype(np.float32)) for _ in range(2))
        noise -= (noise @ one) * one
        other = correlation * one + np.sqrt(1 - correlation**2) * noise / np.linalg.norm(noise)
        bits = np.unpackbits(signatures([one, other.astype(np.float32)]), axis=1)
        shares.append((bits[0] != bits[1]).mean())
    expected = np.arccos(correlation) / np.pi
    deviation = np.sqrt(expected * (1 - expected) / SIGNATURE_BITS / 40)
    assert abs(np.mean(shares) - expected) < 5 * deviation


def test_a_picture_saved_again_is_seen_and_others_are_not() -> None:
    generator = np.random.default_rng(1)
    pictures = [np.kron(generator.random((8, 8)), np.ones((16, 16))).astype(np.float32) for _ in range(30)]
    known = signatures([thumbnail(picture) for picture in pictures[:20]])
    smaller = [picture[::2, ::2] * 0.8 + 0.05 for picture in pictures]
    assert seen_again(signatures([thumbnail(picture) for picture in smaller]), known) == 20
    assert seen_again(known, signatures([])) == 0
    assert seen_again(signatures([thumbnail(np.full((9, 9), 0.5, np.float32))]), known) == 0, "flat is like nothing"
