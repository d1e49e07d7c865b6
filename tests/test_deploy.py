"""What stands in deploy/ is well formed and shut: units as systemd reads them, containers as their rules say."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from client.cli.main import app as site_app
from client.site.site_file import SiteHome
from server.cli.main import app as hub_app
from server.hub.control import PULSE_SECONDS
from server.hub.home import HubHome

ROLES = ("site", "hub")
DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
SHUT = {
    "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
    "PrivateDevices": "yes", "ProtectProc": "invisible", "RestrictSUIDSGID": "yes", "CapabilityBoundingSet": "",
    "AmbientCapabilities": "", "UMask": "0077", "StateDirectoryMode": "0700", "SystemCallArchitectures": "native",
}  # fmt: skip
MAY_REPEAT = {"InaccessiblePaths", "LoadCredential", "SystemCallFilter"}
MOST_EXPOSED = 20
"""In tenths, of 100: what `systemd-analyze security` calls OK ends at 25, and a plain unit has 96."""


def unit(role: str) -> dict[str, list[str]]:
    """Returns the settings of a unit, read strictly: known sections, `Key=value`, nothing said twice."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in (DEPLOY / "systemd" / f"oncofed-{role}.service").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            assert line in ("[Unit]", "[Service]", "[Install]")
            section = line
            continue
        match = re.fullmatch(r"([A-Z][A-Za-z]+)=(.*\S)?", line)
        assert match and section, line
        found.setdefault(match[1], []).append(match[2] or "")
    assert {key for key, values in found.items() if len(values) > 1} <= MAY_REPEAT
    return found


def one(role: str, key: str) -> str:
    (value,) = unit(role)[key]
    return value


@pytest.mark.parametrize("role", ROLES)
class TestUnit:
    def test_it_has_a_user_of_its_own_and_may_write_its_state_only(self, role: str) -> None:
        found = unit(role)
        assert {key: found[key] for key in SHUT} == {key: [value] for key, value in SHUT.items()}
        assert one(role, "User") == one(role, "Group") == one(role, "StateDirectory") == f"oncofed-{role}"
        assert not {"ReadWritePaths", "BindPaths", "MemoryDenyWriteExecute", "Environment"} & set(found)
        users = (DEPLOY / "systemd" / "oncofed.sysusers").read_text()
        assert re.search(rf"^u oncofed-{role} - ", users, re.MULTILINE)

    def test_it_starts_what_is_installed_again_and_again(self, role: str) -> None:
        program, *arguments = shlex.split(one(role, "ExecStart"))
        assert program == f"/opt/oncofed/bin/oncofed-{role}"
        assert arguments == ["start", "--home", f"/var/lib/oncofed-{role}"]
        helped = CliRunner().invoke({"site": site_app, "hub": hub_app}[role], ["start", "--help"])
        assert helped.exit_code == 0 and "--home" in helped.output
        assert (one(role, "Restart"), one(role, "StartLimitIntervalSec")) == ("always", "0")
        assert one(role, "RestartPreventExitStatus") == "2 3"
        assert one(role, "Type") == "notify" and int(one(role, "RestartSec")) > 0

    def test_the_watchdog_waits_longer_than_the_daemon_ever_does(self, role: str) -> None:
        """Each daemon waits 10 s for each child that it stops; the hub's gives signs of life during a command."""
        longest = {"site": 2 * 10.0, "hub": 3 * 10.0 + PULSE_SECONDS}[role]
        assert float(one(role, "WatchdogSec")) / 2 > longest
        assert float(one(role, "TimeoutStopSec")) > 2 * 10.0

    def test_the_keys_that_it_serves_with_are_credentials_and_no_other_is_seen(self, role: str) -> None:
        laid = dict(line.split(":", 1) for line in unit(role)["LoadCredential"])
        hidden = " ".join(unit(role)["InaccessiblePaths"]).replace("-/", "/").split()
        assert set(laid) == {"site": {"node", "tls.key"}, "hub": {"server.key"}}[role]
        for path in laid.values():
            assert any(path == place or path.startswith(f"{place}/") for place in hidden)
        site = SiteHome(Path("/var/lib/oncofed-site"))
        if role == "site":
            assert laid == {"node": str(site.node_key), "tls.key": str(site.tls_key)}
        home = HubHome(Path("/var/lib/oncofed-hub"))
        if role == "hub":
            assert {str(home.ca_key), str(home.server_key), str(home.path / "hub.ed25519")} == set(hidden)

    def test_systemd_itself_takes_it_and_finds_it_shut(self, role: str, tmp_path: Path) -> None:
        """On a machine without systemd the strict reading above is all."""
        text = (DEPLOY / "systemd" / f"oncofed-{role}.service").read_text()
        path = tmp_path / f"oncofed-{role}.service"
        path.write_text(text.replace(f"/opt/oncofed/bin/oncofed-{role}", "/bin/true"))
        if not shutil.which("systemd-analyze"):
            return
        judge(["verify", "--man=no", str(path)])
        judge(["security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(path)])


def judge(arguments: list[str]) -> None:
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)
    wrong = [line for line in done.stderr.splitlines() if "oncofed" in line]  # not of this machine's own units
    assert done.returncode == 0 and not wrong, done.stderr + done.stdout


@pytest.mark.parametrize("role", ROLES)
class TestCompose:
    def service(self, role: str) -> dict[str, Any]:
        document = yaml.safe_load((DEPLOY / "compose" / role / "compose.yaml").read_text())
        assert set(document) == {"name", "services", "volumes"} and set(document["services"]) == {role}
        return dict(document["services"][role])

    def container(self, role: str) -> list[tuple[str, str]]:
        """Returns the instructions, continued lines joined."""
        text = (DEPLOY / "compose" / role / "Containerfile").read_text()
        lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
        return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]

    def test_it_runs_shut(self, role: str) -> None:
        found = self.service(role)
        assert found["read_only"] is True and found["cap_drop"] == ["ALL"] and found["init"] is True
        assert found["security_opt"] == ["no-new-privileges:true"] and found["restart"] == "always"
        assert found["pids_limit"] > 0 and found["mem_limit"] and found["logging"]["options"]["max-size"]
        assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "env_file"} & set(found)
        assert all("noexec" in mount and "nosuid" in mount for mount in found["tmpfs"])

    def test_it_writes_its_state_and_reads_the_images(self, role: str) -> None:
        named = [mount for mount in self.service(role)["volumes"] if isinstance(mount, str)]
        assert named == [f"state:/var/lib/oncofed-{role}"]
        bound = [mount for mount in self.service(role)["volumes"] if isinstance(mount, dict)]
        assert len(bound) == (role == "site") and all(mount["read_only"] is True for mount in bound)

    def test_nothing_dials_into_a_hospital_and_the_hub_is_on_loopback_until_it_is_told(self, role: str) -> None:
        ports = self.service(role).get("ports", [])
        assert ports == {"site": [], "hub": ["${ONCOFED_LISTEN:-127.0.0.1:9443}:9443"]}[role]

    def test_the_image_runs_as_nobody_and_holds_no_key(self, role: str) -> None:
        steps = self.container(role)
        users = [value for name, value in steps if name == "USER"]
        assert users == [self.service(role)["user"]] and not users[0].startswith(("0", "root"))
        assert steps.index(("USER", users[0])) > max(index for index, (name, _) in enumerate(steps) if name == "RUN")
        assert ("ENTRYPOINT", f'["oncofed-{role}"]') in steps and ("CMD", '["start"]') in steps
        assert [name for name, _ in steps].count("HEALTHCHECK") == 1 and "ADD" not in dict(steps)
        assert all("constraints.txt" in value for name, value in steps if name == "RUN" and "pip install" in value)

    def test_the_build_sees_only_what_it_copies(self, role: str) -> None:
        build = self.service(role)["build"]
        folder = DEPLOY / "compose" / role
        root = (folder / build["context"]).resolve()
        assert root == DEPLOY.parent and (root / build["dockerfile"]).samefile(folder / "Containerfile")
        copied = {source for name, value in self.container(role) if name == "COPY" and "--from" not in value
                  for source in value.split()[:-1]}  # fmt: skip
        seen = (folder / "Containerfile.dockerignore").read_text().splitlines()
        assert "*" in seen and {line[1:] for line in seen if line.startswith("!")} == copied
        assert all((root / source).exists() for source in copied)


def test_every_page_says_what_it_is_not_for() -> None:
    for path in [*DEPLOY.glob("*.md"), *DEPLOY.rglob("*.service"), *DEPLOY.rglob("compose.yaml")]:
        assert "Research use only - not a medical device" in path.read_text(), path
