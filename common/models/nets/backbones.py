"""EfficientNet-Lite0 with ImageNet weights from an installable package, its BatchNorms folded.

The Lite variants (Google, 2020) are EfficientNets (Tan and Le 2019) without squeeze-and-excitation and with ReLU6:
every BatchNorm follows a convolution, so folding leaves convolutions with biases only. Input is RGB in [-1, 1].
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from common.config.study import ModelConfig
from common.errors import ModelError
from common.models.classifier import Classifier
from common.models.dp_safe import fold_batch_norms, group_norm, out_of_place
from common.models.pretrained import fill, given_file, package_file, read_state

# (expansion, kernel, stride, outputs, repeats) of EfficientNet-B0, Tan and Le 2019, table 1.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
FEATURES = 1280
EPSILON = 1e-3


def build(config: ModelConfig, input_shape: tuple[int, ...]) -> Classifier:
    """Returns EfficientNet-Lite0; ``weights`` None makes a random one with GroupNorm.

    Of a checkpoint's folder only the shape is made here; its head reads features as they are.
    """
    if min(input_shape[1:]) < 32:
        raise ModelError(f"lite0 halves its input five times: {input_shape[1:]} is too small; set data.image_size=64")
    trunk: nn.Module = Lite0Trunk()
    checkpoint = config.weights is not None and Path(config.weights).is_dir()
    if config.weights is None:
        trunk = out_of_place(group_norm(trunk))
    else:
        if not checkpoint:
            _fill(trunk, config.weights)
        trunk = fold_batch_norms(out_of_place(trunk.eval())).train()
    normalise = config.part == "head" and not checkpoint
    return Classifier(trunk, FEATURES, channels=3, dropout=config.dropout, normalise=normalise)


class Lite0Trunk(nn.Module):
    """Stem, sixteen inverted residual blocks and the last 1x1 convolution: (N, 3, H, W) to (N, 1280, H/32, W/32)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(3, 32, 3, 2)
        inputs, blocks = 32, []
        for (expansion, kernel, _, outputs, _), stride in _strides():
            blocks.append(InvertedResidual(inputs, outputs, expansion, kernel, stride))
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last = _convolution(inputs, FEATURES, 1, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the feature map."""
        output: Tensor = self.last(self.blocks(self.stem(inputs)))
        return output


def _strides() -> list[tuple[tuple[int, int, int, int, int], int]]:
    """Returns each block's stage and stride; only the first block of a stage strides."""
    return [(stage, stage[2] if index == 0 else 1) for stage in STAGES for index in range(stage[4])]


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection; a shortcut where the shapes allow it (Sandler et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = _convolution(inputs, width, 1, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _convolution(width, width, kernel, stride, groups=width)
        self.project = _convolution(width, outputs, 1, 1, activation=False)
        self.shortcut = inputs == outputs and stride == 1

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns (N, outputs, H/stride, W/stride)."""
        output: Tensor = self.project(self.depthwise(self.expand(inputs)))
        return output + inputs if self.shortcut else output


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int, *, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    padding = kernel // 2 if stride == 1 else 0
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=EPSILON),
    ]
    convolution = nn.Sequential(*layers, *([nn.ReLU6()] if activation else []))
    return convolution if stride == 1 else nn.Sequential(_same_padding(kernel, stride), *convolution)


def _same_padding(kernel: int, stride: int) -> nn.ZeroPad2d:
    """TensorFlow's SAME padding of an even side, which the published weights were trained with: more at the end."""
    total = kernel - stride
    return nn.ZeroPad2d((total // 2, total - total // 2, total // 2, total - total // 2))


def _fill(trunk: nn.Module, weights: str) -> None:
    otherwise = "write package for the installed ImageNet weights"
    path = package_file() if weights == "package" else given_file(weights, otherwise=otherwise)
    fill(trunk, _translated(read_state(path)), path)


def _translated(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the published state under our names; the ImageNet classifier is dropped."""
    layers = {"_conv_stem": "stem.1", "_bn0": "stem.2", "_conv_head": "last.0", "_bn1": "last.1"}
    inside = {"_expand_conv": "expand.0", "_bn0": "expand.1", "_project_conv": "project.0", "_bn2": "project.1"}
    strided = {str(index) for index, (_, stride) in enumerate(_strides()) if stride == 2}
    renamed = {}
    for name, tensor in state.items():
        head, _, rest = name.partition(".")
        if head == "_blocks":
            index, layer, leaf = [*rest.split(".", 2), "", ""][:3]
            shift = int(index in strided)
            depthwise = {"_depthwise_conv": f"depthwise.{shift}", "_bn1": f"depthwise.{shift + 1}"}
            renamed[f"blocks.{index}.{(inside | depthwise).get(layer, layer)}.{leaf}"] = tensor
        elif head in layers:
            renamed[f"{layers[head]}.{rest}"] = tensor
    return renamed
