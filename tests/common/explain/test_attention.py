"""Maps whose answer is known by construction, exact chance levels, and what knows nothing gets no more than chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from common.errors import DataError
from common.explain.attention import (
    attention,
    centred,
    chance_iou,
    corners,
    energy,
    frame,
    iou,
    mean_shares,
    pointing,
    within,
)

SIDE = 20


def _disc(row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def _bump(row: float, column: float) -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 8)


def test_a_map_on_the_lesion_hits_it_and_one_beside_it_misses() -> None:
    lesion = _disc(6, 7, 4)
    on, beside = attention(_bump(6, 7), lesion), attention(_bump(15, 15), lesion)

    assert on["pointing"].value == 1 and beside["pointing"].value == 0
    assert on["energy"].value > 0.85 > 0.1 > beside["energy"].value
    assert on["iou"].value > 0.95 and beside["iou"].value == 0
    assert on["pointing"].chance == on["energy"].chance == lesion.mean()


def test_the_lesion_itself_as_a_map_is_perfect() -> None:
    lesion = _disc(10, 9, 5)
    shares = attention(lesion.astype(np.float32), lesion)
    assert [shares[name].value for name in ("pointing", "energy", "iou")] == [1.0, 1.0, 1.0]


@given(st.floats(0, 1), st.integers(2, 7))
def test_a_blank_map_gets_exactly_the_area(level: float, radius: int) -> None:
    lesion, blank = _disc(9, 9, radius), np.full((SIDE, SIDE), level)
    area = lesion.mean()
    assert pointing(blank, lesion).value == pytest.approx(area)
    assert energy(blank, lesion).value == pytest.approx(area)
    assert iou(blank, lesion).value == pytest.approx(area / (2 - area))


@given(st.data())
def test_chance_of_the_overlap_is_the_hypergeometric_expectation(data: st.DataObject) -> None:
    pixels = data.draw(st.integers(1, 400))
    region = data.draw(st.integers(1, pixels))
    overlap = np.arange(region + 1)
    expected = (hypergeom.pmf(overlap, pixels, region, region) * overlap / (2 * region - overlap)).sum()
    assert chance_iou(region, pixels) == pytest.approx(expected, rel=1e-9)


def test_random_maps_get_chance_on_average() -> None:
    generator, lesion = np.random.default_rng(1), _disc(6, 7, 4)
    shares = [attention(generator.random((SIDE, SIDE)), lesion) for _ in range(2000)]
    for name in ("pointing", "energy", "iou", "border", "corner"):
        values = np.array([each[name].value for each in shares])
        assert abs(values.mean() - shares[0][name].chance) < 4 * values.std() / np.sqrt(len(values)) + 1e-9


def test_a_map_shifted_round_the_image_has_the_area_as_its_energy() -> None:
    lesion, heat = _disc(6, 7, 4), _bump(3, 12)
    shifted = [np.roll(heat, (down, across), (0, 1)) for down in range(SIDE) for across in range(SIDE)]
    assert np.mean([energy(each, lesion).value for each in shifted]) == pytest.approx(lesion.mean())


def test_frame_and_corners_have_the_areas_they_document() -> None:
    assert frame((100, 200)).mean() == pytest.approx(0.36)
    assert corners((100, 200)).mean() == pytest.approx(0.16)
    assert corners((50, 50)).sum() == 4 * 100


def test_a_shortcut_in_a_corner_is_seen_without_any_mask() -> None:
    shares = attention(_bump(1, 1))
    assert set(shares) == {"border", "corner"}
    assert shares["corner"].value > 4 * shares["corner"].chance
    assert shares["border"].value > 0.6


def test_text_attention_needs_its_mask() -> None:
    text = np.zeros((SIDE, SIDE), dtype=np.bool_)
    text[2:4, 2:12] = True
    shares = attention(_bump(3, 6), overlay=text)
    assert shares["overlay"].value > 5 * shares["overlay"].chance == pytest.approx(5 * 0.05)


def test_looking_at_the_middle_beats_chance_for_a_centred_lesion() -> None:
    shares = attention(_bump(2, 2), _disc(9.5, 9.5, 4))
    assert shares["centre_pointing"].value == 1
    assert shares["centre_energy"].value > 1.5 * shares["centre_energy"].chance
    assert centred((9, 15)).argmax() == 4 * 15 + 7


@given(st.floats(0.05, 0.9))
def test_scaling_a_map_changes_no_measure(factor: float) -> None:
    heat, lesion = _bump(8, 5), _disc(6, 7, 4)
    plain, scaled = attention(heat, lesion), attention(heat * factor, lesion)
    assert all(scaled[name].value == pytest.approx(plain[name].value) for name in plain)


def test_an_empty_or_full_mask_measures_nothing() -> None:
    for mask in (np.zeros((SIDE, SIDE), np.bool_), np.ones((SIDE, SIDE), np.bool_)):
        assert set(attention(_bump(5, 5), mask, mask)) == {"border", "corner"}


def test_padding_is_cut_off_and_counted() -> None:
    heat = np.zeros((SIDE, SIDE))
    heat[0, :] = heat[10, :] = 0.5
    inner, padding = within(heat, (5, 15, 0, SIDE))
    assert inner.shape == (10, SIDE) and padding is not None
    assert (padding.value, padding.chance) == (0.5, 0.5)
    assert within(heat, (0, SIDE, 0, SIDE))[1] is None


def test_a_patient_is_the_mean_of_those_images_that_were_measured() -> None:
    lesion = _disc(6, 7, 4)
    both = mean_shares([attention(_bump(6, 7), lesion), attention(_bump(15, 15), lesion), attention(_bump(1, 1))])
    assert both["pointing"].value == 0.5
    assert 0 < both["border"].value < 1


@pytest.mark.parametrize(
    "heat", [np.full((SIDE, SIDE), 1.5), np.full((SIDE, SIDE), np.nan), np.zeros(SIDE), -np.ones((SIDE, SIDE))]
)
def test_what_is_no_map_is_refused(heat: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"Expected a heatmap \(H, W\)"):
        attention(heat)


def test_masks_must_fit_the_map() -> None:
    with pytest.raises(DataError, match="lesion mask as bool"):
        attention(_bump(5, 5), np.ones((SIDE, SIDE + 1), np.bool_))
    with pytest.raises(DataError, match="box inside"):
        within(_bump(5, 5), (5, 5, 0, SIDE))
