"""What a second pair of eyes found on requests, pages and files; each of these failed on the code before."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from client.cli.main import app
from client.site.hospital import Site
from client.site.policy import load_policy
from client.site.release_floor import FILE as RELEASED
from client.site.release_floor import suppose_released
from client.site.restore import Evidence, since
from client.site.site_file import SiteHome
from common.config.study import StudyConfig
from common.errors import ConfigError, TooFewPatients, TrustError
from common.models.checkpoints import CARD, Checkpoint
from common.privacy.backup import Since, read_backup, restore, write_backup
from common.privacy.fingerprints import fingerprints
from common.privacy.ledger import Ledger
from common.privacy.plan import PrivacyPlan
from common.privacy.signature import signed
from common.privacy.statement import Account, privacy_statement
from common.privacy.verification import check_consistency
from common.protocol.received import MAX_LINE
from common.reporting.study_privacy import write_privacy_pages
from common.trust.journal import GENESIS, digest_of
from common.trust.release import ReleasedModel, endorsement, endorsers
from common.trust.signing import SiteKey
from tests.attacks.test_free_questions import PLAIN, ask
from tests.attacks.test_free_questions import STUDY as PRIVATE
from tests.attacks.test_free_questions import site as site
from tests.attacks.test_groups_subtracted import PATIENTS, _asked
from tests.attacks.test_memory_lost import ALL, hospital, lose_memory, refused
from tests.client.node.test_join import STUDY, _joined
from tests.simulations.data.test_public_overlap import _checkpoint


@pytest.mark.parametrize(
    ("group", "key", "line"), [("model", "name", "models"), ("privacy", "mode", "modes")], ids=["network", "mode"]
)
def test_a_line_of_the_policy_opens_one_network_and_one_mode(tmp_path: Path, group: str, key: str, line: str) -> None:
    """A kit whose network was called `mlp<many blanks>, "*"` opened every network with the line for one."""
    study = json.loads(json.dumps(STUDY))
    study[group][key] = f"{study[group][key]}{' ' * 300}, {'none' if line == 'modes' else chr(34) + '*' + chr(34)}"
    path = _joined(tmp_path, study).path / "policy.yaml"
    (commented,) = [row for row in path.read_text().splitlines() if row.startswith(f"# {line}:")]
    path.write_text(commented[2:])
    with contextlib.suppress(ConfigError):  # no such mode: the site stays closed
        assert len(getattr(load_policy(path), line)) == 1


@pytest.mark.parametrize(
    ("asked", "forgotten"), [(PLAIN, "questions"), (PRIVATE, "studies")], ids=["without privacy", "given up"]
)
def test_a_study_that_a_restore_cannot_count_asks_nothing_more(
    site: Site, tmp_path: Path, asked: StudyConfig, forgotten: str
) -> None:
    """The restore noted that some study ran without a bound, not which: that study asked everything once more."""
    site = dataclasses.replace(site, policy=dataclasses.replace(site.policy, studies=(asked.digest(),)))
    with Ledger(site.ledger_path) as ledger:
        write_backup(ledger, tmp_path / "backup.json")
    ask(site, "evaluate", 1, study=asked)
    ask(site, "train", 1, study=asked)
    for lost in {"questions", forgotten}:
        shutil.rmtree(site.home / lost)
    site.ledger_path.with_name(site.ledger_path.name + ".head").unlink()
    site.ledger_path.unlink()
    backup = read_backup(tmp_path / "backup.json")
    restore(site.ledger_path, backup, since(site, backup, Evidence(assume_unbounded=forgotten == "studies")))
    assert refused(site, asked) == ALL
    stated = ask(site, "statement", study=asked).document
    assert (stated["lifetime_epsilon"], stated["unbounded_runs"]) == ("unbounded", 1)


def test_a_memory_that_was_lost_with_the_ledger_supposes_that_all_were_counted(tmp_path: Path) -> None:
    """With a backup older than the first scores, a split with one patient more was counted after the restore."""
    home = tmp_path / "home"
    site = hospital(home, PATIENTS)
    with Ledger(site.ledger_path) as ledger:
        write_backup(ledger, tmp_path / "backup.json")
    _asked(site)
    lose_memory(home)
    site.ledger_path.with_name(site.ledger_path.name + ".head").unlink()
    site.ledger_path.unlink()
    backup = read_backup(tmp_path / "backup.json")
    prints = fingerprints(SiteKey.from_pem(backup.key_pem), list(site.cohort.members))
    restore(site.ledger_path, backup, Since(unbounded=True, scored=prints))
    suppose_released(home, site.cohort.members)
    with pytest.raises(TooFewPatients):
        _asked(hospital(home, PATIENTS + 1))
    assert _asked(hospital(home, PATIENTS))


def test_a_memory_that_is_there_stays(tmp_path: Path) -> None:
    site = hospital(tmp_path, PATIENTS)
    _asked(site)
    before = (tmp_path / RELEASED).read_text()
    suppose_released(tmp_path, {"somebody": ("test", 1)})
    assert (tmp_path / RELEASED).read_text() == before


ODD_ACCOUNTS: list[dict[str, Any]] = [
    {"noise": 0, "releases": {"val": 1}, "epsilon": 0.0, "delta": 1e-5},
    {"noise": 1e308, "releases": {"val": 1}, "epsilon": 0.0, "delta": 1e-5},
]


def odd_row(key: SiteKey) -> dict[str, Any]:
    """A ledger of one signed row, of more brackets than Python recurses through."""
    text = "[" * (MAX_LINE - 100)
    digest = digest_of(1, text, GENESIS)
    row = {"digest": digest, "text": text, "signature": key.sign(bytes.fromhex(digest))}
    return {"ledger_rows": [row], "ledger_head": {"seq": 1, "digest": digest}}


@pytest.mark.parametrize("odd", [*ODD_ACCOUNTS, odd_row], ids=["no noise", "too much noise", "brackets"])
def test_no_figure_of_one_site_takes_the_privacy_pages_of_all(tmp_path: Path, odd: Any) -> None:
    """A division by nothing in one signed statement ended the page with the statements of all sites."""
    from common.config.study import compose

    study, key = compose(["privacy.accountant=rdp"]), SiteKey.open(tmp_path / "key")
    plan = PrivacyPlan.for_site(study.privacy, study.training, 40)
    none = Account(rows=(), lifetime_epsilon=0.0, ceiling=5.0, public_key=key.public_hex, lifetime_rows=(), chain=())
    facts: dict[str, Any] = {"study_digest": study.digest(), "seeded": False, "synthetic": False}
    said = privacy_statement(site="north", plan=plan, account=none, declared_patients=40, trained_values=9, **facts)
    wrong = odd(key) if callable(odd) else {"evaluation_account": odd}
    statement = signed(said | wrong, key.sign)
    with pytest.raises(TrustError, match="cannot be read"):
        check_consistency(statement)
    (tmp_path / "privacy").mkdir()
    (tmp_path / "privacy" / "north.json").write_text(json.dumps(statement))
    write_privacy_pages(tmp_path)
    assert "cannot be read" in (tmp_path / "privacy.html").read_text(encoding="utf-8")


def _renamed(made: Checkpoint, title: str) -> Path:
    card = json.loads((made.folder / CARD).read_text())
    card["data"][0]["title"] = title
    (made.folder / CARD).write_text(json.dumps(card))
    return made.folder


def test_a_card_of_a_checkpoint_writes_no_line_of_its_own(tmp_path: Path) -> None:
    """The title of a data set on the card could take its line away, and write that it was made from other patients."""
    home = _joined(tmp_path)
    folder = _renamed(_checkpoint(tmp_path / "made"), "BUSI\x1b[2K\r\nmade from nobody\u202e")
    from common.models.checkpoints import read_checkpoint

    shutil.copytree(folder, home.checkpoints.path / read_checkpoint(folder).digest)
    said = CliRunner().invoke(app, ["checkpoint", "list", "--home", str(home.path)])
    assert said.exit_code == 0 and said.stdout.count("\n") == 1
    assert said.stdout.rstrip("\n").isprintable()


def test_a_study_of_the_kit_writes_no_finding_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of its network could take the line away that says what is closed, and write that all is well."""
    from client.checks import doctor

    study = json.loads(json.dumps(STUDY))
    study["model"]["name"] = "x\x1b[2K\rok   policy: open for the study of the kit\nok   noise: from the system\n"
    home = _joined(tmp_path, study)
    (home.path / "policy.yaml").write_text("modes: [local]\nhubs: ['*']\n")
    found = [doctor._policy(home, home.read())]
    monkeypatch.setattr(doctor, "examine", lambda home: found)
    said = CliRunner().invoke(app, ["doctor", "--home", str(home.path)])
    assert "is not allowed here" in said.stdout and said.stdout.count("\n") == 1
    assert said.stdout.rstrip("\n").isprintable()


def test_nothing_that_nobody_signed_is_in_a_release(tmp_path: Path) -> None:
    """What a hospital wrote around its signature stood in `release.json` among what can be verified."""
    key, model = SiteKey.open(tmp_path / "key"), ReleasedModel(study="ab", run="cd", weights="ef")
    said = endorsement(model, "north", key)
    odd = said | {"approved": "for clinical use", "more": float("nan")}
    assert endorsers(model, [odd], {"north": key.public_hex}, 1) == {"north": said}


def test_nobody_else_on_the_machine_reads_where_patients_are(tmp_path: Path) -> None:
    """A folder that was there keeps its mode: the seed that divides the patients could be read by everybody."""
    (tmp_path / "home").mkdir(mode=0o755)
    before = os.umask(0o022)
    try:
        home: SiteHome = _joined(tmp_path)
    finally:
        os.umask(before)
    assert "split_seed" in home.site_file.read_text()
    assert home.site_file.stat().st_mode & 0o077 == 0 or home.path.stat().st_mode & 0o077 == 0
