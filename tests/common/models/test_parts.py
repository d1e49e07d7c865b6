"""Which parameters each part trains, counted by hand, and what is said where there is no such part."""

from __future__ import annotations

import pytest
from torch import nn

from common.config.study import ModelConfig
from common.errors import ModelError
from common.models.parts import select_part, trainable_names
from common.models.zoo import Classifier, build_model, model_names


def _build(name: str, **keys: object) -> Classifier:
    shape = (1, 64, 64) if name in model_names(images=True) else (30,)
    return build_model(ModelConfig(name=name, **keys), shape, 0)  # type: ignore[arg-type]


def _trained(model: Classifier) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


# small_cnn, width 16, 1 channel: convolutions 1-16-32-64-64 of 3x3 without bias, their norms, head 64 + 1.
@pytest.mark.parametrize(
    ("part", "count"),
    [
        ("head", 65),
        ("bias_head", 16 + 32 + 64 + 64 + 65),
        ("norms", 2 * (16 + 32 + 64 + 64) + 65),
        ("last_block", 9 * 64 * 64 + 2 * 64 + 65),
        ("all", 9 * (16 + 16 * 32 + 32 * 64 + 64 * 64) + 2 * (16 + 32 + 64 + 64) + 65),
    ],
)
def test_each_part_of_the_small_network_has_its_parameters(part: str, count: int) -> None:
    model = _build("small_cnn", width=16)
    select_part(model, part)  # type: ignore[arg-type]
    assert _trained(model) == count


@pytest.mark.parametrize("name", model_names(images=True))
def test_parts_of_every_network_grow_from_the_head_to_all(name: str) -> None:
    model = _build(name)
    counts = {}
    for part in ("head", "bias_head", "norms", "last_block", "all"):
        select_part(model, part)  # type: ignore[arg-type]
        counts[part] = _trained(model)
        assert {"head.weight", "head.bias"} <= set(trainable_names(model))
        assert model.trunk_frozen == (part == "head")
    assert counts["head"] < counts["bias_head"] < counts["norms"] < counts["all"]
    assert counts["head"] < counts["last_block"] < counts["all"]


def test_selecting_again_forgets_what_was_selected() -> None:
    model = _build("small_cnn")
    for part in ("all", "head"):
        select_part(model, part)  # type: ignore[arg-type]
    assert trainable_names(model) == ("head.weight", "head.bias")


def test_trained_names_come_in_the_order_of_the_model() -> None:
    model = _build("resnet18")
    select_part(model, "bias_head")
    order = [name for name, _ in model.named_parameters()]
    positions = [order.index(name) for name in trainable_names(model)]
    assert positions == sorted(positions)


def test_the_last_block_is_the_block_nearest_to_the_head() -> None:
    model = _build("densenet121")
    select_part(model, "last_block")
    assert {name.split(".")[1] for name in trainable_names(model) if name.startswith("trunk.")} == {"last"}
    model = _build("resnet18")
    select_part(model, "last_block")
    assert {name.split(".")[1] for name in trainable_names(model) if name.startswith("trunk.")} == {"layer4"}


def test_a_folded_network_has_no_norms_to_train() -> None:
    model = _build("lite0", weights="package")
    assert not any(isinstance(module, nn.GroupNorm) for module in model.modules())
    with pytest.raises(ModelError, match=r"no normalisation layers.*model\.part=head, bias_head or all.*weights=null"):
        select_part(model, "norms")


def test_logistic_regression_has_a_head_only() -> None:
    with pytest.raises(ModelError, match="no separate blocks"):
        select_part(_build("linear"), "last_block")
