"""Emulated hospitals: one public data set, split, dealt out by patient, each part behind a real :class:`Site`.

Flower's simulator calls :func:`emulated_site` in every worker; the same seed deals the same patients everywhere.
Noise and sampling are seeded here so that a run can be repeated, and every report of it says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.site.hospital import Cohort, Site, require_classes
from client.site.policy import SitePolicy, check_request
from client.site.run_keys import FOLDER, sum_key
from common.config.overrides import split_overrides
from common.config.study import StudyConfig, compose
from common.errors import ConfigError, DataError, OncoFedError
from common.runs.run_folder import run_path
from server.run.strategy import check_strategy
from server.run.summed import check_summed

if TYPE_CHECKING:
    from common.data.loading import PatientTensors
    from common.data.manifest import Dataset
    from common.privacy.randomness import Randomness

SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class _Seeded:
    """Returns the seeded generators of one site; a picklable stand-in for OS entropy."""

    seed: int
    site: str

    def __call__(self, purpose: str, round_index: int) -> Randomness:
        from common.privacy.randomness import Randomness

        return Randomness.from_seed(self.seed, self.site, purpose, round_index)


def emulated_site(*, partition_id: int, num_partitions: int, run_config: Mapping[str, Any], run_id: int) -> Site:
    """Returns the site that Flower's ``partition_id`` stands for (entry point ``oncofed.emulators``).

    Raises:
        ConfigError: Flower started another number of nodes than the study emulates sites.
    """
    import torch

    torch.set_num_threads(1)
    overrides = str(run_config.get("overrides", ""))
    study = dealt_to(_study(overrides), num_partitions, fixed="partition.sites=" in overrides)
    names = site_names(study)
    if num_partitions != len(names):
        raise ConfigError(
            f"The study emulates {len(names)} hospitals, Flower started {num_partitions} nodes; "
            f"add --federation-config 'num-supernodes={len(names)}'"
        )
    out_dir = str(run_config.get("resume") or run_config.get("out-dir") or "")
    return build_site(study, names[partition_id], run_path(out_dir=out_dir, name=study.name, run_id=run_id))


def dealt_to(study: StudyConfig, nodes: int, *, fixed: bool) -> StudyConfig:
    """Returns the study as a plain ``flwr run .`` means it: dealt to as many hospitals as Flower starts nodes.

    It stays as it is when it has so many already, when its number is ``fixed`` by the user, when its hospitals have
    names of their own, or when some of them stay outside.
    """
    partition = study.partition
    if fixed or partition.name == "natural" or partition.outside or len(site_names(study)) == nodes:
        return study
    return dataclasses.replace(study, partition=dataclasses.replace(partition, sites=nodes))


def build_site(study: StudyConfig, name: str, run_folder: Path) -> Site:
    """Returns the emulated hospital ``name`` of the study."""
    cohort = _cohort(study, name)
    home = run_folder / "sites" / name
    ledgers = Path(study.simulation.ledger_dir).resolve() if study.simulation.ledger_dir else None
    ledger_path = (ledgers / f"{name}.sqlite") if ledgers else home / "ledger.sqlite"
    return Site(
        name=name,
        declared_patients=declared(len(cohort.train_patients)),
        cohort=cohort,
        policy=SitePolicy.emulated(_ceiling(study, name)),
        randomness=_Seeded(study.seed, name),
        home=home,
        ledger_path=ledger_path,
        register=partial(_register, study, run_folder),
        checkpoint=partial(_checkpoint, study),
        device=study.simulation.device,
    )


def _checkpoint(study: StudyConfig, digest: str) -> Path:
    """Returns the one folder that there is in a simulation; whoever reads it compares the digest."""
    return Path(str(study.model.weights))


def _register(study: StudyConfig, run_folder: Path) -> dict[str, str]:
    """Returns the emulated hospitals' long-term keys, made on first use: nobody has to compare them."""
    from common.trust.signing import SiteKey

    folders = {name: run_folder / "sites" / name / FOLDER for name in site_names(study)}
    return {name: SiteKey.open(sum_key(folder)).public_hex for name, folder in folders.items()}


def declared(patients: int) -> int:
    """Returns the public size that an emulated hospital declares: its training patients, rounded to tens."""
    return max(10, 10 * round(patients / 10))


def site_names(study: StudyConfig) -> tuple[str, ...]:
    """Returns the names of the emulated hospitals that take part, sorted by the partition.

    Raises:
        DataError, ConfigError: The data cannot be read or dealt out.
    """
    partition = study.partition
    dealt = (f"site_{index + 1}" for index in range(partition.sites))
    names = emulated_cohorts(study) if partition.name == "natural" else dealt
    return tuple(name for name in names if name not in partition.outside)


def check_emulation(study: StudyConfig) -> None:
    """Refuses, before anything starts, what the emulated hospitals or the hub would refuse later.

    Raises:
        DataError, ConfigError: Unreadable data, a class missing at a site, a quorum larger than the sites.
        ModelError: The network is unknown, or does not fit the data.
        BudgetExceeded, TrustError: So many hospitals would refuse the study that the quorum is missed.
    """
    from server.run.cards import hub_model
    from simulations.data.public_overlap import check_public

    everybody = emulated_cohorts(study)
    _check_outside(study, everybody)
    sites = {name: everybody[name] for name in site_names(study)}
    check_strategy(study.strategy, len(sites))
    check_summed(study, len(sites))
    for name in sites:
        require_classes(_counts(sites[name]), name)
    hub_model(study)
    check_public(study, everybody.values())
    _check_policies(study, {name: _counts(part)["train"]["patients"] for name, part in sites.items()})


def _check_outside(study: StudyConfig, hospitals: Mapping[str, Dataset]) -> None:
    outside = study.partition.outside
    unknown = [name for name in outside if name not in hospitals]
    if unknown:
        raise ConfigError(
            f"partition.outside names {', '.join(unknown)}; the hospitals are {', '.join(sorted(hospitals))}"
        )
    if not set(hospitals) - set(outside):
        raise ConfigError("partition.outside names every hospital; nobody is left to train: take some out of the list")
    for name in outside:
        if len({record.label for record in hospitals[name].records}) < 2:
            raise DataError(f"{name} has patients of one class only, so no AUROC; keep a hospital with both outside")


def _check_policies(study: StudyConfig, patients: Mapping[str, int]) -> None:
    refused = dict[str, OncoFedError]()
    for name, count in patients.items():
        try:
            check_request(SitePolicy.emulated(_ceiling(study, name)), study, declared(count))
        except OncoFedError as error:
            refused[name] = error
    if len(patients) - len(refused) < study.strategy.quorum and refused:
        first, why = next(iter(refused.items()))
        raise type(why)(f"{len(refused)} of {len(patients)} hospitals would refuse the study. {first}: {why}")


def _ceiling(study: StudyConfig, name: str) -> float:
    return study.simulation.ceilings.get(name, study.simulation.ceiling)


def emulated_cohorts(study: StudyConfig) -> dict[str, Dataset]:
    """Returns the part of each hospital, of those outside too; splits are made before the deal."""
    return _deal(study.data, study.partition, study.seed)


@lru_cache(maxsize=2)
def _study(overrides: str) -> StudyConfig:
    return compose(split_overrides(overrides))


@lru_cache(maxsize=2)
def _deal(data: Any, partition_config: Any, seed: int) -> dict[str, Dataset]:
    from simulations.data.sources import open_sites

    return open_sites(data, partition_config, seed)


def _cohort(study: StudyConfig, name: str) -> Cohort:
    from common.data.attributes import patient_attributes
    from common.data.pixels.masks import places_of

    part = emulated_cohorts(study)[name]
    counts = _counts(part)
    require_classes(counts, name)
    members = {patient: (records[0].split, records[0].label) for patient, records in part.patients().items()}
    return Cohort(
        train_patients=tuple(patient for patient, (split, _) in members.items() if split == "train"),
        members=members,
        counts=counts,
        load=_Loader(study.data, study.partition, study.seed, name, study.simulation.cache_dir),
        attributes=patient_attributes(part),
        places=lambda asked, split: places_of(part.in_split(split), asked.data),
        synthetic=part.synthetic,
        dataset={
            "name": part.name,
            "citation": part.citation,
            "licence": part.licence,
            "notes": list(part.notes),
        },
    )


@dataclasses.dataclass(frozen=True)
class _Loader:
    """Loads a split of one emulated hospital; the study that comes may ask for another image size."""

    data: Any
    partition: Any
    seed: int
    site: str
    cache_dir: str | None

    def __call__(self, study: StudyConfig, split: str) -> PatientTensors:
        data = dataclasses.replace(study.data, root=self.data.root)
        loaded = _loaded(data, self.partition, self.seed, self.cache_dir)
        if (self.site, split) not in loaded:
            loaded[self.site, split] = self._read(data, split)
        return loaded[self.site, split]

    def _read(self, data: Any, split: str) -> PatientTensors:
        from common.data.loading import to_tensors

        cache = None if self.cache_dir is None else Path(self.cache_dir).expanduser()
        return to_tensors(_deal(data, self.partition, self.seed)[self.site].in_split(split), data, cache)


@lru_cache(maxsize=2)
def _loaded(
    data: Any, partition_config: Any, seed: int, cache_dir: str | None
) -> dict[tuple[str, str], PatientTensors]:
    """Returns what was read of each hospital and split, to be filled: at most the data sets of two deals, whole."""
    return {}


def _counts(part: Dataset) -> dict[str, dict[str, int]]:
    rows = {split: {"patients": 0, "malignant": 0, "benign": 0} for split in SPLITS}
    for records in part.patients().values():
        row = rows[records[0].split]
        row["patients"] += 1
        row["malignant" if records[0].label else "benign"] += 1
    return rows
