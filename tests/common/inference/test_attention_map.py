"""The map without a gradient is Grad-CAM, and it lies where it belongs on the image as it was read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from common.config.study import DataConfig, ModelConfig
from common.data.loading import network_input
from common.explain.gradcam import gradcam
from common.inference.attention_map import class_activation, on_image, to_unit
from common.models.classifier import Classifier
from common.models.zoo import build_model


@pytest.mark.parametrize("normalised", [False, True])
def test_it_is_gradcam(normalised: bool) -> None:
    small = build_model(ModelConfig(width=8), (1, 64, 64), 3)
    model = Classifier(small.trunk, 32, channels=1, normalise=normalised).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        model.head.weight.copy_(torch.randn(1, 32, generator=generator))
    images = torch.rand(5, 1, 64, 64, generator=generator) * 2 - 1
    weight = model.head.weight.detach().numpy()[0]
    with torch.no_grad():
        features = model.features(images).numpy()
    expected = gradcam(model, images).numpy()
    for one, truth in zip(features, expected, strict=True):
        heat = Image.fromarray(class_activation(one, weight, normalised=normalised))
        came = to_unit(np.asarray(heat.resize((64, 64), Image.Resampling.BILINEAR), dtype=np.float32))
        assert np.abs(came - truth).max() < 1e-4


@given(st.integers(40, 200), st.integers(40, 200), st.floats(0.15, 0.85), st.floats(0.15, 0.85))
def test_a_bright_place_of_an_image_is_where_its_map_is(height: int, width: int, down: float, across: float) -> None:
    data = DataConfig(image_size=64, channels=1)
    image = np.zeros((height, width), dtype=np.float32)
    row, column = int(down * height), int(across * width)
    image[max(0, row - 4) : row + 5, max(0, column - 4) : column + 5] = 1.0
    heat = network_input(image, data)[0] + 1  # a map that is bright where the network's input is
    found = on_image(heat, image, data)
    assert found.shape == image.shape
    top = np.argwhere(found >= found.max() - 1e-6).mean(axis=0)
    assert np.abs(top - [row, column]).max() <= 2 + 2 * max(height, width) / 64


def _breast(side: int = 120) -> NDArray[np.float32]:
    rows, columns = np.mgrid[0:side, 0:side]
    breast = ((rows - 60) / 40) ** 2 + ((columns - 119) / 70) ** 2 < 1
    return np.where(breast, 0.5, 0.0).astype(np.float32)


def test_a_cropped_and_turned_breast_gets_its_map_back_where_it_lies() -> None:
    image = _breast()
    image[50:56, 100:106] = 1.0
    data = DataConfig(image_size=64, channels=1, breast_crop=True)
    heat = np.maximum(network_input(image, data)[0], 0.5) - 0.5
    found = on_image(heat, image, data)
    assert np.abs(np.argwhere(found == found.max()).mean(axis=0) - [53, 103]).max() < 4


def test_a_flat_map_is_blank() -> None:
    assert not to_unit(np.full((4, 4), 3.0, np.float32)).any()
