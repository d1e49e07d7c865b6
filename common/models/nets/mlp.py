"""The networks for tables: one hidden layer, or none."""

from __future__ import annotations

from torch import nn

from common.config.study import ModelConfig
from common.models.classifier import Classifier
from common.rows import RowLinear


def build(config: ModelConfig, input_shape: tuple[int, ...]) -> Classifier:
    """Returns input -> Linear(width) -> tanh -> head; tanh bounds the gradients that clipping must bound."""
    (columns,) = input_shape
    trunk = nn.Sequential(RowLinear(columns, config.width), nn.Tanh())
    return Classifier(trunk, config.width, channels=0, dropout=config.dropout)


def build_linear(config: ModelConfig, input_shape: tuple[int, ...]) -> Classifier:
    """Returns logistic regression on the columns: the fewest parameters, so the least noise."""
    return Classifier(nn.Identity(), input_shape[0], channels=0, dropout=config.dropout)
