"""Look-alikes: single linkage against a textbook implementation, and what a thumbnail does not see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from common.data.lookalikes import groups, thumbnail


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
