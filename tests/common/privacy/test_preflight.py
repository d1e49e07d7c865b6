"""A model that cannot take a private step is refused with the reason and the remedy."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from common.config.study import ModelConfig, PrivacyConfig, TrainingConfig
from common.errors import ModelError
from common.models.parts import select_part
from common.models.zoo import build_model, model_names
from common.privacy.plan import PrivacyPlan
from common.privacy.preflight import check_private_step

PLAN = PrivacyPlan.for_site(PrivacyConfig(accountant="rdp"), TrainingConfig(), 100)


class _Net(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.layers(inputs).flatten(1).mean(1)
        return output


class _Mixes(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs - inputs.mean(0, keepdim=True)


@pytest.mark.parametrize("name", model_names(images=True))
def test_the_zoo_passes_and_stays_as_it_was(name: str) -> None:
    model = build_model(ModelConfig(name=name, width=8), (1, 64, 64), 0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    check_private_step(model, (1, 64, 64), PLAN)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ((nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)), "BatchNorm2d.*GroupNorm"),
        ((nn.Conv2d(1, 4, 3), _Mixes()), "influence each other"),
    ],
)
def test_layers_that_mix_patients_are_refused_with_the_remedy(layers: tuple[nn.Module, ...], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        check_private_step(_Net(*layers), (1, 8, 8), PLAN)


def test_a_layer_that_works_in_place_is_refused_with_the_remedy() -> None:
    layers = (nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3))
    with pytest.raises(ModelError, match="inplace=False everywhere"):
        check_private_step(_Net(*layers), (1, 8, 8), dataclasses.replace(PLAN, engine="hooks"))


def test_an_input_changed_after_it_was_used_is_refused() -> None:
    class Overwrites(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            found = self.one(inputs)
            output: Tensor = self.two(found)
            found += 1
            return output.flatten(1).mean(1)

    with pytest.raises(ModelError, match="inplace=False everywhere"):
        check_private_step(Overwrites(), (1, 8, 8), PLAN)


class _MixesInTraining(_Mixes):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) if self.training else inputs


class _ByHand(nn.Module):
    """Uses a weight a second time where no layer sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(9, 9)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = (torch.tanh(self.layer(inputs)) @ self.layer.weight).mean(1)
        return output


def test_what_mixes_patients_in_training_only_is_refused() -> None:
    with pytest.raises(ModelError, match="influence each other"):
        check_private_step(_Net(nn.Conv2d(1, 4, 3), _MixesInTraining()), (1, 8, 8), PLAN)


@pytest.mark.parametrize("engine", ["book_keeping", "hooks"])
def test_a_gradient_that_misses_a_use_of_a_weight_is_refused(engine: str) -> None:
    with pytest.raises(ModelError, match="outside its layer"):
        check_private_step(_ByHand(), (9,), dataclasses.replace(PLAN, engine=engine))


def test_dropout_passes_and_the_global_generator_stays_as_it_was() -> None:
    model = _Net(nn.Conv2d(1, 4, 3), nn.Dropout(0.5), nn.Conv2d(4, 4, 3))
    before = torch.get_rng_state()
    check_private_step(model, (1, 8, 8), PLAN)
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_to_train_is_refused() -> None:
    model = _Net(nn.Conv2d(1, 4, 3))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ModelError, match=r"model.part"):
        check_private_step(model, (1, 8, 8), PLAN)


def test_a_part_the_network_does_not_have_is_refused_with_the_others_named() -> None:
    model = build_model(ModelConfig(name="linear"), (9,), 0)
    with pytest.raises(ModelError, match="head, bias_head or all"):
        select_part(model, "norms")
