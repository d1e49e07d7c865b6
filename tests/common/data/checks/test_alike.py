"""The difference hash knows a picture by its shape and not by its brightness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from common.config.study import DataConfig
from common.data.checks.alike import BITS, clusters, difference_hash, distances
from common.data.formats import open_dataset
from common.data.lookalikes import thumbnail

SEEDS = st.integers(0, 1000)


def picture(seed: int) -> NDArray[np.float32]:
    """Smooth tissue with speckle, float32 (120, 160) in [0, 1]."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(30, 120, (6, 8), dtype=np.uint8)).resize((160, 120))
    speckled = np.asarray(coarse, dtype=np.float32) * generator.gamma(8, 1 / 8, (120, 160)).astype(np.float32)
    return np.asarray(speckled.clip(0, 150) / 255, dtype=np.float32)


@given(SEEDS, st.floats(0.2, 1.0), st.floats(0.0, 0.3))
def test_brightness_and_contrast_change_no_bit_to_speak_of(seed: int, factor: float, offset: float) -> None:
    image = picture(seed)
    changed = (image * factor + offset).astype(np.float32)
    assert int((difference_hash(image) != difference_hash(changed)).sum()) <= 2


@given(st.lists(SEEDS, min_size=1, max_size=5))
def test_distances_are_those_that_one_counts(seeds: list[int]) -> None:
    hashes = np.stack([difference_hash(picture(seed)) for seed in seeds])
    counted = [[int((one != other).sum()) for other in hashes] for one in hashes]
    assert hashes.shape == (len(seeds), BITS) and np.array_equal(distances(hashes), counted)


def test_clusters_are_of_two_or_more_and_link_singly() -> None:
    images = [picture(seed) for seed in (1, 2, 3)]
    cropped = np.ascontiguousarray(images[0][3:-3, 4:-4])
    images = [*images, cropped, np.ascontiguousarray(cropped * np.float32(0.7))]
    thumbnails, hashes = [thumbnail(image) for image in images], [difference_hash(image) for image in images]
    assert clusters(thumbnails, hashes) == [[0, 3, 4]] and clusters([], []) == []


@given(st.integers(0, 200), st.integers(0, 3), st.booleans(), st.sampled_from([1.0, 0.8]))
def test_mirrored_and_turned_copies_are_alike_and_other_pictures_are_not(
    seed: int, quarters: int, mirrored: bool, scale: float
) -> None:
    image, other = picture(seed), picture(seed + 1000)
    copy = np.rot90(image[:, ::-1] if mirrored else image, quarters)
    size = (round(copy.shape[1] * scale), round(copy.shape[0] * scale))
    small = np.asarray(Image.fromarray(np.ascontiguousarray(copy)).resize(size, Image.Resampling.BILINEAR))
    images = [image, other, small]
    assert clusters([thumbnail(one) for one in images], [difference_hash(one) for one in images]) == [[0, 2]]


def test_no_two_women_are_alike_when_mirrored_or_turned(real_data: Path) -> None:
    dataset = open_dataset(DataConfig(name="bus_bra", root=str(real_data / "bus-bra")))
    some = [records[0] for records in dataset.patients().values()][:400]
    images = [dataset.read(record.image) for record in some]
    assert clusters([thumbnail(one) for one in images], [difference_hash(one) for one in images]) == []
