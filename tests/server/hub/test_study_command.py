"""A consortium runs one study after the other: what hospitals are shown of the next is what they will be asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from client.cli.main import app as site_app
from client.site.forecast import read_study
from common.config.study import compose
from common.errors import ConfigError, UsageError
from server.cli.main import app
from server.hub import conductor
from server.hub.home import HubConfig, HubHome, create

OWN, NEXT = ["data=phantom", "training.rounds=2"], ["data=phantom", "privacy.epsilon=1"]


@pytest.fixture
def home(tmp_path: Path) -> HubHome:
    found = HubHome(tmp_path / "hub")
    create(found, HubConfig(overrides=tuple(OWN)))
    return found


@pytest.fixture
def next_study(tmp_path: Path) -> Path:
    path = tmp_path / "next.yaml"
    path.write_text(yaml.safe_dump(NEXT))
    return path


@pytest.mark.parametrize("given", [False, True])
def test_a_hospital_reads_what_is_printed_and_finds_the_digest_that_it_allows(
    home: HubHome, next_study: Path, tmp_path: Path, given: bool
) -> None:
    done = CliRunner().invoke(app, ["study", *([str(next_study)] if given else []), "--home", str(home.path)])
    assert done.exit_code == 0
    (tmp_path / "study.yaml").write_text(done.stdout)
    digest = compose(NEXT if given else OWN).digest()
    assert read_study(tmp_path / "study.yaml").digest() == digest and digest in done.stderr
    told = ["--study", str(tmp_path / "study.yaml"), "--patients", "200", "--ceiling", "9", "--home", str(tmp_path)]
    forecast = CliRunner().invoke(site_app, ["privacy", "forecast", *told])
    assert forecast.exit_code == 0 and digest in forecast.stderr


@pytest.mark.parametrize("given", [False, True])
def test_run_submits_the_study_of_the_file_else_the_hubs_own(
    home: HubHome, next_study: Path, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    asked: list[list[str]] = []

    def start(self: object, overrides: list[str], out: Path | None, progress: object) -> Path:
        asked.append(list(overrides))
        raise ConfigError("enough")

    monkeypatch.setattr(conductor.Conductor, "start", start)
    done = CliRunner().invoke(app, ["run", *([str(next_study)] if given else []), "--home", str(home.path)])
    assert done.exit_code == ConfigError.exit_code
    assert asked == [NEXT if given else OWN]


def test_a_run_goes_on_with_its_own_study_only(home: HubHome, next_study: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["run", str(next_study), "--resume", str(tmp_path), "--home", str(home.path)])
    assert done.exit_code == UsageError.exit_code and "the study that it began with" in done.stderr
