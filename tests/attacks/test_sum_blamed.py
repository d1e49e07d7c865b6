"""A hospital joins a secure sum with a key that the others will not believe: they refuse, the run ends, they are named.

With the hospitals' register the hub names the culprit at enrolment, and the others sum on without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from common.errors import SiteCode, TrustError
from common.protocol.messages import SiteCard
from common.protocol.secure_sum import Announcement, RunKey, shares_secrets
from common.provenance import PROTOCOL_VERSION, mathematics_digest
from common.trust.hospitals import HOSPITALS, register_fingerprint, write_register
from common.trust.signing import SiteKey
from server.cli.main import app
from server.run.cards import Expected, card_fault
from server.run.enrolment import REGISTER, announcements_of

RUN, STUDY = "ab", "cd" * 32
LOW_ORDER = [
    "00" * 32, "01" + "00" * 31, "ec" + "ff" * 30 + "7f",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
]  # fmt: skip
Change = Callable[[Announcement], Announcement]


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, SiteKey]:
    """Long-term keys of two hospitals, whose register the hub has."""
    monkeypatch.setenv(REGISTER, str(tmp_path / "sites.json"))
    found = {name: SiteKey.open(tmp_path / f"{name}.ed25519") for name in ("north", "west")}
    write_register(tmp_path / HOSPITALS, {name: key.public_hex for name, key in found.items()})
    return found


def announced(site: str, key: SiteKey, run: str = RUN, public_hex: str = "") -> Announcement:
    return Announcement(site=site, patients=40, key=public_hex or RunKey.fresh().public_hex).signed(run, STUDY, key)


def judged(said: Announcement | None, site: str = "north") -> SiteCode | None:
    card = SiteCard(
        site=site, declared_patients=40, input_shape=(1, 8, 8), counts={}, frozen_digest="f", dataset={},
        protocol=PROTOCOL_VERSION, mathematics_digest=mathematics_digest(), code_digest="c", seeded=False,
        synthetic=False, announcement=said,
    )  # fmt: skip
    expected = Expected(shape=(1, 8, 8), frozen="f", summed=True, signed=announcements_of(RUN, STUDY))
    return card_fault(card, site, expected)


def test_what_the_others_believe_is_let_in(keys: dict[str, SiteKey]) -> None:
    assert judged(announced("north", keys["north"])) is None
    assert judged(announced("west", keys["west"]), "west") is None


@pytest.mark.parametrize(
    "said",
    [
        lambda keys: announced("north", keys["west"]),
        lambda keys: announced("north", keys["north"], run="ef"),
        lambda keys: announced("north", keys["north"], run=f"rehearsal of {RUN}"),
        lambda keys: dataclasses.replace(announced("north", keys["north"]), key=RunKey.fresh().public_hex),
        lambda keys: dataclasses.replace(announced("north", keys["north"]), signature=""),
        lambda keys: announced("north", keys["north"], public_hex="no key"),
        lambda keys: None,
    ],
    ids=["another's key", "another run", "a rehearsal", "changed", "unsigned", "no key", "nothing"],
)
def test_what_the_others_would_refuse_is_its_own_bad_answer(
    said: Callable[[dict[str, SiteKey]], Announcement | None], keys: dict[str, SiteKey]
) -> None:
    assert judged(said(keys)) is SiteCode.BAD_ANSWER


@pytest.mark.parametrize("public_hex", LOW_ORDER)
def test_a_key_of_low_order_is_its_owners_bad_answer_without_a_register_too(
    public_hex: str, keys: dict[str, SiteKey], tmp_path: Path
) -> None:
    (tmp_path / HOSPITALS).unlink()
    assert not shares_secrets(public_hex)
    assert judged(announced("north", keys["north"], public_hex=public_hex)) is SiteCode.BAD_ANSWER
    assert judged(announced("north", keys["west"])) is None, "whose key it is the other sites alone see"


def test_a_hospital_that_the_register_does_not_hold_is_named(keys: dict[str, SiteKey], tmp_path: Path) -> None:
    assert judged(announced("south", SiteKey.open(tmp_path / "south.ed25519")), "south") is SiteCode.BAD_ANSWER


def test_a_damaged_register_is_not_taken_for_none(keys: dict[str, SiteKey], tmp_path: Path) -> None:
    (tmp_path / HOSPITALS).write_text("{")
    with pytest.raises(TrustError, match="trust-roster"):
        announcements_of(RUN, STUDY)


def test_the_operator_gives_the_hub_the_file_of_the_hospitals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, home = CliRunner(), tmp_path / "hub"
    made = runner.invoke(app, ["init", "--no-proxy", "--home", str(home)])
    assert made.exit_code == 0, made.output
    monkeypatch.setenv(REGISTER, str(home / "sites.json"))
    key = SiteKey.open(tmp_path / "north.ed25519")
    assert announcements_of(RUN, STUDY) is None
    (tmp_path / "all.txt").write_text(f"north {key.public_hex}\n")
    kept = runner.invoke(app, ["trust-roster", str(tmp_path / "all.txt"), "--home", str(home)])
    assert kept.exit_code == 0, kept.output
    assert register_fingerprint({"north": key.public_hex}) in kept.stdout
    assert judged(announced("north", key)) is None and judged(announced("west", key), "west") is SiteCode.BAD_ANSWER
