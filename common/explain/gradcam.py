"""Class activation maps: which places of an image moved the logit.

The explained layer is the network's last feature map, on which only pooling and the head work. So the trunk runs
once without gradients, and derivatives are taken through the head alone: the map of Grad-CAM at the price of a
forward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Literal, get_args

from common.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from common.models.classifier import Classifier

Method = Literal["gradcam", "gradcam++", "occlusion"]
Target = Literal["malignant", "benign"]
OCCLUDED = 8
"""Occlusion covers a square of this fraction of the shorter side."""
_ABOVE_EPSILON = 2.0**12
"""MONAI adds 1e-7 to the denominator of equation 19, which for slopes of a small head is more than the denominator.
Activations divided by a factor have slopes multiplied by it: the map is the same, and the denominator is its square
times as large. A power of two rounds nothing."""


def target_layer(model: Classifier) -> nn.Module:
    """Returns the module whose output, float (N, D, h, w), is explained: the whole trunk of every network for images.

    Its output is the last activation before pooling: the last ReLU of small_cnn and ResNet-18, of DenseNet-121 the one
    after norm5, of MobileNetV3 and lite0 that of the last 1x1 convolution. "The last convolutional layer" is what
    Selvaraju et al. 2017, section 3, explain.

    Raises:
        ModelError: The network has no convolution, so there is no map to explain.
    """
    from torch import nn

    if not any(isinstance(module, nn.Conv2d) for module in model.trunk.modules()):
        raise ModelError("The network has no convolution, and tables have no heatmap; choose a network for images")
    return model.trunk


def gradcam(model: Classifier, images: Tensor, *, method: Method = "gradcam", target: Target = "malignant") -> Tensor:
    """Returns one map an image, float32 (N, H, W) in [0, 1], 1 where the logit is moved most; all 0 where nowhere.

    Images may lie elsewhere than the model; maps are on the CPU.

    The model is left as it was: mode, gradients, what requires them, hooks. Works under ``torch.no_grad`` and
    ``torch.inference_mode`` too, with a model made outside of the latter.

    Args:
        model: A classifier of images, unwrapped.
        images: float32 (N, C, H, W), preprocessed as for training; C is the network's or 1.
        method: ``gradcam`` (Selvaraju et al. 2017, equations 1 and 2), ``gradcam++`` (Chattopadhay et al. 2018,
            equation 19, by MONAI) or ``occlusion`` (Zeiler and Fergus 2014, section 4.2).
        target: Whether the map shows what speaks for or against malignancy.

    Raises:
        ModelError: The method or target is unknown, the model does not read such images, or its maps are not finite.
    """
    makers: dict[str, Callable[[Classifier, Tensor, float], Tensor]] = {
        "gradcam": _gradcam, "gradcam++": _gradcam_plus_plus, "occlusion": _occlusion
    }  # fmt: skip
    if method not in makers:
        raise ModelError(f"method={method!r} is unknown; choose one of {', '.join(makers)}")
    if target not in get_args(Target):
        raise ModelError(f"target={target!r} is unknown; choose one of {', '.join(get_args(Target))}")
    target_layer(model)
    if images.ndim != 4 or not len(images) or images.shape[1] not in (1, model.channels):
        shape = f"(N, {model.channels}, H, W)"
        raise ModelError(f"Expected images {shape}, got {tuple(images.shape)}; write image[None] for a single one")
    with _evaluating(model):
        maps = makers[method](model, images.to(model.device), 1.0 if target == "malignant" else -1.0)
        return _to_unit(maps.cpu())


@contextmanager
def _evaluating(model: Classifier) -> Iterator[None]:
    import torch

    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.inference_mode(False):  # under it no gradient can be had, whatever enable_grad says
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def _gradcam(model: Classifier, images: Tensor, sign: float) -> Tensor:
    import torch

    features = _features(model, images)
    with torch.enable_grad():
        leaf = features.detach().requires_grad_()
        logits = model.head(model.pool(leaf))
        (slopes,) = torch.autograd.grad(sign * logits.sum(), leaf)
    weights = slopes.mean((2, 3), keepdim=True)
    return _resized((weights * features).sum(1, keepdim=True).relu(), images)


def _gradcam_plus_plus(model: Classifier, images: Tensor, sign: float) -> Tensor:
    """MONAI works on a copy of the head, on which it may leave its hooks and gradients."""
    import torch
    from monai.visualize.class_activation_maps import GradCAMpp

    head = copy.deepcopy(model.head)
    last = torch.nn.Identity()

    def column(features: Tensor) -> Tensor:
        logits: Tensor = sign * head(model.pool(_ABOVE_EPSILON * last(features)))
        return logits - logits.detach()  # MONAI's factor exp(logit), which scaling takes out again, is then 1

    explain = GradCAMpp(_module(column, last=last), "last", upsampler=lambda size: _as_it_is, postprocessing=_as_it_is)
    with torch.enable_grad():
        scaled = (_features(model, images) / _ABOVE_EPSILON).split(1)
        maps = [explain(one.requires_grad_(), class_idx=0) for one in scaled]
    return _resized(torch.cat(maps).detach().relu(), images)


def _occlusion(model: Classifier, images: Tensor, sign: float) -> Tensor:
    """Each place gets the mean fall of the logit over the squares that cover it, filled with their own mean.

    Not MONAI's, which indexes tensors by lists, as torch no longer promises to understand.
    """
    import torch

    side = max(2, min(images.shape[2:]) // OCCLUDED)
    fallen, covered = (images.new_zeros(len(images), 1, *images.shape[2:]) for _ in range(2))
    with torch.no_grad():
        whole = model(images)
        for top, left in product(*(range(0, length, side // 2) for length in images.shape[2:])):
            square = (..., slice(top, top + side), slice(left, left + side))
            hidden = images.clone()
            hidden[square] = images[square].mean((2, 3), keepdim=True)
            fallen[square] += (sign * (whole - model(hidden))).view(-1, 1, 1, 1)
            covered[square] += 1
    return (fallen / covered).relu()[:, 0]


def _features(model: Classifier, images: Tensor) -> Tensor:
    import torch

    with torch.no_grad():
        features = model.features(images).detach()
    if features.ndim != 4:
        raise ModelError("This network's features are no map of places (model=linearised); choose method=occlusion")
    return features


def _module(function: Callable[[Tensor], Tensor], **layers: nn.Module) -> nn.Module:
    """Returns a function as the module that MONAI wants, with the layers that it may hook."""
    import torch

    class Module(torch.nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return function(inputs)

    module = Module()
    for name, layer in layers.items():
        module.add_module(name, layer)
    return module.eval()


def _as_it_is(maps: Tensor) -> Tensor:
    return maps


def _resized(maps: Tensor, images: Tensor) -> Tensor:
    from torch.nn.functional import interpolate

    return interpolate(maps, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def _to_unit(maps: Tensor) -> Tensor:
    """Returns each map (N, H, W) moved and scaled to [0, 1]; a flat one becomes 0."""
    flat = maps.detach().float().flatten(1)
    if not flat.isfinite().all():
        raise ModelError("Expected finite heatmaps, got others; look for NaN in the images and in the model's weights")
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    spread = high - low
    scaled = (flat - low) / spread.where(spread > 0, 1.0)
    return scaled.view_as(maps)
