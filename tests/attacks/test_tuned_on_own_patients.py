"""A study whose settings a sweep chose on the study's own patients: no hospital takes part, and no hub starts it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from client.site.hospital import Cohort, Site
from client.site.policy import SitePolicy
from common.config.study import DataConfig, PrivacyConfig, StudyConfig, TrainingConfig
from common.config.tuned import TunedConfig
from common.errors import ConfigError, DataError, TrustError
from common.privacy.randomness import Randomness
from common.protocol.messages import Request
from server.hub.conductor import Conductor
from server.hub.home import HubConfig, HubHome, write_config

SWEEP = "ab" * 32
STUDY = StudyConfig(
    data=DataConfig(name="manifest", image_size=0), training=TrainingConfig(rounds=2),
    privacy=PrivacyConfig(epsilon=8.0, accountant="rdp"),
)  # fmt: skip


def tuned(on: str, study: StudyConfig = STUDY) -> StudyConfig:
    return dataclasses.replace(study, tuned=TunedConfig(sweep=SWEEP, data=on, trials=30))


def _cohort() -> Cohort:
    def load(study: StudyConfig, split: str) -> NoReturn:
        raise DataError("the patients were reached")

    return Cohort(train_patients=tuple("abcdefgh"), counts={}, load=load)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(
        name="north", declared_patients=60, cohort=_cohort(), policy=SitePolicy.emulated(100.0),
        randomness=lambda purpose, round_index: Randomness.from_entropy(), home=tmp_path / "site",
        ledger_path=tmp_path / "site" / "ledger.sqlite", hub_key="cd" * 32,
    )  # fmt: skip


@pytest.mark.parametrize("ask", [Site.train, Site.evaluate, Site.baseline], ids=lambda ask: ask.__name__)
@pytest.mark.parametrize("on", ["manifest", "busi"])
def test_a_hospital_refuses_before_it_opens_a_patient(site: Site, ask: Callable[..., object], on: str) -> None:
    data = "manifest" if on == "manifest" else "breastmnist"  # which is BUSI in small
    study = dataclasses.replace(STUDY, data=DataConfig(name=data, image_size=0))
    request = Request(purpose="train", study=tuned(on, study), run="ab", round_index=1, arrays={})
    with pytest.raises(TrustError, match=f"30 trials on {on}"):
        ask(site, request)


def test_other_peoples_images_are_no_reason_to_refuse(site: Site) -> None:
    request = Request(purpose="train", study=tuned("bus_bra"), run="ab", round_index=1, arrays={})
    with pytest.raises(DataError, match="reached"):
        site.train(request)


def test_an_emulated_hospital_is_read_by_whoever_emulates_it(site: Site) -> None:
    request = Request(purpose="train", study=tuned("manifest"), run="ab", round_index=1, arrays={})
    with pytest.raises(DataError, match="reached"):
        dataclasses.replace(site, hub_key="").train(request)


def test_a_hub_does_not_start_it(tmp_path: Path) -> None:
    home = HubHome(tmp_path)
    home.runs.mkdir(parents=True)
    write_config(home, HubConfig(overrides=("data=phantom",), restart_seconds=30))
    words = ["data=manifest", "data.root=/images", f"tuned.sweep='{SWEEP}'", "tuned.data=manifest", "tuned.trials=30"]
    with pytest.raises(ConfigError, match="chosen on its own patients"):
        Conductor(home).start(words, None, lambda event: None)
