"""Masks of dropout are tried one after the other: torch's generator has 2^32 of them, whatever seed it is given.

Who knows all patients but one computes the sum under each mask. Removing her moves the masks of others, and with 100
patients the sum by twelve clipping norms, so the one that fits the noisy sum tells whether she is in it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.config.study import ModelConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.errors import ModelError
from common.models.zoo import build_model
from common.privacy.randomness import Randomness
from common.privacy.stream import SecretStream, derived_key
from common.training.dropout import own_dropout
from common.training.loop import train


class _OtherUpperBits(SecretStream):
    """The words of a stream with every bit of their upper halves turned."""

    def words(self, count: int) -> NDArray[np.int64]:
        return super().words(count) ^ np.int64(-(1 << 32))


def _stream(kind: type[SecretStream] = SecretStream) -> SecretStream:
    return kind(derived_key(bytes(32), "masks"))


def _trained(stream: SecretStream) -> Tensor:
    model = build_model(ModelConfig(name="mlp", width=8, dropout=0.5), (6,), 0)
    inputs = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    data = PatientTensors(inputs, torch.arange(20) % 2 + 0.0, torch.arange(20), tuple(map(str, range(20))))
    randomness = dataclasses.replace(Randomness.from_seed(1), regularisation=stream)
    training = TrainingConfig(rounds=1, batch_patients=20, local_steps=1)
    train(model, data, training, randomness=randomness, plan=None)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_the_masks_hang_on_more_than_32_bits() -> None:
    assert torch.equal(_trained(_stream()), _trained(_stream()))
    assert not torch.equal(_trained(_stream()), _trained(_stream(_OtherUpperBits)))


def test_a_mask_is_the_stream_s_and_keeps_the_share_and_the_mean() -> None:
    inputs, before = torch.ones(200, 500), torch.get_rng_state()
    layer = nn.Dropout(0.3)
    with own_dropout(layer, _stream()):
        found = layer(inputs)
        assert torch.equal(layer.eval()(inputs), inputs)
    expected = torch.from_numpy(_stream().uniforms(100_000).reshape(200, 500) >= 0.3)
    assert torch.equal(found != 0, expected) and torch.equal(torch.get_rng_state(), before)
    assert abs(float(found.mean()) - 1) < 0.01 and "forward" not in vars(layer)


def test_dropout_of_channels_takes_whole_channels() -> None:
    layer = nn.Dropout2d(0.5)
    with own_dropout(layer, _stream()):
        found = layer(torch.ones(8, 16, 3, 3))
    assert torch.equal(found, found[:, :, :1, :1].expand_as(found)) and 0 < float((found == 0).float().mean()) < 1


def test_a_dropout_that_draws_from_elsewhere_is_refused() -> None:
    with pytest.raises(ModelError, match="AlphaDropout"), own_dropout(nn.AlphaDropout(0.5), _stream()):
        pass
