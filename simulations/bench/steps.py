"""The step that the benchmarks of private training time."""

from __future__ import annotations

from typing import Any

ROWS = {28: 64, 64: 32, 128: 16, 224: 8}
"""Images a step at each size, one a patient."""


def step_of(name: str, side: int) -> tuple[Any, Any, Any]:
    """Returns the network, all of it trained, with the images and labels of one step."""
    import torch

    from common.config.study import ModelConfig
    from common.models.zoo import build_model
    from common.training.allocator import keep_large_blocks

    keep_large_blocks()
    weights = "package" if name == "lite0" else None
    model = build_model(ModelConfig(name=name, weights=weights), (1, side, side), 0)
    model.requires_grad_(True)
    return model, torch.randn(ROWS[side], 1, side, side), (torch.arange(ROWS[side]) % 2).float()
