"""Heatmaps: those of two other libraries and of plain autograd, of every network, which is left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.config import ModelConfig
from common.errors import ModelError
from common.evaluation.gradcam import gradcam
from common.models.zoo import Classifier, build_model, model_names

SIDE = 64
CNNS = model_names(images=True)
Target = Literal["malignant", "benign"]


def network(name: str, part: str = "all", sign: float = 1.0) -> Classifier:
    """With a head that finds more for malignant (``sign`` 1) or for benign (-1) in what the trunk sees."""
    model = build_model(ModelConfig(name=name, part=part), (1, SIDE, SIDE), 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        model.head.weight.copy_(torch.randn(model.head.weight.shape, generator=generator) + sign)
    return model


def images(count: int) -> Tensor:
    return torch.rand((count, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(2)) * 2 - 1


class Column(nn.Module):
    """What the libraries expect: one column a class."""

    def __init__(self, model: Classifier, sign: float) -> None:
        super().__init__()
        self.model, self.sign = model.eval(), sign

    def forward(self, inputs: Tensor) -> Tensor:
        return self.sign * self.model(inputs).unsqueeze(-1)


def of_pytorch_grad_cam(model: Classifier, inputs: Tensor, sign: float, kind: str = "GradCAM") -> NDArray[np.float32]:
    import pytorch_grad_cam

    column = Column(model, sign)
    with getattr(pytorch_grad_cam, kind)(model=column, target_layers=[column.model.trunk]) as explain:
        maps: NDArray[np.float32] = explain(inputs, targets=[lambda output: output[0]] * len(inputs))
    return maps


def of_monai(model: Classifier, inputs: Tensor, sign: float) -> NDArray[np.float32]:
    from monai.visualize import GradCAM

    def to_unit(maps: Tensor) -> Tensor:
        low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
        return (maps - low) / (high - low).clamp_min(1e-12)

    maps = GradCAM(Column(model, sign), "model.trunk", postprocessing=to_unit)(inputs.requires_grad_(), class_idx=0)
    found: NDArray[np.float32] = maps[:, 0].detach().numpy()
    return found


@pytest.mark.parametrize("name", CNNS)
@pytest.mark.parametrize(("count", "target", "sign"), [(1, "malignant", 1.0), (3, "benign", -1.0)])
def test_maps_are_those_of_two_other_libraries(name: str, count: int, target: Target, sign: float) -> None:
    model, inputs = network(name, sign=sign), images(count)
    ours = gradcam(model, inputs, target=target).numpy()
    assert ours.shape == (count, SIDE, SIDE) and ours.dtype == np.float32
    assert ours.min() == 0 and ours.max() == 1 and ours.std() > 0.05
    assert np.abs(ours - of_pytorch_grad_cam(model, inputs, sign)).max() < 1e-4
    assert np.abs(ours - of_monai(model, inputs, sign)).max() < 1e-4


@pytest.mark.parametrize("part", ["all", "head"])
def test_the_map_is_the_definition(part: str) -> None:
    model, inputs = network("resnet18", part).eval(), images(2)
    kept: list[Tensor] = []
    handle = model.trunk.register_forward_hook(lambda module, given, output: kept.append(output))
    logits = model(inputs)
    handle.remove()
    (slopes,) = torch.autograd.grad(logits.sum(), kept[0])
    raw = (slopes.mean((2, 3), keepdim=True) * kept[0]).sum(1, keepdim=True).relu()
    wide = nn.functional.interpolate(raw, (SIDE, SIDE), mode="bilinear")[:, 0]
    low, high = wide.amin((1, 2), keepdim=True), wide.amax((1, 2), keepdim=True)
    assert torch.allclose(gradcam(model, inputs), (wide - low) / (high - low), atol=1e-5)


def test_a_batch_gives_the_maps_of_its_images() -> None:
    model, inputs = network("small_cnn"), images(4)
    for method in ("gradcam", "gradcam++", "occlusion"):
        alone = torch.cat([gradcam(model, one, method=method) for one in inputs.split(1)])  # type: ignore[arg-type]
        assert torch.allclose(gradcam(model, inputs, method=method), alone, atol=1e-3)  # type: ignore[arg-type]


def test_gradcam_plus_plus_looks_like_another_librarys() -> None:
    model, inputs = network("resnet18"), images(3)
    ours = gradcam(model, inputs, method="gradcam++").numpy()
    theirs = of_pytorch_grad_cam(model, inputs, 1.0, "GradCAMPlusPlus")
    for mine, other in zip(ours, theirs, strict=True):
        assert np.corrcoef(mine.ravel(), other.ravel())[0, 1] > 0.99


@contextmanager
def unchanged(model: Classifier) -> Iterator[None]:
    def look() -> list[Any]:
        hooks = [len(m._forward_hooks) + len(m._backward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
        modes = [module.training for module in model.modules()]
        needs = [(p.requires_grad, None if p.grad is None else p.grad.clone()) for p in model.parameters()]
        return [hooks, modes, needs, {name: value.clone() for name, value in model.state_dict().items()}]

    before = look()
    yield
    after = look()
    assert before[:2] == after[:2]
    for (need, grad), (need_now, grad_now) in zip(before[2], after[2], strict=True):
        assert need == need_now and (grad is grad_now is None or torch.equal(grad, grad_now))
    assert all(torch.equal(value, after[3][name]) for name, value in before[3].items())


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "occlusion"])
def test_the_model_is_left_as_it_was(method: Any) -> None:
    model = network("small_cnn")
    model.trunk[0].eval().requires_grad_(False)  # type: ignore[index,union-attr]
    model(images(2)).sum().backward()
    with unchanged(model), torch.no_grad():
        maps = gradcam(model, images(2), method=method)
    assert not maps.requires_grad


class Spot(nn.Module):
    """A feature map that is the image itself, of which only one place counts."""

    def forward(self, inputs: Tensor) -> Tensor:
        mask = torch.zeros(1, 1, 32, 32)
        mask[..., 20:26, 4:10] = 1
        return inputs * mask


@pytest.mark.parametrize("method", ["gradcam", "occlusion"])
def test_the_place_that_counts_is_found(method: Any) -> None:
    model = Classifier(Spot(), 1, channels=1)
    nn.init.constant_(model.head.weight, 1.0)
    inputs = torch.rand((1, 1, 32, 32), generator=torch.Generator().manual_seed(3))
    inputs[..., 20:26, 4:10] += 1
    heat = gradcam(model, inputs, method=method)[0]
    row, column = divmod(int(heat.argmax()), 32)
    assert 18 <= row < 28 and 2 <= column < 12
    assert heat[20:26, 4:10].mean() > 3 * heat.mean()


def test_where_nothing_speaks_for_it_the_map_is_empty() -> None:
    model = network("small_cnn")
    nn.init.zeros_(model.head.weight)
    assert not gradcam(model, images(2)).any()


def test_what_cannot_be_explained_is_refused() -> None:
    table = build_model(ModelConfig(name="mlp"), (30,), 0)
    with pytest.raises(ModelError, match="tables have no heatmap"):
        gradcam(table, torch.zeros(2, 30))
    with pytest.raises(ModelError, match=r"gradcam, gradcam\+\+, occlusion"):
        gradcam(network("small_cnn"), images(1), method="lime")  # type: ignore[arg-type]
