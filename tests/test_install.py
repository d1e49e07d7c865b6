"""``.ci/install``: what stands in the way of an installation is one clear line; a stale environment is made anew."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

INSTALL = Path(__file__).resolve().parent.parent / ".ci" / "install"
PYTHON = """#!/bin/sh
# A Python of version {version}: tells it, makes environments that hold itself, and whose pip says what it was told to.
case "$1 $2" in
"-c import sys; print"*) echo {version} ;;
"-c import sys; sys.exit"*) exit {old} ;;
"-m venv") {venv} ;;
"-m pip") echo "{pip}"; exit {code} ;;
esac
"""
MADE = 'mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo "version = {version}.4" > "$3/pyvenv.cfg"'


def python(folder: Path, version: str = "3.12", *, pip: str = "", venv: str = MADE) -> Path:
    """A stand-in for Python whose pip fails with these words, if any."""
    path = folder / f"python{version}"
    old = int(tuple(map(int, version.split("."))) < (3, 11))
    text = PYTHON.format(version=version, old=old, venv=venv.format(version=version), pip=pip, code=int(bool(pip)))
    path.write_text(text)
    path.chmod(0o755)
    return path


def install(venv: Path, python: Path | str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([INSTALL, venv, python, "dev", *more], capture_output=True, text=True, check=False)


def stale(*words: Path) -> bool:
    return subprocess.run([INSTALL, "--stale", *words], check=False).returncode == 0


WRONG = {
    "no network": ("NewConnectionError: Failed to establish a new connection: Name or service not known", "registry"),
    "no compiler": ("error: command 'gcc' failed: No such file or directory", "no compiler"),
    "too new": ("ERROR: No matching distribution found for torch==2.14.1", "no version for Python 3.12"),
    "else": ("ERROR: the moon is full", "the moon is full"),
}


@pytest.mark.parametrize(("pip", "said"), WRONG.values(), ids=WRONG)
def test_what_pip_says_in_a_page_is_said_in_a_line(pip: str, said: str, tmp_path: Path) -> None:
    found = install(tmp_path / "venv", python(tmp_path, pip=pip))
    assert found.returncode == 1 and found.stdout == ""
    assert said in found.stderr and found.stderr.count("\n") == 1
    assert pip in Path(found.stderr.split()[-1]).read_text()


def test_an_old_python_is_named_with_what_to_do(tmp_path: Path) -> None:
    found = install(tmp_path / "venv", python(tmp_path, "3.9"))
    assert found.returncode == 1 and "3.11 or newer" in found.stderr and "is 3.9" in found.stderr
    assert not (tmp_path / "venv").exists()


def test_no_python_is_said(tmp_path: Path) -> None:
    assert "There is no /nowhere/python here" in install(tmp_path / "venv", "/nowhere/python").stderr


def test_a_python_without_venv_is_said(tmp_path: Path) -> None:
    found = install(tmp_path / "venv", python(tmp_path, venv="echo ensurepip is not available >&2; exit 1"))
    assert found.returncode == 1 and "ensurepip" in found.stderr and "python3.12-venv" in found.stderr


def test_an_environment_is_reused_and_made_anew_only_for_another_python(tmp_path: Path) -> None:
    venv, old, new = tmp_path / "venv", python(tmp_path, "3.11"), python(tmp_path, "3.13")
    assert install(venv, old).returncode == 0 and not stale(venv)
    (venv / "kept").touch()
    assert install(venv, new).returncode == 0 and (venv / "kept").exists()  # nobody asked for another
    assert stale(venv, new) and not stale(venv, old)
    assert install(venv, new, "chosen").returncode == 0 and not (venv / "kept").exists()
    assert not stale(venv, new)


def test_an_environment_whose_python_was_replaced_is_made_anew(tmp_path: Path) -> None:
    """A system upgrade leaves a link that starts another Python, or none."""
    venv, old, new = tmp_path / "venv", python(tmp_path, "3.11"), python(tmp_path, "3.13")
    install(venv, old)
    (venv / "bin" / "python").write_bytes(new.read_bytes())
    (venv / "kept").touch()
    assert stale(venv)
    assert "made anew" in install(venv, new).stderr and not (venv / "kept").exists()
    (venv / "bin" / "python").unlink()
    assert stale(venv)


def test_nothing_is_stale_where_nothing_is(tmp_path: Path) -> None:
    assert not stale(tmp_path / "venv")
