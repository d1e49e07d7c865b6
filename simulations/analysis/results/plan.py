"""Which studies stand in docs/results.md: their overrides, and the learning rates that each side may choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SEEDS = (0, 1, 2, 3, 4)
BUSBRA = ("data=bus_bra", "partition=natural", "model=lite0", "model.prior=0.32", "data.image_size=128")
BUSI = ("data=busi", "partition=iid", "partition.sites=3", "model=lite0", "model.prior=0.32", "data.image_size=128")
HEAD = ("training.local_steps=1", "training.batch_patients=1000", "training.rounds=30")
SHARED = (
    "experiment=statistics_busbra", "data.image_size=128", "privacy.mode=distributed", "evaluation.local_epochs=0",
)  # fmt: skip
ALONE = ("experiment=statistics_busbra", "data.image_size=128", "privacy.epsilon=3", "evaluation.local_baseline=false")
BUSBRA_START = ("data=bus_bra", "data.image_size=128", "model=lite0")
FOUR = (
    *SHARED, "data=breastmnist", "partition=iid", "partition.sites=4", "model.prior=0.27",
    "training.statistics.patients=546", "training.statistics.sites=4",
)  # fmt: skip
FOURTEEN = (*SHARED, "partition=iid", "partition.sites=14", "training.statistics.sites=14")
BUSI_START = ("data=busi", "data.image_size=128", "model=lite0")
WHOLE = (
    "model.part=all", "privacy=none", "training=plain", "training.rounds=6", "training.local_epochs=1",
    "training.batch_patients=16", "training.augment=true",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One row of the table.

    Attributes:
        name: Names the row's folder and is typed after ``--only``.
        title: What it is, for people.
        data: Rows of the same data share the best local model.
        root: Path below the folder of data sets; empty for data that need no file.
        overrides: Hydra overrides but for data.root, the seed and the learning rates.
        rates: Candidates of the federated learning rate.
        own_rates: Candidates of the learning rate at home; as many as ``rates``. Where both are empty those of
            the overrides are taken.
        public: Overrides of ``oncofed-sim pretrain`` that make the checkpoint the study starts from; empty: none.
        public_root: Path of the public data below the folder of data sets.
        seeds: Each is a split, a start and noise of its own.
    """

    name: str
    title: str
    data: str
    root: str
    overrides: Sequence[str]
    rates: Sequence[float]
    own_rates: Sequence[float]
    seeds: Sequence[int] = SEEDS
    public: Sequence[str] = ()
    public_root: str = ""

    def __post_init__(self) -> None:
        if len(self.rates) != len(self.own_rates):
            raise ValueError(f"{self.name}: both sides get the same number of candidates")


STUDIES = (
    Study(
        name="phantom", title="Phantom, the default study, epsilon 8", data="phantom", root="",
        overrides=(), rates=(1.0, 2.0, 4.0), own_rates=(3e-4, 1e-3, 3e-3),
    ),
    Study(
        name="phantom-eps3", title="Phantom, epsilon 3", data="phantom", root="",
        overrides=("privacy.epsilon=3",), rates=(0.5, 1.0, 2.0), own_rates=(3e-4, 1e-3, 3e-3),
    ),
    Study(
        name="consortium", title="Phantom, 8 unequal sites, sums at a weak checkpoint, shared noise, epsilon 3",
        data="consortium", root="", overrides=("experiment=consortium",), rates=(), own_rates=(),
        public=("data.patients=120",),
    ),
    Study(
        name="wdbc-eps2", title="WDBC table, 5 sites, logistic regression, epsilon 2", data="wdbc", root="",
        overrides=("experiment=wdbc_eps2",), rates=(2.0, 4.0, 8.0), own_rates=(0.01, 0.03, 0.1),
    ),
    Study(
        name="breastmnist-eps8", title="BreastMNIST, 4 sites, frozen ImageNet lite0 and a head, epsilon 8",
        data="breastmnist", root="breastmnist/breastmnist.npz",
        overrides=("experiment=breastmnist_eps8",), rates=(8.0, 16.0, 32.0), own_rates=(0.03, 0.1, 0.3),
    ),
    Study(
        name="breastmnist-eps3", title="the same, epsilon 3",
        data="breastmnist", root="breastmnist/breastmnist.npz",
        overrides=("experiment=breastmnist_eps3",), rates=(1.0, 2.0, 4.0), own_rates=(0.03, 0.1, 0.3),
    ),
    Study(
        name="busbra-head-eps8", title="BUS-BRA by scanner, 3 sites, frozen ImageNet lite0 and a head, epsilon 8",
        data="bus_bra", root="bus-bra/BUSBRA",
        overrides=(*BUSBRA, *HEAD, "privacy.clip_norm=0.4"), rates=(8.0, 16.0, 32.0), own_rates=(0.03, 0.1, 0.3),
    ),
    Study(
        name="busbra-head-eps3", title="BUS-BRA by scanner, 3 sites, frozen ImageNet lite0 and a head, epsilon 3",
        data="bus_bra", root="bus-bra/BUSBRA",
        overrides=(*BUSBRA, *HEAD, "privacy.epsilon=3", "privacy.clip_norm=0.7"),
        rates=(1.0, 2.0, 4.0), own_rates=(0.03, 0.1, 0.3),
    ),
    Study(
        name="busi-head-eps8", title="BUSI, 3 sites, frozen ImageNet lite0 and a head, epsilon 8",
        data="busi", root="busi/Dataset_BUSI_with_GT",
        overrides=(*BUSI, *HEAD, "privacy.clip_norm=0.4"), rates=(8.0, 16.0, 32.0), own_rates=(0.03, 0.1, 0.3),
    ),
    Study(
        name="busbra-statistics-eps8",
        title="BUS-BRA by scanner, sums at a BUSI checkpoint, shared noise, at home ridge regression only, epsilon 8",
        data="bus_bra", root="bus-bra/BUSBRA", overrides=(*SHARED, "privacy.epsilon=8"), rates=(), own_rates=(),
        public=BUSI_START, public_root="busi/Dataset_BUSI_with_GT",
    ),
    Study(
        name="busbra-statistics-eps3", title="the same, epsilon 3",
        data="bus_bra", root="bus-bra/BUSBRA", overrides=(*SHARED, "privacy.epsilon=3"), rates=(), own_rates=(),
        public=BUSI_START, public_root="busi/Dataset_BUSI_with_GT",
    ),
    Study(
        name="busbra-statistics-eps1", title="the same, epsilon 1",
        data="bus_bra", root="bus-bra/BUSBRA", overrides=(*SHARED, "privacy.epsilon=1"), rates=(), own_rates=(),
        public=BUSI_START, public_root="busi/Dataset_BUSI_with_GT",
    ),
    Study(
        name="busbra-without-ge5", title="the same without the GE Logiq 5, local noise, epsilon 3",
        data="bus_bra", root="bus-bra/BUSBRA", overrides=(*ALONE, "partition.outside=[ge_logiq_5]"), rates=(),
        own_rates=(), public=BUSI_START, public_root="busi/Dataset_BUSI_with_GT",
    ),
    Study(
        name="busbra-without-ge7", title="the same without the GE Logiq 7, local noise, epsilon 3",
        data="bus_bra", root="bus-bra/BUSBRA", overrides=(*ALONE, "partition.outside=[ge_logiq_7]"), rates=(),
        own_rates=(), public=BUSI_START, public_root="busi/Dataset_BUSI_with_GT",
    ),
    Study(
        name="busbra-fourteen-eps3",
        title="BUS-BRA, 14 hospitals of 50 patients, sums at a BUSI checkpoint, shared noise, ridge at home, epsilon 3",
        data="bus_bra_14", root="bus-bra/BUSBRA", overrides=(*FOURTEEN, "privacy.epsilon=3"), rates=(), own_rates=(),
        public=BUSI_START, public_root="busi/Dataset_BUSI_with_GT",
    ),
    Study(
        name="breastmnist-statistics-eps8",
        title="BreastMNIST, 4 sites, sums at a BUS-BRA checkpoint, shared noise, ridge at home, epsilon 8",
        data="breastmnist_128", root="breastmnist/breastmnist.npz", overrides=(*FOUR, "privacy.epsilon=8"), rates=(),
        own_rates=(), public=BUSBRA_START, public_root="bus-bra/BUSBRA",
    ),
    Study(
        name="breastmnist-statistics-eps3", title="the same, epsilon 3",
        data="breastmnist_128", root="breastmnist/breastmnist.npz", overrides=(*FOUR, "privacy.epsilon=3"), rates=(),
        own_rates=(), public=BUSBRA_START, public_root="bus-bra/BUSBRA",
    ),
    Study(
        name="breastmnist-statistics-eps1", title="the same, epsilon 1",
        data="breastmnist_128", root="breastmnist/breastmnist.npz", overrides=(*FOUR, "privacy.epsilon=1"), rates=(),
        own_rates=(), public=BUSBRA_START, public_root="bus-bra/BUSBRA",
    ),
    Study(
        name="breastmnist-plain", title="BreastMNIST, 4 sites, ImageNet lite0 fine-tuned whole, not private",
        data="breastmnist", root="breastmnist/breastmnist.npz",
        overrides=("experiment=breastmnist_plain",), rates=(1e-4, 3e-4), own_rates=(1e-4, 3e-4), seeds=(0, 1, 2),
    ),
    Study(
        name="busbra-plain", title="BUS-BRA by scanner, ImageNet lite0 fine-tuned whole, not private",
        data="bus_bra", root="bus-bra/BUSBRA",
        overrides=(*BUSBRA, *WHOLE, "evaluation.local_epochs=6"), rates=(2e-4,), own_rates=(2e-4,), seeds=(0,),
    ),
)  # fmt: skip
