"""What every network is: a trunk that makes features and a linear head on top.

Every network is safe for per-patient gradients: no BatchNorm (it mixes patients), nothing in place, each layer with
parameters used once a pass.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.rows import RowLinear


class Classifier(nn.Module):
    """A trunk, global average pooling and a linear head with one output.

    Attributes:
        trunk: Maps inputs to a feature map (N, D, h, w), or to (N, D) for tables.
        head: Linear layer from D to the logit of malignancy.
        channels: Channels that the trunk wants; a single-channel input is repeated.
        normalise: Whether each row of features is centred and scaled to unit length before the head. It uses nothing
            but the row itself, so it costs no privacy, and weights and bias of a head get gradients of one size.
    """

    def __init__(
        self, trunk: nn.Module, features: int, *, channels: int, dropout: float = 0.0, normalise: bool = False
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.dropout = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.head = RowLinear(features, 1)
        self.channels = channels
        self.normalise = normalise

    def features(self, inputs: Tensor) -> Tensor:
        """Returns the trunk's output: (N, D, h, w) for images, (N, D) for tables."""
        if inputs.dim() == 4 and inputs.shape[1] != self.channels:
            inputs = inputs.expand(-1, self.channels, -1, -1)
        output: Tensor = self.trunk(inputs)
        return output

    def embed(self, inputs: Tensor) -> Tensor:
        """Returns the pooled features, float (N, D), on which the head works."""
        return self.pool(self.features(inputs))

    def pool(self, features: Tensor) -> Tensor:
        """Returns float (N, D) of what :meth:`features` returned."""
        pooled = features.mean((2, 3)) if features.dim() == 4 else features
        return _rows_to_unit(pooled) if self.normalise else pooled

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the logit of malignancy of each input, (N,)."""
        logits: Tensor = self.head(self.dropout(self.embed(inputs)))
        return logits.squeeze(-1)

    @property
    def device(self) -> torch.device:
        """Where its weights are, and where its inputs must be."""
        return next(self.parameters()).device

    @property
    def trunk_frozen(self) -> bool:
        """Whether no parameter of the trunk is trained."""
        return not any(parameter.requires_grad for parameter in self.trunk.parameters())


def _rows_to_unit(pooled: Tensor) -> Tensor:
    centred = pooled - pooled.mean(1, keepdim=True)
    return nn.functional.normalize(centred, dim=1)
