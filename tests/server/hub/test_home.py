"""A hub's folder is its owner's alone, and a hub with half a pair of key and certificate says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from common.errors import ConfigError
from common.services.supervisor import only_one
from common.trust import pki
from common.trust.client_certificate import checked_client_certificate
from common.trust.kit import check_site_name, read_kit
from common.trust.signing import SiteKey
from server.cli.main import app
from server.hub.daemon import HubDaemon
from server.hub.home import OPERATOR, HubConfig, HubHome, check_certificates, create, rotate


@pytest.fixture
def home(tmp_path: Path) -> HubHome:
    found = HubHome(tmp_path / "hub")
    create(found, HubConfig())
    return found


def test_a_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    """sites.json in it holds the numbers of open invitations."""
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(0o755)
    create(HubHome(path), HubConfig())
    assert path.stat().st_mode & 0o777 == 0o700


def test_no_hospital_can_have_the_operators_name(home: HubHome) -> None:
    assert checked_client_certificate(home.operator.read_text(), OPERATOR) == home.operator.read_text()
    with pytest.raises(ConfigError):
        check_site_name(OPERATOR)


def _killed_after_the_servers_key(home: HubHome) -> None:
    def killed(path: Path, text: str) -> None:
        raise InterruptedError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(pki, "write_durably", killed)
        rotate(home, ["localhost"])


@pytest.mark.parametrize(
    "damage",
    [
        _killed_after_the_servers_key,
        lambda home: home.server.write_text(""),
        lambda home: home.operator.write_text(""),
        lambda home: home.operator.unlink(),
        lambda home: home.operator_key.write_bytes(home.server_key.read_bytes()),
        lambda home: home.proxy_secret.unlink(),
    ],
)
def test_a_key_without_its_certificate_is_named_at_the_start_and_mended_by_rotate(
    home: HubHome, damage: Callable[[HubHome], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.services.supervisor.Child.tend", lambda self: pytest.fail("it started"))
    damage(home)
    with pytest.raises(ConfigError, match="oncofed-hub rotate"):
        HubDaemon(home).run()
    rotate(home, ["localhost"])
    check_certificates(home, home.config())


def test_secrets_change_only_while_the_hub_stands_still(home: HubHome) -> None:
    files = (home.proxy_secret, home.secret, home.server, home.operator)
    before = [path.read_bytes() for path in files]
    command = ["rotate", "--home", str(home.path)]
    with only_one(home.lock):
        refused = CliRunner().invoke(app, command)
        assert refused.exit_code == ConfigError.exit_code
        assert "stop it, run oncofed-hub rotate, then start it" in " ".join(refused.output.split())
        assert [path.read_bytes() for path in files] == before
    assert CliRunner().invoke(app, command).exit_code == 0
    assert all(path.read_bytes() != old for path, old in zip(files, before, strict=True))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--address", "hub.example.org"], "host:port"),
        (["--address", "hub.example.org:99999"], "1 to 65535"),
        (["--address", "hub example:1"], "not usable"),
        (["--port", "99999"], "65535"),
        (["--bind", "no host"], "not usable"),
        (["--name", "a/b"], "not usable"),
        (["--consortium", "x" * 60], "46 characters"),
        (["--consortium", "é" * 24], "46 bytes"),
        (["--consortium", "two\nlines"], "printable"),
        (["--consortium", "deleted\x7f"], "printable"),
        (["--consortium", ""], "1 character"),
        (["--inner-port", "9443"], "inner_port"),
    ],
)
def test_a_setting_that_could_not_work_is_refused_before_anything_is_made(
    tmp_path: Path, options: list[str], words: str
) -> None:
    done = CliRunner().invoke(app, ["init", *options, "--home", str(tmp_path / "new")])
    assert done.exit_code in (2, 3) and words in " ".join(done.output.split()), done.output
    assert not (tmp_path / "new").exists()


def test_the_key_for_requests_is_shown_and_made_anew_while_the_hub_is_stopped(home: HubHome) -> None:
    show, anew = ["key", "--home", str(home.path)], ["key", "--new", "--home", str(home.path)]
    before = CliRunner().invoke(app, show).stdout.strip()
    assert before == SiteKey.read(home.signing_key).public_hex and len(before) == 64
    with only_one(home.lock):
        refused = CliRunner().invoke(app, anew)
        assert refused.exit_code == ConfigError.exit_code and "stop it" in " ".join(refused.output.split())
    after = CliRunner().invoke(app, anew).stdout.strip()
    assert after != before and after == CliRunner().invoke(app, show).stdout.strip()


def test_each_kit_carries_the_key_for_requests(home: HubHome) -> None:
    kit = CliRunner().invoke(app, ["invite", "north", "--home", str(home.path)]).stdout.strip()
    assert read_kit(Path(kit)).hub_key == SiteKey.read(home.signing_key).public_hex
