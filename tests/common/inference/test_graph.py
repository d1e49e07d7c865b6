"""Every network for images can be run by onnxruntime, with torch's figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from common.config.study import ModelConfig
from common.errors import ModelError
from common.inference.graph import NotExportable, OnnxNetwork, TorchNetwork, export, in_parts
from common.models.zoo import build_model
from tests.common.models.test_checkpoints import make as make_checkpoint


@pytest.mark.parametrize(
    ("name", "weights", "part", "channels"),
    [
        ("small_cnn", None, "all", 1),
        ("small_cnn", None, "head", 3),
        ("lite0", "package", "head", 1),
        ("lite0", None, "all", 3),
        ("resnet18", None, "all", 1),
        ("mobilenet_v3_small", None, "all", 3),
        ("densenet121", None, "all", 1),
    ],
)
def test_both_run_alike(name: str, weights: str | None, part: str, channels: int, tmp_path: Path) -> None:
    shape = (channels, 64, 64)
    model = build_model(ModelConfig(name=name, weights=weights, part=part), shape, 3).eval()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        model.head.weight.copy_(torch.randn(model.head.weight.shape, generator=generator))
    export(model, shape, tmp_path / "model.onnx")
    images = (torch.rand(19, *shape, generator=generator) * 2 - 1).numpy()
    some, truth = in_parts(OnnxNetwork(tmp_path / "model.onnx"), images), in_parts(TorchNetwork(model), images)
    assert some[1].ndim == 4 and len(some[0]) == 19
    for came, expected in zip(some, truth, strict=True):
        assert np.abs(came - expected).max() <= 1e-4 * max(1, np.abs(expected).max())


def test_public_coordinates_are_not_exported_and_it_is_said_why(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint")
    config = ModelConfig(name="linearised", part="head", weights=str(checkpoint.folder), checkpoint=checkpoint.digest)
    with pytest.raises(NotExportable, match="no map of places"):
        export(build_model(config, (1, 32, 32), 1), (1, 32, 32), tmp_path / "model.onnx")


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match="cannot be run"):
        OnnxNetwork(tmp_path / "model.onnx")
