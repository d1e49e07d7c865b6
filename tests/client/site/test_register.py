"""The register of hospitals: what people compared is what is believed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli.main import app
from client.site.site_file import SiteHome, open_real_site
from common.errors import ConfigError, TrustError
from common.trust.hospitals import combined, pin_register, pinned_register, register_fingerprint

A, B, C = ("ab" * 32, "cd" * 32, "ef" * 32)


def test_what_was_pinned_is_read_again(tmp_path: Path) -> None:
    register = combined([f"west {B}", "", f"north {A}"])
    fingerprint = pin_register(tmp_path / "register.json", register, own=("north", A))
    assert pinned_register(tmp_path / "register.json") == {"north": A, "west": B}
    assert fingerprint == register_fingerprint({"west": B, "north": A})


def test_a_hospital_that_the_hub_adds_or_changes_changes_the_fingerprint() -> None:
    honest = register_fingerprint({"north": A, "west": B})
    assert honest != register_fingerprint({"north": A, "west": B, "zz": C})
    assert honest != register_fingerprint({"north": A, "west": C})
    assert len(honest.replace("-", "")) == 40


@pytest.mark.parametrize("own", [("north", C), ("south", A)])
def test_a_register_without_this_site_is_not_pinned(own: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="does not hold this site"):
        pin_register(tmp_path / "register.json", {"north": A, "west": B}, own=own)
    assert pinned_register(tmp_path / "register.json") == {}


@pytest.mark.parametrize(
    "lines",
    [["north"], [f"north {A[:-1]}"], [f"north {A}", f"north {B}"], [f"north {A}", f"west {A}"], [f"../up {A}"],
     [f"north {A.upper()}"]],
)  # fmt: skip
def test_lines_that_are_no_register_are_refused(lines: list[str]) -> None:
    with pytest.raises(ConfigError):
        combined(lines)


@pytest.mark.parametrize("text", ["", "[]", '{"north": 1}', '{"north": "ab"}', "\xff"])
def test_a_damaged_register_stops_the_sums(text: str, tmp_path: Path) -> None:
    path = tmp_path / "register.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(TrustError, match="pin the register anew"):
        pinned_register(path)


def test_a_hospital_pins_its_register_by_command(joined: SiteHome, tmp_path: Path) -> None:
    runner, home = CliRunner(), ["--home", str(joined.path)]
    printed = runner.invoke(app, ["sum-key", *home])
    assert printed.exit_code == 0 and printed.stdout.startswith("north ")
    (tmp_path / "all.txt").write_text(f"west {B}\n{printed.stdout}")
    pinned = runner.invoke(app, ["trust-roster", str(tmp_path / "all.txt"), *home])
    assert pinned.exit_code == 0, pinned.output
    site = open_real_site(joined)
    assert list(site.register()) == ["north", "west"]
    assert site.sum_key == joined.sum_key and joined.sum_key.stat().st_mode & 0o077 == 0
    assert register_fingerprint(site.register()) in pinned.stdout
