"""Makes the kit for a machine without internet: one tar with every wheel, their hashes and an installer.

``make kit`` runs this on a machine with internet, of the same processor, Linux and Python as the hospital's. Research
use only - not a medical device.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = {"site": "[dicom]", "hub": ""}
CUDA = ("nvidia-", "cuda-", "triton")
_TARGET = "VERSION"


class KitError(Exception):
    """The kit cannot be made; the text says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the kit and returns the exit code; 3 when it cannot be made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=sorted(EXTRAS), default="site")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--pip-options", default="", help="for pip, as in '--extra-index-url URL' of torch for CPUs")
    parser.add_argument("--with-cuda", action="store_true", help="allow torch with CUDA, gigabytes larger")
    given = parser.parse_args(arguments)
    options = shlex.split(given.pip_options)
    try:
        if not given.with_cuda:
            refuse_cuda(resolve(given.role, options))
        with tempfile.TemporaryDirectory(prefix="oncofed-kit-") as folder:
            wheels = Path(folder) / "wheels"
            _run(wheel_command(given.role, wheels, options))
            path = write_kit(given.out, given.role, wheels)
    except KitError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 3
    print(path)
    return 0


def resolve(role: str, options: Sequence[str]) -> list[str]:
    """Returns the names of the packages that pip would take, without downloading them.

    Raises:
        KitError: pip finds no set of them.
    """
    with tempfile.TemporaryDirectory(prefix="oncofed-kit-") as folder:
        report = Path(folder) / "report.json"
        _run([*_pip("install"), "--dry-run", "--ignore-installed", "--report", str(report), *_what(role, options)])
        rows = json.loads(report.read_text(encoding="utf-8"))["install"]
    return [str(row["metadata"]["name"]).lower().replace("_", "-") for row in rows]


def refuse_cuda(names: Iterable[str]) -> None:
    """Keeps gigabytes that a machine without a GPU never loads out of the kit.

    Raises:
        KitError: Some of the packages are CUDA's.
    """
    found = sorted(name for name in names if name.startswith(CUDA))
    if found:
        raise KitError(
            f"pip would take torch with CUDA ({len(found)} packages, {found[0]} first). Name an index of it for CPUs: "
            "make kit KIT_OPTIONS=\"--pip-options='--extra-index-url URL'\", or allow it: KIT_OPTIONS=--with-cuda"
        )


def wheel_command(role: str, wheels: Path, options: Sequence[str]) -> list[str]:
    """Returns the command that puts OncoFed and all it needs into ``wheels``, at the versions it is tested with."""
    return [*_pip("wheel"), "--wheel-dir", str(wheels), *_what(role, options)]


def write_kit(out: Path, role: str, wheels: Path) -> Path:
    """Returns the tar of the wheels, byte for byte the same for the same ones.

    Raises:
        KitError: OncoFed is not among them, or two have one name.
    """
    files = {f"wheels/{path.name}": path for path in sorted(wheels.glob("*.whl"))}
    lock = locked(files.values())
    version = next((line.split()[0].partition("==")[2] for line in lock if line.startswith("oncofed==")), None)
    if version is None:
        raise KitError(f"There is no wheel of oncofed in {wheels}; pip made none")
    files |= {f"share/{name}": ROOT / "deploy" / name for name in ("README.md", f"README-{role}.md")}
    files |= {f"share/systemd/{path.name}": path for path in _units(role)}
    files |= {"constraints.txt": ROOT / "constraints.txt", "LICENSE": ROOT / "LICENSE"}
    texts = {"requirements.txt": "\n".join(lock) + "\n", _TARGET: f"{version} {role} {target()}\n"}
    texts["install.sh"] = (ROOT / "deploy" / "kit" / "install.sh").read_text(encoding="utf-8")
    texts["SHA256SUMS"] = _sums(files, texts)
    name = f"oncofed-{role}-{version}-{target().replace(' ', '-')}"
    out.mkdir(parents=True, exist_ok=True)
    return _pack(out / f"{name}.tar", name, files, texts)


def target() -> str:
    """Returns the Python and the platform that the wheels are for, as in ``3.11 linux-x86_64``."""
    return f"{sys.version_info.major}.{sys.version_info.minor} {sysconfig.get_platform()}"


def locked(wheels: Iterable[Path]) -> list[str]:
    """Returns a line of pip requirements for each wheel, which accepts that very file only.

    Raises:
        KitError: Two wheels are of one package.
    """
    lines: dict[str, str] = {}
    for path in wheels:
        name, version = path.name.split("-")[:2]
        if name.lower() in lines:
            raise KitError(f"There are two wheels of {name}; empty the folder and try again")
        lines[name.lower()] = f"{name.replace('_', '-').lower()}=={version} --hash=sha256:{_sha(path)}"
    return [lines[name] for name in sorted(lines)]


def _units(role: str) -> list[Path]:
    folder = ROOT / "deploy" / "systemd"
    return [folder / f"oncofed-{role}.service", folder / "oncofed.sysusers"]


def _what(role: str, options: Sequence[str]) -> list[str]:
    return ["--constraint", str(ROOT / "constraints.txt"), *options, f"{ROOT}{EXTRAS[role]}"]


def _pip(command: str) -> list[str]:
    return [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check"]


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, check=False, stdout=sys.stderr)
    if done.returncode:
        raise KitError(f"pip ended with {done.returncode}; what it said stands above")


def _sums(files: Mapping[str, Path], texts: Mapping[str, str]) -> str:
    sums = {name: _sha(path) for name, path in files.items()}
    sums |= {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))


def _sha(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pack(path: Path, top: str, files: Mapping[str, Path], texts: Mapping[str, str]) -> Path:
    partial = path.with_suffix(".partial")
    with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted({*files, *texts}):
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.mode = 0o755 if name.endswith(".sh") else 0o644
            if name in texts:
                body = texts[name].encode()
                entry.size = len(body)
                archive.addfile(entry, io.BytesIO(body))
            else:
                entry.size = files[name].stat().st_size
                with files[name].open("rb") as file:
                    archive.addfile(entry, file)
    shutil.move(partial, path)
    return path


if __name__ == "__main__":
    if platform.system() != "Linux":
        raise SystemExit("A kit is made on Linux, for Linux")
    raise SystemExit(main())
