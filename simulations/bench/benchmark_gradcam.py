"""What a heatmap of one image costs beside two other libraries: a part of ``make benchmark``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from simulations.bench.timing import interleaved

NETWORKS = ("mobilenet_v3_small", "lite0", "resnet18", "densenet121")
SIDE = 224


def heatmaps(repeats: int, networks: Sequence[str] = NETWORKS) -> list[dict[str, Any]]:
    """Returns milliseconds of one Grad-CAM at 224 px, and pytorch-grad-cam's and MONAI's time over ours."""
    return [_row(name, repeats) for name in networks]


def _row(name: str, repeats: int) -> dict[str, Any]:
    import torch

    from common.config.study import ModelConfig
    from common.explain.gradcam import gradcam
    from common.models.zoo import build_model

    model = build_model(ModelConfig(name=name), (1, SIDE, SIDE), 0).eval()
    image = torch.rand(1, 1, SIDE, SIDE) * 2 - 1
    others = [_pytorch_grad_cam(model, image), _monai(model, image)]
    ours, packaged, monai = interleaved([lambda: gradcam(model, image), *others], repeats)
    return {"network": name, "ours (ms)": 1000 * ours, "pytorch-grad-cam/ours": packaged / ours,
            "MONAI/ours": monai / ours}  # fmt: skip


def _pytorch_grad_cam(model: Any, image: Any) -> Callable[[], object]:
    from pytorch_grad_cam import GradCAM

    from common.explain.gradcam import target_layer

    column = _column(model)
    explain = GradCAM(model=column, target_layers=[target_layer(column.model)])
    return lambda: explain(image, targets=[lambda output: output[0]])


def _monai(model: Any, image: Any) -> Callable[[], object]:
    from monai.visualize.class_activation_maps import GradCAM

    explain = GradCAM(_column(model), "model.trunk")
    return lambda: explain(image, class_idx=0)


def _column(model: Any) -> Any:
    import copy

    import torch

    class Column(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = copy.deepcopy(model)

        def forward(self, inputs: Any) -> Any:
            return self.model(inputs).unsqueeze(-1)

    return Column()
