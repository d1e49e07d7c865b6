"""Heatmaps: those of two other libraries and of plain autograd, of every network, which is left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.config.study import ModelConfig
from common.errors import ModelError
from common.explain.gradcam import Method, gradcam, target_layer
from common.models.zoo import Classifier, build_model, model_names

SIDE = 64
CNNS = model_names(images=True)
METHODS: tuple[Method, ...] = get_args(Method)
Target = Literal["malignant", "benign"]


def network(
    name: str, part: Literal["all", "head"] = "all", sign: float = 1.0, weights: str | None = None
) -> Classifier:
    """With a head that finds more for malignant (``sign`` 1) or for benign (-1) in what the trunk sees."""
    model = build_model(ModelConfig(name=name, part=part, weights=weights), (1, SIDE, SIDE), 0)
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
        column: Tensor = self.sign * self.model(inputs).unsqueeze(-1)
        return column


def of_pytorch_grad_cam(model: Classifier, inputs: Tensor, sign: float, kind: str = "GradCAM") -> NDArray[np.float32]:
    import pytorch_grad_cam

    column = Column(model, sign)
    with getattr(pytorch_grad_cam, kind)(model=column, target_layers=[target_layer(column.model)]) as explain:
        maps: NDArray[np.float32] = explain(inputs, targets=[lambda output: output[0]] * len(inputs))
    return maps


def of_monai(model: Classifier, inputs: Tensor, sign: float) -> NDArray[np.float32]:
    from monai.visualize.class_activation_maps import GradCAM

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


def test_folded_networks_are_explained_alike() -> None:
    model, inputs = network("lite0", "head", weights="package"), images(2)
    ours = gradcam(model, inputs).numpy()
    assert np.abs(ours - of_pytorch_grad_cam(model, inputs, 1.0)).max() < 1e-4
    assert np.abs(ours - of_monai(model, inputs, 1.0)).max() < 1e-4


@pytest.mark.parametrize("part", ["all", "head"])
def test_the_map_is_the_definition(part: Literal["all", "head"]) -> None:
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
    model, inputs = network("small_cnn"), images(2)[..., ::2, ::2]
    for method in METHODS:
        alone = torch.cat([gradcam(model, one, method=method) for one in inputs.split(1)])
        assert torch.allclose(gradcam(model, inputs, method=method), alone, atol=1e-3)


def test_gradcam_plus_plus_looks_like_another_librarys() -> None:
    model, inputs = network("resnet18"), images(3)
    ours = gradcam(model, inputs, method="gradcam++").numpy()
    theirs = of_pytorch_grad_cam(model, inputs, 1.0, "GradCAMPlusPlus")
    for mine, other in zip(ours, theirs, strict=True):
        assert np.corrcoef(mine.ravel(), other.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(("target", "sign"), [("malignant", 1.0), ("benign", -1.0)])
@pytest.mark.parametrize("size", [1.0, 0.01])
def test_gradcam_plus_plus_is_the_definition_for_a_head_of_any_size(target: Target, sign: float, size: float) -> None:
    """Chattopadhay et al. 2018, equations 5 and 19, in double precision."""
    model, inputs = network("small_cnn").eval(), images(2)
    with torch.no_grad():
        model.head.weight.mul_(size)
    leaf = model.features(inputs).detach().double().requires_grad_()
    (slope,) = torch.autograd.grad(sign * model.double().head(model.pool(leaf)).sum(), leaf)
    bottom = 2 * slope**2 + (leaf * slope**3).sum((2, 3), keepdim=True)
    alpha = slope**2 / bottom.where(bottom != 0, 1.0)
    raw = ((alpha * slope.relu()).sum((2, 3), keepdim=True) * leaf).sum(1, keepdim=True).relu()
    wide = nn.functional.interpolate(raw.detach(), (SIDE, SIDE), mode="bilinear")[:, 0]
    low, high = wide.amin((1, 2), keepdim=True), wide.amax((1, 2), keepdim=True)
    ours = gradcam(model.float(), inputs, method="gradcam++", target=target)
    assert torch.allclose(ours, ((wide - low) / (high - low)).float(), atol=1e-4)


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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("around", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_the_model_is_left_as_it_was(method: Method, around: Any) -> None:
    model = network("small_cnn")
    model.trunk[0].eval().requires_grad_(False)  # type: ignore[index]
    model(images(2)).sum().backward()
    with unchanged(model), around():
        maps = gradcam(model, images(1)[..., ::2, ::2], method=method)
    assert not maps.requires_grad and maps.std() > 0


def test_a_model_is_restored_after_an_error() -> None:
    model = network("small_cnn")
    with unchanged(model), pytest.raises(ModelError, match="finite"):
        gradcam(model, images(2) * torch.nan)


class Spot(nn.Module):
    """A feature map that is the image itself, of which only one place counts."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.see.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        mask = torch.zeros(1, 1, 32, 32)
        mask[..., 20:26, 4:10] = 1
        seen: Tensor = self.see(inputs) * mask
        return seen


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


@pytest.mark.parametrize("name", model_names(images=False))
@pytest.mark.parametrize("inputs", [torch.zeros(2, 30), torch.zeros(1, 1, 30, 30)])
def test_tables_have_no_heatmap(name: str, inputs: Tensor) -> None:
    with pytest.raises(ModelError, match="tables have no heatmap"):
        gradcam(build_model(ModelConfig(name=name), (30,), 0), inputs)


def test_what_cannot_be_explained_is_refused() -> None:
    model = network("small_cnn")
    with pytest.raises(ModelError, match=r"gradcam, gradcam\+\+, occlusion"):
        gradcam(model, images(1), method="lime")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="malignant, benign"):
        gradcam(model, images(1), target="malign")  # type: ignore[arg-type]
    for wrong in (images(1)[0], images(1).expand(-1, 3, -1, -1), images(1)[:0]):
        with pytest.raises(ModelError, match=r"Expected images \(N, 1, H, W\), got"):
            gradcam(model, wrong)
