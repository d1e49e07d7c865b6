"""Both engines against a naive loop over patients in float64, layer by layer and for every network of the zoo."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from common.config.study import ModelConfig
from common.errors import ModelError
from common.models.parts import select_part
from common.models.zoo import build_model, model_names
from common.privacy.engine import gradient_engine, unknown_layers
from common.privacy.layers import Patients

SIZES = (1, 3, 7, 2, 1)
RELATIVE = 1e-10
LARGE = {"densenet121", "resnet18", "lite0", "mobilenet_v3_small"}


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def _naive(model: nn.Module, inputs: Tensor, labels: Tensor, sizes: tuple[int, ...], clip: float) -> list[Tensor]:
    """The definition: the gradient of each patient's mean loss, clipped, summed; one patient at a time."""
    trained = [p for p in model.parameters() if p.requires_grad]
    total = [torch.zeros_like(p) for p in trained]
    start = 0
    for size in sizes:
        rows = slice(start, start + size)
        start += size
        loss = F.binary_cross_entropy_with_logits(model(inputs[rows]), labels[rows])
        grads = torch.autograd.grad(loss, trained)
        norm = torch.sqrt(sum((g**2).sum() for g in grads))
        for acc, grad in zip(total, grads, strict=True):
            acc += grad * min(1.0, clip / (float(norm) + 1e-6))
    return total


def _engine(name: str, model: nn.Module, inputs: Tensor, labels: Tensor, sizes: tuple[int, ...], clip: float, scale=1):
    counts = torch.tensor(sizes)
    of_row = torch.repeat_interleave(torch.arange(len(sizes)), counts)
    share = scale / counts[of_row]

    def loss(logits: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none") * share

    with gradient_engine(name, model) as engine:
        return engine.clipped_sum(inputs, loss, Patients(of_row, len(sizes)), clip)


def _error(got: list[Tensor], expected: list[Tensor]) -> float:
    flat = [torch.cat([t.flatten() for t in tensors]) for tensors in (got, expected)]
    return float((flat[0] - flat[1]).norm() / (flat[1].norm() + 1e-300))


def _case(model: nn.Module, shape: tuple[int, ...], sizes: tuple[int, ...] = SIZES) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    rows = sum(sizes)
    labels = torch.repeat_interleave(torch.arange(len(sizes)) % 2, torch.tensor(sizes)).double()
    return torch.randn(rows, *shape, generator=generator), labels


def _combinations() -> Iterator[tuple[str, str, float]]:
    """Every network with both engines, clipped and not; the large ones see the reference engine clip only."""
    for name in model_names():
        for engine in ("book_keeping", "hooks"):
            for clip in (1e-3, 1e6):
                if not (name in LARGE and engine == "hooks" and clip == 1e6):
                    yield name, engine, clip


@pytest.mark.parametrize(("name", "engine", "clip"), list(_combinations()))
def test_every_network_of_the_zoo_is_exact(name: str, engine: str, clip: float) -> None:
    shape = (1, 32, 32) if name in model_names(images=True) else (9,)
    model = build_model(ModelConfig(name=name, width=8), shape, 0).double()
    sizes = (2, 1) if name in LARGE else SIZES
    inputs, labels = _case(model, shape, sizes)
    got, norms = _engine(engine, model, inputs, labels, sizes, clip)
    assert _error(got, _naive(model, inputs, labels, sizes, clip)) < RELATIVE
    assert len(norms) == len(sizes)
    total = torch.sqrt(sum((g**2).sum() for g in got))
    assert float(total) <= len(sizes) * clip


@pytest.mark.parametrize("part", ["head", "bias_head", "norms", "last_block"])
def test_every_part_is_exact_and_only_that_part_has_gradients(part: str) -> None:
    model = build_model(ModelConfig(name="small_cnn", width=8), (1, 28, 28), 0).double()
    select_part(model, part)  # type: ignore[arg-type]
    inputs, labels = _case(model, (1, 28, 28))
    got, _ = _engine("book_keeping", model, inputs, labels, SIZES, 0.05)
    assert _error(got, _naive(model, inputs, labels, SIZES, 0.05)) < RELATIVE
    assert len(got) == sum(p.requires_grad for p in model.parameters())


class _One(nn.Module):
    """One layer between a fixed projection and the logit."""

    def __init__(self, layer: nn.Module, outputs: int) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("project", torch.linspace(-1, 1, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.tanh(self.layer(inputs)).flatten(2).mean(2) @ self.project


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([(2, 4, 1), (4, 4, 4), (4, 8, 2), (6, 6, 3), (3, 40, 1)]),
    st.sampled_from([1, 2, 3, 5]),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(1, 2),
    st.sampled_from([(9, 9), (7, 12), (28, 28)]),
    st.lists(st.integers(1, 7), min_size=1, max_size=5),
    st.sampled_from([1e-3, 0.02, 1e6]),
)
def test_convolutions_of_every_kind_are_exact(
    channels: tuple[int, int, int], kernel: int, stride: int, padding: int, dilation: int, side: tuple[int, int],
    sizes: list[int], clip: float,
) -> None:  # fmt: skip
    inputs, outputs, groups = channels
    torch.manual_seed(0)
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups)
    if min(side) + 2 * padding < dilation * (kernel - 1) + 1:
        return
    model = _One(layer, outputs)
    x, y = _case(model, (inputs, *side), tuple(sizes))
    got, _ = _engine("book_keeping", model, x, y, tuple(sizes), clip)
    assert _error(got, _naive(model, x, y, tuple(sizes), clip)) < RELATIVE


@pytest.mark.parametrize(
    "layer", [nn.GroupNorm(2, 6), nn.LayerNorm([6, 5, 5]), nn.LayerNorm([5]), nn.GroupNorm(6, 6), nn.Linear(5, 5)]
)
def test_normalisation_and_linear_layers_on_maps_are_exact(layer: nn.Module) -> None:
    model = _One(layer.double(), 6)
    x, y = _case(model, (6, 5, 5))
    got, _ = _engine("book_keeping", model, x, y, SIZES, 0.01)
    assert _error(got, _naive(model, x, y, SIZES, 0.01)) < RELATIVE


def test_removing_a_patient_moves_the_sum_by_at_most_the_clip_norm() -> None:
    model = build_model(ModelConfig(name="small_cnn", width=4), (1, 28, 28), 0).double()
    inputs, labels = _case(model, (1, 28, 28))
    inputs[4:11] *= 50  # the patient with seven images is an outlier
    whole, _ = _engine("book_keeping", model, inputs, labels, SIZES, 0.3)
    keep = torch.tensor([True] * 4 + [False] * 7 + [True] * 3)
    rest, _ = _engine("book_keeping", model, inputs[keep], labels[keep], (1, 3, 2, 1), 0.3)
    moved = torch.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(whole, rest, strict=True)))
    assert 0.29 < float(moved) <= 0.3 * (1 + 1e-9)


def test_an_engine_leaves_no_trace_on_the_model() -> None:
    model = build_model(ModelConfig(name="small_cnn", width=4), (1, 28, 28), 0).double()
    before, names = list(model.__dict__), list(model.state_dict())
    inputs, labels = _case(model, (1, 28, 28))
    for engine in ("book_keeping", "hooks"):
        _engine(engine, model, inputs, labels, SIZES, 1.0)
        assert list(model.state_dict()) == names and list(model.__dict__) == before
        assert not any("forward" in module.__dict__ for module in model.modules())
        assert all(p.grad is None and not hasattr(p, "grad_sample") for p in model.parameters())


@pytest.mark.parametrize("engine", ["book_keeping", "hooks"])
def test_a_step_that_breaks_off_leaves_no_patient_on_the_model(engine: str) -> None:
    """Opacus keeps each layer's inputs from the forward pass until its backward pass."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1))
    attributes = [set(vars(module)) for module in model.modules()]

    def loss(logits: Tensor) -> Tensor:
        raise MemoryError

    with pytest.raises(MemoryError), gradient_engine(engine, model) as opened:
        opened.clipped_sum(torch.ones(2, 3), loss, Patients(torch.tensor([0, 1]), 2), 1.0)
    assert [set(vars(module)) for module in model.modules()] == attributes
    assert all(vars(parameter) == {} for parameter in model.parameters())


def test_an_unknown_layer_falls_back_to_hooks_with_a_notice(caplog: pytest.LogCaptureFixture) -> None:
    model = _One(nn.Sequential(nn.Conv2d(2, 6, 3), nn.InstanceNorm2d(6, affine=True)).double(), 6)
    assert unknown_layers(model) == ["InstanceNorm2d"]
    x, y = _case(model, (2, 8, 8))
    got, _ = _engine("book_keeping", model, x, y, SIZES, 0.01)
    assert "InstanceNorm2d" in caplog.text and "hooks" in caplog.text
    assert _error(got, _naive(model, x, y, SIZES, 0.01)) < RELATIVE


class _Shares(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(5, 5), nn.Linear(5, 5)
        self.two.weight = self.one.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.tanh(self.two(torch.tanh(self.one(inputs)))).sum(1)


class _Bypasses(_Shares):
    """A layer's weight applied by hand."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.tanh(F.linear(torch.tanh(self.one(inputs)), self.one.weight)).sum(1)


def test_layers_that_share_a_weight_fall_back_to_hooks_and_are_exact(caplog: pytest.LogCaptureFixture) -> None:
    model = _Shares()
    x, y = _case(model, (5,))
    got, _ = _engine("book_keeping", model, x, y, SIZES, 0.05)
    assert "shared weights" in caplog.text
    assert _error(got, _naive(model, x, y, SIZES, 0.05)) < RELATIVE


def test_a_layer_that_someone_wrapped_is_not_bypassed(caplog: pytest.LogCaptureFixture) -> None:
    layer = nn.Linear(5, 1)
    layer.forward = lambda inputs: F.linear(inputs, 2 * layer.weight, layer.bias)  # type: ignore[method-assign]
    assert unknown_layers(layer) == ["Linear"]


def test_a_weight_used_outside_its_layer_is_refused() -> None:
    model = _Bypasses()
    del model.two
    x, y = _case(model, (5,))
    with pytest.raises(ModelError, match="outside its layer"):
        _engine("book_keeping", model, x, y, SIZES, 1.0)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("engine", ["book_keeping", "hooks"])
def test_a_parameter_that_takes_no_part_is_refused(engine: str) -> None:
    model = _Bypasses()
    model.forward = lambda inputs: model.one(inputs).sum(1)  # type: ignore[method-assign]
    model.two = nn.Linear(5, 5)
    x, y = _case(model, (5,))
    with pytest.raises(ModelError, match="no part"):
        _engine(engine, model, x, y, SIZES, 1.0)


@pytest.mark.parametrize("engine", ["book_keeping", "hooks"])
@pytest.mark.parametrize("poison", [float("inf"), float("nan"), 1e200])
@pytest.mark.parametrize("side", [12, 28])
def test_a_patient_whose_gradient_is_not_finite_adds_nothing(engine: str, poison: float, side: int) -> None:
    """Otherwise one overflow would carry "this patient is here" through any noise. 1e200 squared overflows float64."""
    layers = [nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 16, 5, 2)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 1), nn.Flatten(0))
    inputs, labels = _case(model, (1, side, side))
    rest = torch.tensor([True] * 4 + [False] * 7 + [True] * 3)
    expected, _ = _engine(engine, model, inputs[rest], labels[rest], (1, 3, 2, 1), 0.05)
    scale = torch.ones(len(labels))
    if poison == 1e200:  # normalisation would undo it in the input, so the loss overflows
        scale[5] = poison
    else:
        inputs[5] = poison
    got, norms = _engine(engine, model, inputs, labels, SIZES, 0.05, scale)
    assert norms.isfinite().tolist() == [True, True, False, True, True]
    assert _error(got, expected) < RELATIVE


def test_a_layer_used_twice_is_refused_with_the_remedy() -> None:
    layer = nn.Conv2d(2, 2, 3, padding=1)
    model = _One(nn.Sequential(layer, nn.Tanh(), layer), 2)
    x, y = _case(model, (2, 8, 8))
    with pytest.raises(ModelError, match="hooks"):
        _engine("book_keeping", model, x, y, SIZES, 1.0)
