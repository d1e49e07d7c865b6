"""`oncofed-site study`, `ledger backup` and `ledger restore` as a privacy officer types them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from client.cli.main import app
from client.node.join import join
from client.site.budget import charge_round, reserve_study
from client.site.hospital import Site
from client.site.run_keys import RunKeys
from client.site.site_file import SiteHome, open_real_site
from common.config.study import StudyConfig, compose
from common.errors import DataError, TrustError
from common.privacy.ledger import Ledger
from common.privacy.plan import PrivacyPlan
from common.privacy.pricing import promises_in
from common.protocol.messages import Request

STUDY = compose(["data=wdbc", "privacy.accountant=rdp", "privacy.epsilon=2", "training.rounds=3"])


@pytest.fixture
def home(joined: SiteHome) -> SiteHome:
    """North with the public table, allowed to take part in one study."""
    settings = yaml.safe_load(joined.site_file.read_text())
    settings |= {"declared_patients": 400, "data": settings["data"] | {"name": "wdbc", "root": ""}}
    joined.site_file.write_text(yaml.safe_dump(settings))
    policy = yaml.safe_load((joined.path / "policy.yaml").read_text())
    (joined.path / "policy.yaml").write_text(yaml.safe_dump(policy | {"studies": [STUDY.digest()]}))
    return joined


@pytest.fixture
def type_(home: SiteHome) -> Callable[..., Result]:
    return lambda *words: CliRunner().invoke(app, [*words, "--home", str(home.path)])


def train(site: Site, round_index: int, study: StudyConfig = STUDY) -> None:
    plan = PrivacyPlan.for_site(study.privacy, study.training, site.declared_patients)
    request = Request(purpose="train", study=study, run="aa", round_index=round_index)
    reserve_study(site, plan, request)
    charge_round(site, plan, request)


def change_a_share(home: SiteHome) -> None:
    """Moves the border between validation and test: patients who were not used yet change sides."""
    settings = yaml.safe_load(home.site_file.read_text())
    settings["data"] |= {"val_share": 0.20}
    home.site_file.write_text(yaml.safe_dump(settings))


def test_a_changed_cohort_stops_the_study_until_the_officer_agrees(
    home: SiteHome, type_: Callable[..., Result]
) -> None:
    train(open_real_site(home), 1)
    change_a_share(home)
    with pytest.raises(DataError, match="oncofed-site study agree"):
        train(open_real_site(home), 2)
    said = type_("study", "agree", STUDY.digest()[:10])
    assert said.exit_code == 0 and "goes on with the cohort as it is now" in said.output
    train(open_real_site(home), 2)
    assert "that was agreed to last" in type_("study", "agree", STUDY.digest()).output
    assert type_("study", "agree", "0000").exit_code == DataError.exit_code


def test_what_is_held_is_shown_and_released(home: SiteHome, type_: Callable[..., Result]) -> None:
    train(open_real_site(home), 1)
    assert "budget is held until 3 charges" in type_("ledger", "show").stderr
    assert type_("study", "release", STUDY.digest()[:12]).exit_code == 0
    with Ledger(home.path / "ledger.sqlite") as ledger:
        assert promises_in(ledger.rows()) == ()
    assert type_("study", "release", STUDY.digest()).exit_code == DataError.exit_code


def test_a_lost_ledger_is_restored_and_has_charged_the_study_to_its_end(
    home: SiteHome, type_: Callable[..., Result], tmp_path: Path
) -> None:
    train(open_real_site(home), 1)
    assert type_("ledger", "backup", str(tmp_path / "b.json")).exit_code == 0
    train(open_real_site(home), 2)
    for file in home.path.glob("ledger.sqlite*"):
        file.unlink()
    shutil.rmtree(home.path / "studies")
    key = RunKeys(home.path, "r")
    key.made()
    said = type_("ledger", "restore", str(tmp_path / "b.json"))
    assert said.exit_code == 0, said.output
    with pytest.raises(TrustError, match="no key of that run"):  # what it has masked since is not known any more
        key.held()
    with Ledger(home.path / "ledger.sqlite") as ledger:
        assert len(ledger.charges()) == 5  # three rounds and two for crashes
    assert type_("ledger", "restore", str(tmp_path / "b.json")).exit_code != 0
    assert type_("ledger", "verify").exit_code == 0


def test_a_policy_that_allows_anything_has_to_be_narrowed_first(
    home: SiteHome, type_: Callable[..., Result], tmp_path: Path
) -> None:
    train(open_real_site(home), 1)
    type_("ledger", "backup", str(tmp_path / "b.json"))
    (home.path / "ledger.sqlite").unlink()
    policy = yaml.safe_load((home.path / "policy.yaml").read_text())
    (home.path / "policy.yaml").write_text(yaml.safe_dump(policy | {"studies": ["*"]}))
    assert "any study" in type_("ledger", "restore", str(tmp_path / "b.json")).output
    assert type_("ledger", "restore", str(tmp_path / "b.json"), "--assume-unbounded").exit_code == 0
    assert "unbounded" in type_("ledger", "show").stderr


def test_every_site_draws_a_split_seed_of_its_own(joined: SiteHome, tmp_path: Path) -> None:
    other = SiteHome(tmp_path / "other")
    join(other, tmp_path / "kit.zip")
    assert joined.read().data.split_seed != other.read().data.split_seed
    before = joined.site_file.read_text()
    join(joined, tmp_path / "kit.zip")
    assert joined.site_file.read_text() == before
