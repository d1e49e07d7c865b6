"""There is one way to train, and in private mode it leads through the ledger, the plan's sampler, clipping and noise.

Two views of the same claim. The source: who takes gradients, steps, makes noise, accounts, or calls the training loop,
as a closed list; a new place fails until somebody has thought about it. And a run: a site answers a request of the hub
while every gradient and step of the process is watched.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import common.training.loop as training_module
from client.site.budget import charge_round
from client.site.hospital import Cohort, Site
from client.site.policy import SitePolicy
from common.config.study import DataConfig, ModelConfig, PrivacyConfig, StudyConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.models.parts import select_part
from common.models.weights import trainable_state
from common.models.zoo import build_model
from common.privacy.engine import BookKeepingEngine
from common.privacy.ledger import Ledger
from common.privacy.optimizer import PatientOptimizer
from common.privacy.plan import PrivacyPlan
from common.privacy.randomness import Randomness
from common.protocol.messages import Request
from common.training.optimizers import LocalOptimizer

# --- the source ------------------------------------------------------------------------------------------------------

PACKAGES = ("common", "client", "server")
"""What runs in a hospital and at its hub; an import contract keeps them from ``simulations``."""

PLACES: dict[str, set[str]] = {
    "takes a gradient": {
        "common/explain/gradcam.py::_gradcam",  # of the head, for a picture that stays at the site
        "common/models/gradients.py::image_gradients",  # a public feature: of the logit at a public checkpoint
        "common/privacy/engine.py::BookKeepingEngine.clipped_sum",
        "common/privacy/engine.py::HooksEngine.clipped_sum",
        "common/privacy/preflight.py::_plain_sum",  # of a copy of the model on random numbers; thrown away
        "common/training/fitting.py::_plain_step",  # of blank images, to see what memory suffices for; thrown away
        "common/training/loop.py::_plain_step",
    },
    "steps": {
        "common/training/loop.py::_train",
    },
    "makes an optimizer": {"common/training/loop.py::_train"},
    "makes a gradient engine": {
        "common/privacy/preflight.py::_private_sum",
        "common/training/loop.py::_PrivateStep.__init__",
        "common/training/loop.py::noisy_sum",  # one step's sum, which leaves with the site's share of the noise
    },
    "makes noise": {"common/privacy/plan.py::PrivacyPlan.optimizer"},
    "plans": {
        "client/site/accounts.py::noted_statements",
        "client/site/accounts.py::site_statement",  # to tell what was planned, in a statement
        "client/site/forecast.py::forecast",
        "client/site/restore.py::_at_its_end",  # to tell what would be
        "client/site/hospital.py::Site._plan",
        "common/privacy/shares.py::_needed",  # what each site of a secure sum needs, from its declared size
    },
    "charges": {"client/site/budget.py::charge_round"},
    "trains": {
        "common/training/recipes.py",  # the site's own models, which never leave it
        "client/site/hospital.py::Site._train",
        "client/site/summed.py::Joined._noisy",
        "common/training/statistics.py",  # takes the features of a frozen trunk from there
    },
    "draws the noise": {
        "client/site/summed.py::Joined._noisy",
        "client/site/noised_scores.py::noised_scores.noise",  # of score counts, on an account of their own
        "client/site/monitor/hub_report.py::_drawn",  # of a quarter of a model in use, its account too
        "common/privacy/noise.py::GridNoise.draw",
        "common/privacy/noise.py::draw_steps",
        "common/privacy/shares.py::NoiseShare.noisy",  # a site's share of the noise of a secure sum
        "common/training/loop.py::noisy_sum",
        "common/privacy/noise.py::GridNoise.noisy",
        "common/privacy/noise.py::NoiseSource.draw_step",
        "common/privacy/optimizer.py::PatientOptimizer.__init__",
        "common/privacy/optimizer.py::PatientOptimizer.add_noise",
        "common/privacy/plan.py::PrivacyPlan.noised_sum",
        "common/training/statistics.py::train_statistics",
    },
    "sums over patients": {
        "client/site/summed.py::Joined._noisy",  # its part of a secure sum, with its share of the noise
        "common/training/statistics.py::round_sum",
        "common/training/statistics.py::train_statistics",
    },
    "opens a secret stream": {
        "common/privacy/randomness.py::Randomness._of_root.stream",
        "common/protocol/secure_sum.py::masked",  # a mask of a secure sum, under the key of one pair and one request
    },
    "draws from a generator that is not secret": {
        "client/site/rehearsal.py::_tensors",  # made-up patients of a rehearsal
        "common/evaluation/bootstrap.py::_Stratum.__init__",  # resamples of scores that have left the sites
        "common/evaluation/bootstrap.py::_Stratum.add_to",
        "common/evaluation/chance.py::ece_by_chance",  # what chance gives, from counts that have left the sites
        "common/evaluation/chance.py::gaps_by_chance",
        "common/evaluation/comparison.py::paired_replicates",
        "common/evaluation/gate.py::rates",  # runs that never were
        "common/explain/randomised.py::_forget",  # weights of a network that must forget what it learned
        "common/explain/randomised.py::randomised",
        "common/inference/golden.py::golden_image",  # images drawn by code, by which a package tests itself
        "common/inference/graph.py::export",  # random images on which two programs are compared
        "common/models/checkpoints.py::Checkpoint.network",  # weights that the checkpoint's replace at once
        "common/models/zoo.py::build_model",  # first weights, which everybody knows
        "common/privacy/preflight.py::_same_dropout",  # of a step that is thrown away
        "common/privacy/preflight.py::_random_inputs",  # random images for that step
    },
    "uses Opacus": {
        "common/privacy/accounting.py::_epsilon",
        "common/privacy/accounting.py::_noise_by_whole_orders",
        "common/privacy/accounting.py::_remember_orders",
        "common/privacy/engine.py::HooksEngine.__init__",
        "common/privacy/largest_update.py::noise_ceiling",
        "common/privacy/optimizer.py",
    },
}
"""What is done, and the only places that do it."""

_CALLS = {
    "backward": "takes a gradient",
    "grad": "takes a gradient",
    "vjp": "takes a gradient",
    "jacrev": "takes a gradient",
    "step": "steps",
    "gradient_engine": "makes a gradient engine",
    "PatientOptimizer": "makes noise",
    "local_optimizer": "makes an optimizer",
    "for_site": "plans",
    "charge": "charges",
    "charge_unbounded": "charges",
    "discrete_gaussian": "draws the noise",
    "NormalBlocks": "draws the noise",
    "NoiseSource": "draws the noise",
    "draw": "draws the noise",
    "draw_step": "draws the noise",
    "draw_steps": "draws the noise",
    "noisy": "draws the noise",
    "noised_sum": "draws the noise",
    "round_sum": "sums over patients",
    "spread_parts": "sums over patients",
    "residual_parts": "sums over patients",
    "SecretStream": "opens a secret stream",
} | dict.fromkeys(
    (
        "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "normal", "normal_", "uniform_", "random_",
        "bernoulli", "bernoulli_", "multinomial", "exponential_", "Generator", "manual_seed", "default_rng",
        "RandomState", "fork_rng", "shuffle", "choice", "standard_normal", "gauss",
    ),
    "draws from a generator that is not secret",
)  # fmt: skip
_MODULES = {
    "torch.func": "takes a gradient",
    "torch.autograd": "takes a gradient",
    "torch.optim": "makes an optimizer",
    "opacus": "uses Opacus",
    "common.training.loop": "trains",
    "common.training.statistics": "trains",
}


def places(root: Path) -> dict[str, set[str]]:
    """Returns who does what, as ``file::qualified name``, in the packages below ``root``."""
    found: dict[str, set[str]] = {kind: set() for kind in PLACES}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            for kind, where in _deeds(ast.parse(path.read_text(encoding="utf-8")), ()):
                found[kind].add("::".join([path.relative_to(root).as_posix(), *([where] if where else [])]))
    return found


def _deeds(node: ast.AST, scope: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        scope = (*scope, node.name)
    for kind in _kinds(node):
        yield kind, ".".join(scope)
    for child in ast.iter_child_nodes(node):
        yield from _deeds(child, scope)


def _kinds(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        yield from [_CALLS[name]] if name in _CALLS else []
        if "torch.optim." in ast.unparse(node.func):
            yield "makes an optimizer"
    for name in _imported(node):
        for module, kind in _MODULES.items():
            if name == module or (name.startswith(f"{module}.") and name not in HARMLESS):
                yield kind


HARMLESS = {"common.training.loop.predict", "common.training.loop.TrainReport"}


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def test_who_does_what_is_a_closed_list(project_root: Path) -> None:
    found = places(project_root)
    assert found == PLACES, "Somebody new does what privacy hangs on; make sure it may, then name it in PLACES"


PLANTS = {
    "def f(x): x.sum().backward()": "takes a gradient",
    "import torch\ndef f(x, w): return torch.autograd.grad(x, w)": "takes a gradient",
    "from torch.autograd import grad\ndef f(x, w): return grad(x, w)": "takes a gradient",
    "from torch.func import grad": "takes a gradient",
    "def f(optimizer): optimizer.step()": "steps",
    "import torch\ndef f(p): return torch.optim.SGD(p, lr=1)": "makes an optimizer",
    "from torch.optim import AdamW": "makes an optimizer",
    "def f(p): return local_optimizer(p, None)": "makes an optimizer",
    "from opacus import PrivacyEngine": "uses Opacus",
    "import opacus.grad_sample": "uses Opacus",
    "from common.training.loop import train": "trains",
    "import common.training.loop as t": "trains",
    "from common.training import loop": "trains",
    "import torch\ndef f(x): return x + torch.randn(3)": "draws from a generator that is not secret",
    "def f(x): x.normal_()": "draws from a generator that is not secret",
    "import numpy as np\ndef f(): return np.random.default_rng()": "draws from a generator that is not secret",
    "def f(key): return SecretStream(key)": "opens a secret stream",
    "def f(noise): return noise.draw(3, None)": "draws the noise",
    "def f(ledger): ledger.charge(cohort='', event=None)": "charges",
    "def f(model, data): return round_sum(model, data, None, 1)": "sums over patients",
    "from common.training.statistics import train_statistics": "trains",
}


@pytest.mark.parametrize("source", PLANTS)
def test_another_place_is_found(source: str, tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "sly.py").write_text(source)
    found = places(tmp_path)
    assert {kind for kind, where in found.items() if where} == {PLANTS[source]}
    assert all(place.startswith("server/sly.py") for place in found[PLANTS[source]])


# --- a run -----------------------------------------------------------------------------------------------------------

STUDY = StudyConfig(
    name="watched",
    data=DataConfig(image_size=0),
    model=ModelConfig(name="mlp", width=8),
    training=TrainingConfig(rounds=3, local_steps=6, batch_patients=6),
    privacy=PrivacyConfig(epsilon=4.0, accountant="rdp"),
)


class Watch:
    """Everything that happened between a request and its answer, in order, by name and with its values."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def note(self, name: str, value: Any = None) -> None:
        self.seen.append((name, value))

    def named(self, name: str) -> list[Any]:
        return [value for seen, value in self.seen if seen == name]

    def order(self) -> list[str]:
        return [name for name, _ in self.seen]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Sees each charge, sample, backward pass, clipped sum, noise and optimizer step of this process."""
    watch = Watch()

    def after(owner: Any, name: str, told: Callable[..., Any]) -> None:
        right = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = right(*args, **kwargs)
            watch.note(name, told(result, *args, **kwargs))
            return result

        monkeypatch.setattr(owner, name, wrapped)

    after(Ledger, "charge", lambda charge, self, **asked: asked["event"])
    after(PrivacyPlan, "sample", lambda samples, *_: None)
    after(torch.autograd, "backward", lambda *_, **__: None)
    after(torch.autograd, "grad", lambda *_, **__: None)
    after(BookKeepingEngine, "clipped_sum", lambda sums, self, inputs, loss, patients, clip_norm: clip_norm)
    after(PatientOptimizer, "noisy_gradient", lambda _, self: [p.grad.clone() for p in self.params])
    step = LocalOptimizer.step

    def noted(optimizer: LocalOptimizer) -> None:
        watch.note("step", [p.grad.clone() for group in optimizer.param_groups for p in group["params"]])
        step(optimizer)

    monkeypatch.setattr(LocalOptimizer, "step", noted)
    yield watch


@pytest.fixture
def site(tmp_path: Path) -> Site:
    generator = torch.Generator().manual_seed(0)
    patients = tuple(f"p{index}" for index in range(30))
    labels = torch.randint(0, 2, (30,), generator=generator).float()
    data = PatientTensors(torch.rand((30, 5), generator=generator), labels, torch.arange(30), patients)
    return Site(
        name="site_1",
        declared_patients=30,
        cohort=Cohort(train_patients=patients, counts={}, load=lambda study, split: data),
        policy=SitePolicy.emulated(10.0),
        randomness=lambda purpose, round_index: Randomness.from_seed(0, "site_1", purpose, round_index),
        home=tmp_path,
        ledger_path=tmp_path / "ledger.sqlite",
    )


def train_a_round(site: Site) -> None:
    model = build_model(STUDY.model, (5,), STUDY.seed)
    select_part(model, STUDY.model.part)
    site.train(Request(purpose="train", study=STUDY, run="ab", round_index=1, arrays=trainable_state(model)))


def detour(watch: Watch) -> str | None:
    """Returns how the run left the one path, None when it did not."""
    plan = PrivacyPlan.for_site(STUDY.privacy, STUDY.training, 30)
    order, steps = watch.order(), watch.named("step")
    if order[:2] != ["charge", "sample"]:
        return f"it began with {order[:2]}"
    if watch.named("charge") != [plan.event()]:
        return "what was charged is not the plan's round"
    if len(steps) != plan.steps_per_round or order.count("noisy_gradient") != len(steps):
        return "steps, noise and charge differ in number"
    if order.count("backward") != order.count("clipped_sum") or "grad" in order:
        return "a gradient was taken past the clipping"
    if set(watch.named("clipped_sum")) != {plan.clip_norm}:
        return "clipped to another norm"
    for used, noisy in zip(steps, watch.named("noisy_gradient"), strict=True):
        if not all(torch.equal(a, b) for a, b in zip(used, noisy, strict=True)):
            return "a step used another gradient than the noisy one"
    return None


def test_a_private_round_is_charged_sampled_clipped_and_noised_and_nothing_else(site: Site, watch: Watch) -> None:
    train_a_round(site)
    assert detour(watch) is None and "backward" in watch.order()
    step = ["noisy_gradient", "step"]
    rest = [name for name in watch.order()[2:] if name not in ("backward", "clipped_sum")]
    assert rest == step * STUDY.training.local_steps


def _no_charge(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("client.site.hospital.charge_round", lambda *asked: 0.0)


def _late_charge(patch: pytest.MonkeyPatch) -> None:
    right, train = charge_round, training_module.train
    owed: list[tuple[Any, ...]] = []
    patch.setattr("client.site.hospital.charge_round", lambda *args: owed.append(args))

    def late(*args: Any, **kwargs: Any) -> Any:
        report = train(*args, **kwargs)
        right(*owed.pop())
        return report

    patch.setattr(training_module, "train", late)


def _no_plan(patch: pytest.MonkeyPatch) -> None:
    train = training_module.train
    patch.setattr(training_module, "train", lambda *args, **kwargs: train(*args, **{**kwargs, "plan": None}))


def _twice(patch: pytest.MonkeyPatch) -> None:
    train = training_module.train
    patch.setattr(training_module, "train", lambda *a, **k: (train(*a, **k), train(*a, **k))[0])


def _past_the_noise(patch: pytest.MonkeyPatch) -> None:
    def bare(self: PatientOptimizer) -> None:
        for parameter in self.params:
            parameter.grad = parameter.summed_grad / self.expected_batch_size

    patch.setattr(PatientOptimizer, "noisy_gradient", bare)


def _a_second_look(patch: pytest.MonkeyPatch) -> None:
    """The loss of the model on the data, added to the gradient after the noise."""
    pull = training_module._pull

    def pulled(trained: list[Any], anchor: list[Any], mu: float) -> None:
        pull(trained, anchor, mu)
        for parameter in trained:
            parameter.grad.add_(1.0)

    patch.setattr(training_module, "_pull", pulled)


def _looser_clip(patch: pytest.MonkeyPatch) -> None:
    right = BookKeepingEngine.clipped_sum
    patch.setattr(BookKeepingEngine, "clipped_sum", lambda self, i, loss, p, clip: right(self, i, loss, p, 9 * clip))


DETOURS = (_no_charge, _late_charge, _no_plan, _twice, _past_the_noise, _a_second_look, _looser_clip)


@pytest.mark.parametrize("plant", DETOURS, ids=lambda plant: plant.__name__.strip("_"))
def test_a_detour_is_seen(
    plant: Callable[[pytest.MonkeyPatch], None], site: Site, request: pytest.FixtureRequest
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        watch: Watch = request.getfixturevalue("watch")
        plant(patch)
        train_a_round(site)
    assert detour(watch) is not None
