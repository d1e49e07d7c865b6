"""A mask belongs to the image at its own place, and to no other of the same name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.intake.masks import masks_among, outlines_beside, pair_masks

PLACES = st.lists(st.sampled_from(["Benign", "Malignant", "P1", "P2", "x"]), max_size=3, unique=True).map("/".join)


@given(
    st.sets(PLACES, min_size=1, max_size=4), st.sets(st.sampled_from(["1", "2", "10"]), min_size=1), st.integers(0, 3)
)
def test_masks_stay_in_their_own_folder_whatever_repeats(places: set[str], stems: set[str], layout: int) -> None:
    image_form, mask_form = (
        ("{p}{s}.png", "{p}{s}_mask.png"),
        ("{p}images/{s}.png", "{p}masks/{s}.png"),
        ("images/{p}{s}.png", "masks/{p}{s}_mask.png"),
        ("{p}{s}.png", "{p}mask/{s}.png"),
    )[layout]
    pairs = [(f"{place}/" if place else "", stem) for place in places for stem in stems]
    wanted = {image_form.format(p=p, s=s): [mask_form.format(p=p, s=s)] for p, s in pairs}
    paired, alone = pair_masks(list(wanted), [name for names in wanted.values() for name in names])
    assert paired == wanted and not alone
    every = [name for names in wanted.values() for name in names]
    assert masks_among([*wanted, *every]) == set(every)


@pytest.mark.parametrize(
    ("images", "mask"),
    [
        (["Benign/images/001.png"], "Malignant/masks/001.png"),
        (["Benign/001.png", "Malignant/001.png"], "masks/001.png"),
        (["a/001.png"], "b/001_mask.png"),
        (["a/001.png"], "masks/002.png"),
    ],
)
def test_a_mask_of_another_place_belongs_to_nobody(images: list[str], mask: str) -> None:
    assert pair_masks(images, [mask]) == ({}, [mask])


def test_several_masks_of_an_image_and_bus_bra_names_are_paired() -> None:
    assert pair_masks(["m/x (1).png"], ["m/x (1)_mask.png", "m/x (1)_mask_1.png"])[0] == {
        "m/x (1).png": ["m/x (1)_mask.png", "m/x (1)_mask_1.png"]
    }
    assert pair_masks(["Images/bus_0001-l.png"], ["Masks/mask_0001-l.png"])[0] == {
        "Images/bus_0001-l.png": ["Masks/mask_0001-l.png"]
    }
    assert pair_masks(["images/a/7.png"], ["masks/7.png"])[0] == {"images/a/7.png": ["masks/7.png"]}


@pytest.mark.parametrize("name", ["unmasked.png", "a/maskless.png", "masked/x.png"])
def test_a_longer_word_is_no_mask(name: str) -> None:
    assert masks_among([name, "y/z_mask.png"]) == {"y/z_mask.png"}


@given(st.sampled_from(["_gt", "_seg", "-roi", "_tumor", "_lesion2"]), st.sampled_from(["a/", "", "b/c/"]))
def test_an_ending_marks_a_mask_only_beside_its_image(ending: str, place: str) -> None:
    names = [f"{place}case1.png", f"{place}case1{ending}.png", f"{place}case2{ending}.png", f"x/case1{ending}.png"]
    assert outlines_beside(names) == {f"{place}case1{ending}.png"}
    assert pair_masks(names[:1], names[1:2]) == ({names[0]: [names[1]]}, [])


def test_a_folder_that_is_called_masks_of_something_holds_masks_of_it() -> None:
    images = ["Benign/1.png", "Malignant/1.png"]
    masks = ["Benign mask/1.png", "Malignant_masks/1.png"]
    assert masks_among([*images, *masks]) == set(masks) and pair_masks(images, masks)[0] == {
        "Benign/1.png": [masks[0]],
        "Malignant/1.png": [masks[1]],
    }


@given(
    st.sampled_from(["Dataset_BUSI_with_GT", "masks", "gt", "my segmentation data"]),
    st.sampled_from(["", "all/", "x/y/"]),
    st.sets(st.sampled_from(["benign", "malignant", "normal"]), min_size=1),
)
def test_a_folder_around_everything_is_no_folder_of_masks(top: str, above: str, classes: set[str]) -> None:
    """The published BUSI lies in a folder with GT in its name: all of it was taken for masks."""
    images = [f"{above}{top}/{name}/{name} ({index}).png" for name in classes for index in range(3)]
    masks = [image.replace(").png", ")_mask.png") for image in images]
    assert masks_among([*images, *masks]) == set(masks)
    assert masks_among([*images, *masks, "readme/logo.png"]) == set(masks), "nor where something lies beside it"
