"""The registry on disk: crashes, an older pointer put back, a journal cut short or changed; and proposals changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from client.site.lifecycle.agreements import PEOPLE, agreement, propose, sign
from client.site.lifecycle.registry import HEAD, MOVES, POINTER, SiteRegistry
from client.site.packages import KeptPackages
from common.errors import ConfigError, TrustError
from common.trust.registry import Move
from common.trust.signing import SiteKey

A = "a" * 64


def move(to: str, **changes: object) -> Move:
    fields = {"package": A, "to": to, "cause": "person", "by": ("anna", "ben"), "time": "2026-01-01T00:00:00+00:00"}
    return Move(**(fields | changes))  # type: ignore[arg-type]


STEPS = (
    move("shadow", gate="g"),
    move("active", cause="gate", gate="g", agreement="x"),
    move("watch"),
    move("suspended"),
)


@pytest.fixture
def kept(tmp_path: Path) -> SiteRegistry:
    found = SiteRegistry(tmp_path)
    with found.moving() as mover:
        mover(*STEPS[:2])
    return found


def test_what_was_moved_is_read_and_pointed_to(kept: SiteRegistry) -> None:
    assert kept.read().moves == STEPS[:2]
    assert KeptPackages(kept.home).pointer().active == A and not kept.mend()
    with kept.moving() as mover:
        mover(*STEPS[2:])
    assert KeptPackages(kept.home).pointer().active is None


def test_a_move_that_is_not_allowed_leaves_everything_as_it_was(kept: SiteRegistry) -> None:
    before = {path.name: path.read_bytes() for path in kept.folder.iterdir()}
    with kept.moving() as mover, pytest.raises(TrustError, match="stays"):
        mover(STEPS[2], move("shadow", gate="g"))
    assert {path.name: path.read_bytes() for path in kept.folder.iterdir()} == before


@pytest.mark.parametrize("written", [(MOVES,), (MOVES, HEAD)])
def test_a_crash_between_journal_and_pointer_is_mended_from_the_journal(
    kept: SiteRegistry, tmp_path_factory: pytest.TempPathFactory, written: tuple[str, ...]
) -> None:
    old = {name: (kept.folder / name).read_bytes() for name in (MOVES, HEAD, POINTER)}
    with kept.moving() as mover:
        mover(STEPS[2], STEPS[3])
    for name in {MOVES, HEAD, POINTER} - {*written}:
        (kept.folder / name).write_bytes(old[name])
    with pytest.raises(TrustError, match="latest"):
        kept.pointed()
    assert kept.mend() and kept.pointed() == (None, None)


def test_an_older_pointer_alone_brings_no_older_model_back(kept: SiteRegistry) -> None:
    old = (kept.folder / POINTER).read_bytes()
    with kept.moving() as mover:
        mover(STEPS[2], STEPS[3])
    (kept.folder / POINTER).write_bytes(old)
    with pytest.raises(TrustError, match="latest"):
        KeptPackages(kept.home).pointer()
    (kept.folder / POINTER).unlink()
    with pytest.raises(TrustError, match="not signed"):
        KeptPackages(kept.home).pointer()


def cut(folder: Path) -> None:
    lines = (folder / MOVES).read_text().splitlines(keepends=True)
    (folder / MOVES).write_text("".join(lines[:-1]))


def edit(folder: Path) -> None:
    (folder / MOVES).write_text((folder / MOVES).read_text().replace("anna", "eve"))


def spoil(folder: Path) -> None:
    (folder / MOVES).write_text("{")


@pytest.mark.parametrize("harm", [cut, edit, spoil])
def test_a_journal_that_was_changed_or_cut_is_refused(kept: SiteRegistry, harm: Callable[[Path], None]) -> None:
    harm(kept.folder)
    with pytest.raises(TrustError, match="journal of models"):
        kept.read()


def test_a_pointer_of_another_site_is_refused(kept: SiteRegistry, tmp_path: Path) -> None:
    other = SiteRegistry(tmp_path / "other")
    with other.moving() as mover:
        mover(*STEPS[:2])
    shutil.copy(other.folder / POINTER, kept.folder / POINTER)
    with pytest.raises(TrustError, match="not signed"):
        kept.pointed()


def test_without_any_move_nothing_is_pointed_to(tmp_path: Path) -> None:
    assert SiteRegistry(tmp_path).pointed() == (None, None) and not SiteRegistry(tmp_path).mend()


@pytest.fixture
def staffed(tmp_path: Path) -> Path:
    """A site with two people and their keys."""
    lines = [f'{name}: "{SiteKey.open(tmp_path / f"{name}.key").public_hex}"' for name in ("anna", "ben")]
    (tmp_path / PEOPLE).write_text("\n".join(lines))
    return tmp_path


def test_two_people_sign_one_text_and_a_changed_one_is_nobodys(staffed: Path) -> None:
    name = propose(staffed, {"do": "activate", "package": A})
    assert sign(staffed, name[:6], "anna", staffed / "anna.key") == ({"do": "activate", "package": A}, False)
    with pytest.raises(TrustError, match="anna has signed"):
        agreement(staffed, name)
    assert sign(staffed, name, "ben", staffed / "ben.key")[1]
    assert agreement(staffed, name)[1] == ("anna", "ben")
    path = staffed / "proposals" / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"body": {"do": "activate", "package": "b" * 64}}))
    with pytest.raises(TrustError, match="changed after it was written"):
        agreement(staffed, name)


def test_a_person_signs_with_her_own_key_only(staffed: Path) -> None:
    name = propose(staffed, {"do": "x"})
    with pytest.raises(TrustError, match="own key"):
        sign(staffed, name, "ben", staffed / "anna.key")
    with pytest.raises(ConfigError, match="0 proposals"):
        sign(staffed, "zz", "ben", staffed / "ben.key")


@pytest.mark.parametrize("text", ["", "anna: 12\n", "- anna\n", f'anna: "{"a" * 64}"\n'])
def test_a_site_without_two_people_proposes_nothing(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="people"):
        propose(tmp_path, {"do": "x"})
    (tmp_path / PEOPLE).write_text(text)
    with pytest.raises(ConfigError, match="people"):
        propose(tmp_path, {"do": "x"})
