"""Every network of the zoo: shapes, what it is made of, one private step under Opacus, and initialisation by seed."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from common.config.study import ModelConfig
from common.errors import ModelError
from common.models.weights import frozen_digest
from common.models.zoo import Classifier, build_model, model_names

IMAGES, TABLES = model_names(images=True), model_names(images=False)
PARAMETRISED = (nn.Conv2d, nn.Linear, nn.GroupNorm, nn.LayerNorm)
COLUMNS = 30


def _build(name: str, size: int = 64, channels: int = 1, seed: int = 0, **keys: object) -> Classifier:
    shape = (channels, size, size) if name in IMAGES else (COLUMNS,)
    if name == "lite0":
        keys = {"weights": "package"} | keys
    return build_model(ModelConfig(name=name, **keys), shape, seed)  # type: ignore[arg-type]


def _inputs(name: str, rows: int = 4, size: int = 64, channels: int = 1) -> Tensor:
    shape = (channels, size, size) if name in IMAGES else (COLUMNS,)
    return torch.rand(rows, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [28, 65, 128])
@pytest.mark.parametrize("name", IMAGES)
def test_gives_one_logit_an_image_at_any_size(name: str, size: int, channels: int) -> None:
    if name == "lite0" and size < 32:
        with pytest.raises(ModelError, match=r"data\.image_size=64"):
            _build(name, size, channels)
        return
    model = _build(name, size, channels).eval()
    inputs = _inputs(name, 2, size, channels)
    with torch.no_grad():
        features, embedded, logits = model.features(inputs), model.embed(inputs), model(inputs)
    assert features.dim() == 4 and features.shape[:2] == embedded.shape == (2, model.head.in_features)
    assert logits.shape == (2,) and bool(torch.isfinite(logits).all())
    assert torch.equal(logits, model.head(embedded).squeeze(-1))


@pytest.mark.parametrize("name", [name for name in IMAGES if name != "lite0"])
def test_small_images_keep_a_map_to_look_at(name: str) -> None:
    for size in (28, 64):
        with torch.no_grad():
            rows, columns = _build(name, size).eval().features(_inputs(name, 1, size)).shape[2:]
        assert 2 <= rows == columns <= 8


@pytest.mark.parametrize("name", TABLES)
def test_gives_one_logit_a_row(name: str) -> None:
    model, inputs = _build(name), _inputs(name)
    assert torch.equal(model(inputs), model.head(model.embed(inputs)).squeeze(-1))
    assert model(inputs).shape == (4,)


@pytest.mark.parametrize("width", [4, 5, 6, 33])
def test_the_small_network_takes_any_width(width: int) -> None:
    assert _build("small_cnn", 28, width=width)(_inputs("small_cnn", 2, 28)).shape == (2,)


def test_the_default_network_is_small() -> None:
    for size in (28, 64, 224):
        assert 30_000 < sum(p.numel() for p in _build("small_cnn", size, width=16).parameters()) < 140_000


@pytest.mark.parametrize("name", model_names())
def test_is_made_of_layers_that_have_a_gradient_of_each_patient(name: str) -> None:
    model = _build(name)
    owners = [module for module in model.modules() if list(module.parameters(recurse=False))]
    assert all(isinstance(module, PARAMETRISED) for module in owners)
    assert all(module.padding_mode == "zeros" for module in owners if isinstance(module, nn.Conv2d))
    assert not any(getattr(module, "inplace", False) for module in model.modules())
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


@pytest.mark.parametrize("name", model_names())
def test_uses_each_layer_once_a_pass(name: str) -> None:
    model, calls = _build(name), dict.fromkeys(range(1000), 0)
    layers = [module for module in model.modules() if isinstance(module, PARAMETRISED)]
    for index, layer in enumerate(layers):
        layer.register_forward_hook(lambda *_, index=index: calls.update({index: calls[index] + 1}))
    model(_inputs(name, 1))
    assert [calls[index] for index in range(len(layers))] == [1] * len(layers)


@pytest.mark.parametrize("name", model_names())
def test_leaves_its_input_alone_and_mixes_no_examples(name: str) -> None:
    model, inputs = _build(name, 32).double(), _inputs(name, 3, 32).double()
    before = inputs.clone()
    alone = torch.cat([model(row[None]) for row in inputs])
    torch.testing.assert_close(model(inputs), alone, rtol=1e-9, atol=1e-9)
    assert torch.equal(inputs, before)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("name", IMAGES)
def test_takes_a_private_step_with_opacus_hooks(name: str, size: int) -> None:
    model = _build(name, size)
    before = {key: value.clone() for key, value in model.named_parameters()}
    private = GradSampleModule(model, loss_reduction="sum")
    optimizer = DPOptimizer(
        torch.optim.SGD(private.parameters(), lr=0.1),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        expected_batch_size=4,
        loss_reduction="sum",
        generator=torch.Generator().manual_seed(0),
    )
    logits = private(_inputs(name, 4, size))
    nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor([0.0, 1, 0, 1]), reduction="sum").backward()
    optimizer.step()
    after = dict(model.named_parameters())
    assert all(bool(torch.isfinite(value).all()) for value in after.values())
    assert not any(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("name", model_names())
def test_is_initialised_by_its_seed_alone(name: str) -> None:
    torch.manual_seed(5)
    expected = torch.get_rng_state()
    first = _build(name, seed=7)
    assert torch.equal(torch.get_rng_state(), expected), "the global generator moved"
    torch.manual_seed(99)
    states = [model.state_dict() for model in (first, _build(name, seed=7), _build(name, seed=8))]
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["head.weight"], states[2]["head.weight"])


@pytest.mark.parametrize("name", model_names())
def test_copies_deeply(name: str) -> None:
    model, inputs = _build(name, 32), _inputs(name, 2, 32)
    twin = copy.deepcopy(model)
    assert frozen_digest(twin) == frozen_digest(model) and list(twin.state_dict()) == list(model.state_dict())
    expected = model(inputs)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(model(inputs), expected)


def test_a_grey_image_is_the_same_as_its_three_equal_channels() -> None:
    model = _build("lite0").eval()
    grey = _inputs("lite0", 2)
    assert torch.equal(model(grey), model(grey.repeat(1, 3, 1, 1)))


def test_a_frozen_trunk_gives_rows_of_one_length() -> None:
    model = _build("lite0", part="head").eval()
    with torch.no_grad():
        embedded, flat = model.embed(_inputs("lite0")), model.embed(torch.zeros(1, 1, 64, 64))
    lengths = embedded.norm(dim=1)
    assert float(lengths[0]) > 0.1
    torch.testing.assert_close(lengths, lengths[:1].expand(4))
    assert bool(torch.isfinite(flat).all())
    assert not _build("lite0", part="all").normalise


def test_drops_features_only_in_training() -> None:
    model, inputs = _build("small_cnn", dropout=0.5), _inputs("small_cnn")
    with torch.random.fork_rng():
        assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    assert torch.equal(model(inputs), model(inputs))


@pytest.mark.parametrize(("name", "shape"), [("mlp", (1, 64, 64)), ("linear", (3, 64, 64)), ("small_cnn", (9,))])
def test_refuses_the_other_kind_of_data(name: str, shape: tuple[int, ...]) -> None:
    fitting = TABLES if len(shape) == 1 else IMAGES
    with pytest.raises(ModelError, match="choose one of " + ", ".join(fitting)):
        build_model(ModelConfig(name=name), shape, 0)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"'resnet'.*densenet121.*small_cnn"):
        build_model(ModelConfig(name="resnet"), (1, 64, 64), 0)


@pytest.mark.parametrize("name", model_names())
def test_each_network_has_its_line_in_the_guide(name: str, project_root: Path) -> None:
    assert f"`{name}`" in (project_root / "docs" / "models.md").read_text(encoding="utf-8")
