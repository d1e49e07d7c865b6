"""The folder that a run leaves: every file written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.trust.durable import write_durably

MARKER = "run.json"
MODEL = "model/model.safetensors"


def runs_root() -> Path:
    """Returns where runs go when the user names no folder: ``ONCOFED_RUNS`` or ``runs`` below the working folder."""
    return Path(os.environ.get("ONCOFED_RUNS", "runs")).resolve()


def run_path(*, out_dir: str, name: str, run_id: int) -> Path:
    """Returns the run's folder: ``out_dir`` when given, else one named by study and Flower run below the root.

    Hub and emulated hospitals find the same folder by this rule without telling each other.
    """
    return Path(out_dir) if out_dir else runs_root() / f"{name}-{run_id}"


class RunFolder:
    """Writes one run's files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, *, resume: bool) -> RunFolder:
        """Returns the folder, made if need be.

        Raises:
            ConfigError: It cannot be written, or already holds a run that is not being resumed.
        """
        if (path / MARKER).exists() and not resume:
            raise ConfigError(f"{path} already holds a run; choose another folder, or resume it with --resume {path}")
        if resume and not (path / MARKER).exists():
            raise ConfigError(f"{path} holds no run to resume; expected a {MARKER} in it")
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / ".writable").touch()
            (path / ".writable").unlink()
        except OSError as error:
            raise ConfigError(f"The run folder {path} cannot be written ({error.strerror}); choose another") from None
        return cls(path)

    def write_json(self, name: str, document: Mapping[str, Any]) -> None:
        """Writes ``document`` to ``name``, atomically and durably."""
        self.write_text(name, json.dumps(document, indent=2, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Writes ``text`` to ``name``, atomically and durably."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_durably(target, text)

    def read_json(self, name: str) -> dict[str, Any]:
        """Returns the document in ``name``, or an empty one when there is none."""
        path = self.path / name
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Adds one round to ``metrics.jsonl``."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """Returns the rounds of ``metrics.jsonl``; a last line cut short by a crash is dropped."""
        path = self.path / "metrics.jsonl"
        rows = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return rows

    def rewrite_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replaces ``metrics.jsonl``, for a resumed run that repeats a round."""
        self.write_text("metrics.jsonl", "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
