"""The study: what the consortium agreed on, composed by Hydra, validated, hashed.

Hydra composes the YAML groups of ``configs/``; code sees only the frozen dataclasses of this module.
:class:`StudyConfig` holds everything that the sites of a study share; :class:`SimulationConfig` and
:class:`PartitionConfig` exist only where hospitals are emulated and never travel, nor does ``data.root``.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from common.canonical import document_digest
from common.config.device import DeviceSetting
from common.config.overrides import take_paths
from common.config.statistics import StatisticsConfig, problem_of_statistics
from common.config.tuned import TunedConfig
from common.errors import ConfigError

MAX_NAME = 100
CONFIG_DIR = Path(__file__).resolve().parents[2] / "configs"

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
LEAST_NORM, LARGEST_NORM = 1e-4, 1e6
"""Clipping norms of a study. Under far smaller ones what is clipped ends among float32's last numbers, where rounding
bounds nothing."""
Norm = Annotated[float, Field(ge=LEAST_NORM, le=LARGEST_NORM, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
LARGEST_BATCH = 4096
"""Images that go through a network at once. Float32 adds them up: of 60,000 patients one moved such a sum by more than
arithmetic is allowed."""
Subgroup = Annotated[
    str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_ -]{0,39}(:-?\d{1,6}(\.\d{1,3})?(,-?\d{1,6}(\.\d{1,3})?)*)?$")
]
"""A manifest column, or ``column:cut,cut`` for a number."""
ROBUST = frozenset({"fedmedian", "fedtrimmedmean", "krum"})
"""Strategies that must see every site's update."""
Part = Literal["head", "bias_head", "norms", "last_block", "all"]
FeatureKind = Literal["gradient", "pooled", "last"]

_strict = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Which data set, how it is read, cleaned, sized and split."""

    __pydantic_config__ = _strict

    name: str = "phantom"
    root: str | None = None
    """Folder or file of the data set; private to whoever holds it, so it never travels."""
    image_size: Annotated[int, Field(ge=0, le=1024)] = 32
    """Side of the square network input in pixels; 0 for tables."""
    channels: Literal[1, 3] = 1
    include_normal: bool = False
    exclude_conflicts: bool = True
    breast_crop: bool = False
    """Mammograms: crop to the breast and turn the chest wall to the left before resizing."""
    only: Annotated[str, Field(pattern=r"^$|^[A-Za-z][A-Za-z0-9_ -]{0,39}:[^:]{1,200}$")] = ""
    """Keeps the records with a value of a column, as in ``magnification:400`` or ``view:CC,MLO``; empty: all."""
    column: str = ""
    """Manifest column that tells the hospital (``natural`` partition); empty: the reader's own."""
    train_share: Share = 0.70
    val_share: Share = 0.15
    patients: Annotated[int, Field(ge=20, le=100_000)] = 1200
    """Phantom only: how many synthetic patients to draw."""

    def __post_init__(self) -> None:
        if self.train_share + self.val_share >= 1:
            raise ValueError("data.train_share + data.val_share must leave patients for the test split (< 1)")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PartitionConfig:
    """How one public data set is dealt to emulated hospitals."""

    __pydantic_config__ = _strict

    name: Literal["iid", "dirichlet", "quantity", "natural"] = "iid"
    sites: Annotated[int, Field(ge=1, le=1000)] = 4
    alpha: Positive = 0.5
    """Concentration of the Dirichlet draw (label or quantity skew): smaller is more skewed."""
    min_patients: Count = 10
    """Fewest patients a site may get (train, val and test together)."""
    shift: NonNegative = 0.0
    """Strength of the emulated scanner shift (gain, contrast, blur, speckle a site); 0 is none."""
    outside: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = ()
    """Hospitals that take no part, as if they had no labels to train on; the model is tried on all their patients."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SimulationConfig:
    """What the emulated hospitals would decide by themselves."""

    __pydantic_config__ = _strict

    ceiling: Positive = 10.0
    """Lifetime epsilon that each emulated hospital allows on its cohort."""
    ceilings: Mapping[str, Positive] = dataclasses.field(default_factory=dict)
    """Other ceilings for single sites by name, for instance ``+simulation.ceilings.site_2=1.0``."""
    ledger_dir: str | None = None
    """Folder of the sites' ledgers when they outlive one run; default: inside the run."""
    start_seconds: Positive = 600.0
    """Longest time that Flower's SuperLink may take to start or to answer, on a machine short of processor time."""
    cache_dir: str | None = None
    """Folder of preprocessed images, for many runs and for data larger than memory; default: kept in memory."""
    device: DeviceSetting = "auto"
    """Where the emulated hospitals' networks run: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which network, and which part of it is trained."""

    __pydantic_config__ = _strict

    name: str = "small_cnn"
    part: Part = "all"
    width: Annotated[int, Field(ge=4, le=512)] = 8
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    prior: Share = 0.5
    """Public guess of the share of malignant patients: where the head's bias starts."""
    weights: str | None = None
    """``package`` (the installed weight package), a torchvision weight name, the path of a file or of a checkpoint's
    folder; None: random."""
    checkpoint: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """Digest of the public checkpoint in the folder ``weights``, or SHA-256 of the file ``weights``; a simulation that
    names none takes what is there, a hospital refuses."""
    features: FeatureKind = "gradient"
    """``linearised`` only: which public features of the checkpoint the model is linear in."""
    dimensions: Annotated[int, Field(ge=0, le=1024)] = 0
    """``linearised`` only: axes of the public basis that are used; 0: all it has."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """One site's local training."""

    __pydantic_config__ = _strict

    method: Literal["dp_sgd", "statistics"] = "dp_sgd"
    """``statistics``: a linear model on public coordinates, from one noisy sum over all patients a round."""
    rounds: Annotated[int, Field(ge=1, le=10_000)] = 10
    local_steps: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Optimizer steps of a round; 0: as many as ``local_epochs`` expected passes take."""
    local_epochs: Positive = 4.0
    batch_patients: Count = 100
    """Expected patients a step: public, and the normaliser of the private sum."""
    physical_batch: Annotated[int, Field(ge=1, le=LARGEST_BATCH)] = 128
    """Images that go through the network at once; memory only, no effect on the result of a step. A private step takes
    16 at least."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: Positive = 2.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: NonNegative = 0.0
    positive_weight: Positive | None = None
    """Weight of malignant patients in the loss; a public constant of the study."""
    augment: bool = False
    statistics: StatisticsConfig = dataclasses.field(default_factory=StatisticsConfig)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyConfig:
    """The guarantee each patient gets from local training; ``mode: none`` must be written to be had."""

    __pydantic_config__ = _strict

    mode: Literal["local", "distributed", "none"] = "local"
    """``local``: each site adds all of the noise. ``distributed``: the sites share it, in a secure sum."""
    colluders: Annotated[int, Field(ge=1, le=1000)] = 1
    """``distributed``: how many sites may side with the hub. One at least: each site knows its own share of noise."""
    epsilon: Positive = 8.0
    """Target for all rounds of the study together, per site."""
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    """None: min(1e-5, 0.1 / declared patients)."""
    clip_norm: Norm = 1.0
    max_images: Annotated[int, Field(ge=1, le=1000)] = 8
    """Images of one patient that enter a step at most."""
    accountant: Literal["prv", "rdp"] = "prv"
    engine: Literal["book_keeping", "hooks"] = "book_keeping"

    @property
    def private(self) -> bool:
        return self.mode != "none"

    @property
    def distributed(self) -> bool:
        return self.mode == "distributed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StrategyConfig:
    """How the hub combines updates and how long it waits for them."""

    __pydantic_config__ = _strict

    name: Literal["fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "fedmedian", "fedtrimmedmean", "krum"] = (
        "fedavg"
    )
    proximal_mu: NonNegative = 0.0
    server_lr: Positive = 1.0
    server_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    tau: Positive = 1e-3
    trim: Annotated[float, Field(ge=0, lt=0.5)] = 0.2
    malicious: Annotated[int, Field(ge=0)] = 0
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of a running average of the global weights, which is what is scored and kept; 0 is none. It averages
    noise out and, touching no data, costs no privacy."""
    weighting: Literal["declared", "equal"] = "declared"
    quorum: Count = 2
    """Fewest sites with a valid update for a round to count."""
    quorum_patients: Annotated[int, Field(ge=0)] = 0
    """Fewest declared training patients that those sites have together."""
    round_timeout: Positive = 3600.0
    """Seconds to wait for the updates of a round."""
    join_timeout: Positive = 120.0
    """Seconds to wait for sites before the first round."""
    max_update_norm: Positive = 1e4
    """Largest L2 norm of a site's update (new minus old weights) that the hub accepts."""
    require_readiness: bool = False
    """Whether a site takes part only with a signed certificate that no check found an error in its data."""
    release_signatures: Annotated[int, Field(ge=0)] = 0
    """Fewest sites that must have signed the final model, which each of them has scored itself, for its release."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """How the model is judged."""

    __pydantic_config__ = _strict

    threshold: Share | Literal["auto"] = "auto"
    """From which probability on a patient is called malignant; ``auto``: the best on pooled validation patients
    (Youden) of the chosen round, fixed before the test is opened."""
    confidence: Share = 0.95
    specificity: Share = 0.9
    """At which sensitivity is read off the ROC curve."""
    resamples: Annotated[int, Field(ge=0, le=100_000)] = 1000
    """Bootstrap resamples of the patients; 0: no bootstrap intervals."""
    margin: Share = 0.05
    """Largest loss of AUROC that counts as none: of non-inferiority, equivalence and the do-no-harm gate."""
    bins: Annotated[int, Field(ge=16, le=65_536)] = 4096
    select_by: Literal["auroc", "log_loss", "last"] = "auroc"
    """What makes a round the best on validation patients, a later one wins a tie; ``last``: the last round, whatever it
    does."""
    test: bool = True
    """Whether the chosen round's model is tested at the end; a sweep leaves the test patients unopened."""
    local_baseline: bool = True
    """Whether each site makes the best model it can at home, without noise, to compare with; it is never released."""
    local_epochs: NonNegative = 16.0
    """Most passes of the network that is tuned at home; 0: only a linear model of its features is tried."""
    local_batch: Count = 16
    """Patients a step at home."""
    local_optimizer: Literal["sgd", "adam"] = "adam"
    local_lr: Positive = 1e-3
    home_part: Part | None = None
    """Part of the network that is tuned at home; None: the study's, and all of the one behind public features."""
    home_folds: Annotated[int, Field(ge=2, le=20)] = 3
    """Parts of a site's patients that are held out in turn to choose its own models."""
    home_seeds: Annotated[int, Field(ge=1, le=20)] = 1
    """Fits of a site's own model whose scores are averaged."""
    personal_epochs: NonNegative = 4.0
    """Most passes of the federated model that is tuned at the site, without noise; 0: no model with the federated."""
    personal_lr: Positive = 1e-3
    min_group: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Fewest test patients of a subgroup for its rates to stand in the fairness table."""
    min_cell: Annotated[int, Field(ge=0, le=100)] = 5
    """Counts below this are suppressed where a site describes its cohort or counts a subgroup."""
    subgroups: Annotated[tuple[Subgroup, ...], Field(max_length=8)] = ("scanner",)
    """Manifest columns to count test patients by; a number's cut points after a colon (``age:40,50,60``)."""
    noise: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Standard deviation, in patients, of the discrete Gaussian noise on each count of scores that leaves a site,
    charged to the site's evaluation account; 0: counts leave without noise. Subgroups are not counted with noise."""

    attention: bool = False
    """Whether each site is asked, once, where the model looks on its test patients: measures of Grad-CAM as sums by
    class, without noise; the maps stay."""

    def __post_init__(self) -> None:
        if self.noise and self.attention:
            raise ValueError(
                "evaluation.noise covers the scores only, and sums of where the model looks have no noise: set "
                "evaluation.attention=false with it"
            )
        if self.noise and self.local_baseline:
            raise ValueError(
                "evaluation.noise covers the common model's scores only, and what leaves of a site's own models has "
                "no noise: set evaluation.local_baseline=false with it"
            )
        for subgroup in self.subgroups:
            cuts = [float(cut) for cut in subgroup.partition(":")[2].split(",") if cut]
            if any(low >= high for low, high in pairwise(cuts)):
                raise ValueError(f"evaluation.subgroups: the cut points of {subgroup} must rise, as in age:40,50,60")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StudyConfig:
    """Everything the consortium agreed on, plus (simulation only) how the hospitals are emulated."""

    __pydantic_config__ = _strict

    name: str = "study"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    partition: PartitionConfig = dataclasses.field(default_factory=PartitionConfig)
    simulation: SimulationConfig = dataclasses.field(default_factory=SimulationConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    privacy: PrivacyConfig = dataclasses.field(default_factory=PrivacyConfig)
    strategy: StrategyConfig = dataclasses.field(default_factory=StrategyConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    tuned: TunedConfig = dataclasses.field(default_factory=TunedConfig)

    def __post_init__(self) -> None:
        if len(self.name) > MAX_NAME or not self.name.isprintable():
            raise ValueError(f"name: expected at most {MAX_NAME} printable characters")
        if self.evaluation.attention and (self.training.method == "statistics" or not self.data.image_size):
            raise ValueError(
                "evaluation.attention needs a network with a feature map of images; a table has no images, and the "
                "linear model of training.method=statistics no map: set evaluation.attention=false"
            )
        if self.training.method == "statistics" and (problem := problem_of_statistics(self)):
            raise ValueError(problem)
        if self.privacy.distributed:
            _check_summed(self)

    @property
    def tuning_problem(self) -> str:
        """Why no hospital may take part: a sweep chose the settings on the study's own patients. Empty: none did."""
        if not self.tuned.on(self.data.name):
            return ""
        return (
            f"the study's settings were chosen on its own patients ({self.tuned.trials} trials on {self.tuned.data}), "
            "which no epsilon covers; expected settings from public or synthetic data, or without a sweep"
        )

    def travelling(self) -> dict[str, Any]:
        """Returns the part of the study that sites receive: no path, no emulation.

        A site finds a public checkpoint by its digest, so the hub's path of it stays at the hub.
        """
        document = to_dict(self)
        document["data"].pop("root")
        if self.model.checkpoint:
            document["model"]["weights"] = "checkpoint"
        del document["partition"], document["simulation"]
        return document

    def digest(self) -> str:
        """Returns the SHA-256 (hex) of the travelling study in canonical JSON."""
        return document_digest(self.travelling())


def _check_summed(study: StudyConfig) -> None:
    """Refuses what a secure sum cannot carry: an update must be one noisy sum times a public number."""
    training, strategy = study.training, study.strategy
    if training.method == "statistics":  # which is one noisy sum a round already, of plain FedAvg
        return
    allowed = {
        "training.local_steps=1": training.local_steps == 1,
        "training.optimizer=sgd": training.optimizer == "sgd",
        "training.weight_decay=0": training.weight_decay == 0,
        "a strategy that takes the mean (not fedmedian, fedtrimmedmean or krum, which must see each site's update)": (
            strategy.name not in ROBUST
        ),
    }
    missing = [what for what, holds in allowed.items() if not holds]
    if missing:
        raise ValueError(f"privacy.mode=distributed sums one noisy step of each site; it needs {'; '.join(missing)}")


_ADAPTER = TypeAdapter(StudyConfig)


def to_dict(study: StudyConfig) -> dict[str, Any]:
    """Returns the study as plain JSON values."""
    document: dict[str, Any] = _ADAPTER.dump_python(study, mode="json")
    return document


def from_dict(document: Mapping[str, Any]) -> StudyConfig:
    """Returns the validated study.

    Raises:
        ConfigError: A key is unknown or a value is out of its range; the message names each.
    """
    try:
        return _ADAPTER.validate_python(dict(document))
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors(include_url=False)]
        raise ConfigError("The study is not valid: " + "; ".join(lines)) from None


def _explain(item: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in item["loc"]) or "study"
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown key; see configs/ for the known ones"
    return f"{where}={item['input']!r}: {item['msg']}" if item["loc"] else str(item["msg"])


def compose(overrides: Sequence[str] = (), name: str = "study") -> StudyConfig:
    """Returns the study that Hydra composes from ``configs/`` with the user's overrides.

    Raises:
        ConfigError: An override does not parse, names an unknown key or group, or has a bad value.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    grammatical, paths = take_paths(overrides)
    try:
        document = copy.deepcopy(_composed(tuple(grammatical), name))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_problem(overrides, error)) from None
    if not isinstance(document, dict):
        raise ConfigError(f"configs/{name}.yaml must hold a mapping")
    for setting, path in paths.items():
        group, _, key = setting.partition(".")
        document[group][key] = path
    return from_dict({str(key): value for key, value in document.items()})


@lru_cache(maxsize=8)
def _composed(overrides: tuple[str, ...], name: str) -> Any:
    """Returns what Hydra makes of ``configs/``; hub and emulated sites of a run in one process ask for the same."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(CONFIG_DIR), version_base="1.3"):
        composed = hydra_compose(name, overrides=list(overrides))
    return OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)


def _problem(overrides: Sequence[str], error: Exception) -> str:
    from common.config.override_help import problem_of

    known = problem_of(overrides, StudyConfig, CONFIG_DIR)
    return known or f"The overrides {list(overrides)} cannot be composed: {_first_lines(error)}"


def _first_lines(error: Exception) -> str:
    cause = error.__cause__ or error
    return " ".join(line.strip() for line in str(cause).splitlines()[:3] if line.strip())
