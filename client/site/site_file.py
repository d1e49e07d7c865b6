"""``site.yaml``: what only this hospital knows of itself, and the :class:`client.site.hospital.Site` made from it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from client.site.checkpoint import KeptCheckpoints
from client.site.hospital import Cohort, Site, require_classes
from client.site.policy import check_hub, load_policy
from client.site.proof import pinned_hub
from client.site.run_keys import FOLDER as SUMS
from client.site.run_keys import sum_key
from common.config.device import DeviceSetting
from common.config.settings_file import settings_text
from common.config.study import DataConfig
from common.errors import ConfigError
from common.trust.hospitals import pinned_register
from common.trust.pki import certificate_facts

if TYPE_CHECKING:
    from common.config.study import StudyConfig
    from common.data.loading import PatientTensors
    from common.data.manifest import Dataset
    from common.privacy.randomness import Randomness

HOME_VARIABLE = "ONCOFED_SITE_HOME"
SHIPPED = ("wdbc",)
"""Data sets that come with a library, where ``data.root`` is empty."""
_strict = ConfigDict(extra="forbid", allow_inf_nan=False)
Share = Annotated[float, Field(gt=0, lt=1)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SiteData:
    """Where the images are and how patients are divided; it never leaves the hospital.

    Attributes:
        name: ``manifest``, or a public layout.
        root: The manifest's CSV, or the folder of the layout.
        images: Folder that the manifest's paths start from; None: the CSV's.
        include_normal: Whether a public layout's images without a lesion count as label 0.
        train_share: Share of the patients in training; the test takes what ``val_share`` leaves.
        split_seed: Divides the patients by a keyed hash of each; ``join`` draws it, so that nobody outside can foretell
            where a patient is. Never change it, or test patients become training patients, which is refused. None: the
            manifest says where each patient is, or nobody is divided.
    """

    __pydantic_config__ = _strict

    name: str = "manifest"
    root: str = ""
    images: str | None = None
    include_normal: bool = False
    train_share: Share = 0.70
    val_share: Share = 0.15
    split_seed: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SiteFile:
    """What ``site.yaml`` says.

    Attributes:
        name: As the consortium calls the site.
        hub: ``host:port`` of the hub.
        declared_patients: Public size of the training cohort, agreed with the consortium beforehand.
        job_seconds: Longest time that one request may take before it is killed.
        threads: Processor threads of the training.
        device: Where networks run: ``auto`` (the first CUDA device, else the CPU), ``cpu``, ``cuda`` or ``cuda:n``.
        cache: Whether preprocessed images are kept in the home, readable by its owner only, so that they are decoded
            once and memory does not grow with them.
        monitor_port: Port on 127.0.0.1 for ``/health`` and ``/metrics``; None: no such page.
        noise_seed_for_tests_only: Makes the noise repeatable, so that it protects nobody; every report says so.
    """

    __pydantic_config__ = _strict

    name: str
    hub: str
    declared_patients: Annotated[int, Field(ge=1)]
    data: SiteData
    policy: str = "policy.yaml"
    ledger: str = "ledger.sqlite"
    job_seconds: Annotated[float, Field(gt=0)] = 3600.0
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    device: DeviceSetting = "auto"
    cache: bool = True
    monitor_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    noise_seed_for_tests_only: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SiteHome:
    """Where everything of a site is."""

    path: Path

    @property
    def site_file(self) -> Path:
        """Settings."""
        return self.path / "site.yaml"

    @property
    def ca(self) -> Path:
        """Certificate of the consortium's authority."""
        return self.path / "ca.crt"

    @property
    def node_key(self) -> Path:
        """EC key that proves the site to the hub."""
        return self.path / "keys" / "node"

    @property
    def tls_key(self) -> Path:
        """EC key that opens the hub's proxy."""
        return self.path / "keys" / "tls.key"

    @property
    def tls(self) -> Path:
        """The certificate of that key, which the hub was handed in the request."""
        return self.path / "tls.crt"

    @property
    def signing_key(self) -> Path:
        """Ed25519 key that signs what the site says of itself."""
        return self.path / "keys" / "site.ed25519"

    @property
    def hub_key(self) -> Path:
        """Public key whose signature every request must carry."""
        return self.path / "hub.key"

    @property
    def sum_key(self) -> Path:
        """Ed25519 key by which the other hospitals know this one in secure sums."""
        return sum_key(self.path / SUMS)

    @property
    def register(self) -> Path:
        """The hospitals that this one sums with, and their keys."""
        return self.path / "register.json"

    @property
    def checkpoints(self) -> KeptCheckpoints:
        """Public checkpoints that studies start from."""
        return KeptCheckpoints(self.path / "checkpoints")

    @property
    def logs(self) -> Path:
        """Logs, which hold what never leaves."""
        return self.path / "logs"

    @property
    def cache(self) -> Path:
        """Preprocessed images."""
        return self.path / "cache"

    @property
    def state_file(self) -> Path:
        """What the daemon does now."""
        return self.path / "state.json"

    @property
    def paused(self) -> Path:
        """Present while the site is paused."""
        return self.path / "paused"

    @property
    def left(self) -> Path:
        """The notice for the hub, present once the site has left."""
        return self.path / "left.json"

    @property
    def egress(self) -> Path:
        """Journal of all that left."""
        return self.path / "egress.jsonl"

    def read(self) -> SiteFile:
        """Returns what ``site.yaml`` says.

        Raises:
            ConfigError: There is no site here, or the file has an unknown key or a bad value.
        """
        try:
            return TypeAdapter(SiteFile).validate_json(settings_text(self.site_file), strict=True)
        except FileNotFoundError:
            raise ConfigError(f"There is no site in {self.path}; join with: oncofed-site join KIT") from None
        except ValidationError as error:
            named = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ConfigError(f"{self.site_file} is not valid ({named})") from None


def site_home(given: Path | None = None) -> SiteHome:
    """Returns the home: ``given``, else ``ONCOFED_SITE_HOME``, else ``~/.oncofed/site``."""
    chosen = given or Path(os.environ.get(HOME_VARIABLE, "~/.oncofed/site"))
    return SiteHome(chosen.expanduser().resolve())


def open_real_site(home: SiteHome) -> Site:
    """Returns the hospital that ``site.yaml`` describes; its noise comes from the operating system.

    Nothing of a patient is read before a request needs it, so a request that the policy refuses reads nothing.

    Raises:
        ConfigError: The settings or the policy cannot be used; the site stays closed.
        TrustError: The policy does not allow this hub, or the site does not know its key.
    """
    settings = home.read()
    policy = load_policy(home.path / settings.policy)
    check_hub(policy, certificate_facts(home.ca).fingerprint)
    hub_key = pinned_hub(home.hub_key)
    return Site(
        name=settings.name,
        declared_patients=settings.declared_patients,
        cohort=cast(Cohort, LateCohort(lambda: _read_cohort(settings, home.cache if settings.cache else None))),
        policy=policy,
        randomness=_randomness(settings),
        home=home.path,
        ledger_path=home.path / settings.ledger,
        hub_key=hub_key,
        register=partial(pinned_register, home.register),
        checkpoint=home.checkpoints.folder,
        device=settings.device,
    )


class LateCohort:
    """Stands for a cohort that is read when something of it is first asked for."""

    def __init__(self, read: Callable[[], Cohort]) -> None:
        self._read = lru_cache(maxsize=1)(read)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._read(), name)


def _read_cohort(settings: SiteFile, cache: Path | None) -> Cohort:
    dataset = open_data(settings.data)
    counts = split_counts(dataset)
    require_classes(counts, settings.name)
    return _cohort(dataset, counts, cache)


def open_data(data: SiteData) -> Dataset:
    """Returns the site's patients, each in train, val or test.

    Raises:
        ConfigError, DataError: They cannot be read or divided.
    """
    return divided(open_undivided(data), data)


def open_undivided(data: SiteData) -> Dataset:
    """Returns the site's patients as the manifest or the layout has them, in a split or not.

    Raises:
        ConfigError, DataError: They cannot be read.
    """
    from common.data.formats import open_dataset
    from common.data.manifest import read_manifest

    if not data.root and data.name not in SHIPPED:
        raise ConfigError("data.root is empty in site.yaml; write where the manifest is")
    if data.name == "manifest" and data.images is not None:
        return read_manifest(Path(data.root), Path(data.images))
    return open_dataset(DataConfig(name=data.name, root=data.root or None, include_normal=data.include_normal))


def divided(dataset: Dataset, data: SiteData) -> Dataset:
    """Returns the patients, each in train, val or test.

    Raises:
        ConfigError: They would be divided by a seed, and there is none; a known one would tell others where each is.
        DataError: They cannot be divided.
    """
    from common.data.splits import split_by_patient

    if data.split_seed is None and not all(record.split for record in dataset.records):
        raise ConfigError(
            "data.split_seed is missing in site.yaml. Put back the one that `join` drew, from your backup; only where "
            "no study has begun write a new one, a long random number that nobody else knows"
        )
    seed = data.split_seed or 0
    return split_by_patient(dataset, seed=seed, train_share=data.train_share, val_share=data.val_share)


def split_counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Returns patients by split and class, exact; they are suppressed before they leave."""
    rows = {split: {"patients": 0, "malignant": 0, "benign": 0} for split in ("train", "val", "test")}
    for records in dataset.patients().values():
        row = rows[records[0].split]
        row["patients"] += 1
        row["malignant" if records[0].label else "benign"] += 1
    return rows


def _cohort(dataset: Dataset, counts: dict[str, dict[str, int]], cache: Path | None) -> Cohort:
    from common.data.attributes import patient_attributes
    from common.data.pixels.masks import places_of

    members = {patient: (records[0].split, records[0].label) for patient, records in dataset.patients().items()}
    return Cohort(
        train_patients=tuple(patient for patient, (split, _) in members.items() if split == "train"),
        members=members,
        counts=counts,
        load=_loader(dataset, cache),
        places=lambda study, split: places_of(dataset.in_split(split), study.data),
        attributes=patient_attributes(dataset),
        synthetic=dataset.synthetic,
        dataset={"name": dataset.name, "citation": dataset.citation, "licence": dataset.licence, "notes": []}
        if dataset.citation
        else {},
    )


def _loader(dataset: Dataset, cache: Path | None) -> Callable[[StudyConfig, str], PatientTensors]:
    @lru_cache(maxsize=8)
    def tensors(data: Any, split: str) -> PatientTensors:
        from common.data.loading import to_tensors

        return to_tensors(dataset.in_split(split), data, cache)

    return lambda study, split: tensors(study.data, split)


def _randomness(settings: SiteFile) -> Callable[[str, int], Randomness]:
    from common.privacy.randomness import Randomness

    seed = settings.noise_seed_for_tests_only
    if seed is None:
        return lambda purpose, round_index: Randomness.from_entropy()
    return lambda purpose, round_index: Randomness.from_seed(seed, settings.name, purpose, round_index)
