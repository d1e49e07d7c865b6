"""The kit installs what was packed and nothing else: from a tiny wheel, without a network."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kit_build", ROOT / "deploy" / "kit" / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load()


def wheel(folder: Path, name: str, version: str, module: str) -> Path:
    """Writes the smallest wheel that pip installs, with one command, ``oncofed-site``."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": module,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-site = {name}:main\n",
    }
    rows = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},"
        for path, text in files.items()
    ]
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in (files | {f"{info}/RECORD": "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"}).items():
            archive.writestr(zipfile.ZipInfo(inner), text)
    return path


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """An unpacked kit of a tiny OncoFed."""
    wheel(tmp_path / "wheels", "oncofed", "9.1", "def main(): print('tiny')\n")
    packed = build.write_kit(tmp_path / "dist", "site", tmp_path / "wheels")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (folder,) = (tmp_path / "unpacked").iterdir()
    return folder


def install(kit: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(kit / "install.sh"), "--python", sys.executable, *arguments]
    environment = {"PATH": os.environ["PATH"], "PIP_INDEX_URL": "http://127.0.0.1:9/", "HOME": "/nonexistent"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


def test_it_installs_and_runs_without_a_network(kit: Path, tmp_path: Path) -> None:
    done = install(kit, "--prefix", str(tmp_path / "opt"))
    assert done.returncode == 0, done.stderr
    said = subprocess.run([str(tmp_path / "opt/bin/oncofed-site")], capture_output=True, text=True, check=True)
    assert said.stdout == "tiny\n"
    assert {path.name for path in (tmp_path / "opt/share").rglob("*") if path.is_file()} == {
        "README.md", "README-site.md", "oncofed-site.service", "oncofed.sysusers",
    }  # fmt: skip


def test_a_dry_run_changes_nothing(kit: Path, tmp_path: Path) -> None:
    done = install(kit, "--prefix", str(tmp_path / "opt"), "--dry-run")
    assert done.returncode == 0 and not (tmp_path / "opt").exists()
    (line,) = [line for line in done.stdout.splitlines() if "pip --isolated install" in line]
    assert "--no-index" in line and "--require-hashes" in line and "--no-deps" in line


@pytest.mark.parametrize("name", ["wheels/oncofed-9.1-py3-none-any.whl", "requirements.txt", "install.sh", "VERSION"])
def test_a_changed_file_is_refused(kit: Path, tmp_path: Path, name: str) -> None:
    with (kit / name).open("ab") as file:
        file.write(b"\n")
    assert install(kit, "--prefix", str(tmp_path / "opt")).returncode == 5
    assert not (tmp_path / "opt").exists()


def test_a_wheel_that_was_added_is_refused(kit: Path, tmp_path: Path) -> None:
    wheel(kit / "wheels", "evil", "1", "")
    done = install(kit, "--prefix", str(tmp_path / "opt"))
    assert done.returncode == 5 and "evil" in done.stderr


def test_a_folder_with_something_else_is_not_emptied(kit: Path, tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "precious").touch()
    assert install(kit, "--prefix", str(tmp_path / "opt")).returncode == 3
    assert (tmp_path / "opt" / "precious").exists()


@pytest.mark.parametrize(("arguments", "code"), [(["--what"], 2), (["--prefix"], 2), (["--python", "nopython"], 3)])
def test_a_wrong_call_is_told(kit: Path, arguments: list[str], code: int) -> None:
    done = install(kit, *arguments)
    assert done.returncode == code and done.stderr


def test_another_python_is_refused(kit: Path, tmp_path: Path) -> None:
    other = tmp_path / "python3.8"
    other.write_text("#!/bin/sh\necho 3.8 linux-x86_64\n")
    other.chmod(0o755)
    assert install(kit, "--python", str(other)).returncode == 3


def test_the_same_wheels_make_the_same_kit(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "oncofed", "9.1", "")
    first, second = (build.write_kit(tmp_path / name, "hub", tmp_path / "wheels") for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert re.fullmatch(r"oncofed-hub-9\.1-3\.\d+-linux-.*\.tar", first.name)


def test_each_line_of_the_lock_names_one_file(tmp_path: Path) -> None:
    paths = [wheel(tmp_path, "oncofed", "9.1", ""), wheel(tmp_path, "Zope_Thing", "2.0+cpu", "")]
    lines = build.locked(paths)
    found = {Requirement(line.split(" --hash")[0]).name: line for line in lines}
    assert set(found) == {"oncofed", "zope-thing"} and "2.0+cpu" in found["zope-thing"]
    assert all(hashlib.sha256(p.read_bytes()).hexdigest() in line for p, line in zip(paths, lines, strict=True))
    with pytest.raises(build.KitError, match="two wheels"):
        build.locked([*paths, wheel(tmp_path, "oncofed", "9.2", "")])


def test_torch_with_cuda_is_refused_and_told_how_to_avoid() -> None:
    build.refuse_cuda(["torch", "numpy"])
    for name in ("nvidia-cublas", "cuda-toolkit", "triton"):
        with pytest.raises(build.KitError, match="extra-index-url"):
            build.refuse_cuda(["torch", name])


def test_pip_is_asked_for_the_tested_versions_and_the_roles_extras(tmp_path: Path) -> None:
    command = build.wheel_command("site", tmp_path, ["--extra-index-url", "URL"])
    assert command[command.index("--constraint") + 1] == str(ROOT / "constraints.txt")
    assert command[-1] == f"{ROOT}[dicom]" and command[command.index("--extra-index-url") + 1] == "URL"
    assert build.wheel_command("hub", tmp_path, [])[-1] == str(ROOT)


def test_without_oncofed_there_is_no_kit(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "other", "1", "")
    with pytest.raises(build.KitError, match="no wheel of oncofed"):
        build.write_kit(tmp_path / "dist", "site", tmp_path / "wheels")
