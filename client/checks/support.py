"""``oncofed-site support-bundle``: what somebody outside may read to help, without paths, identifiers or keys.

It is written from what the site knows of itself, and never leaves by itself: a person looks at it, then sends it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

from client.checks.doctor import examine
from client.node.overview import overview
from client.node.scrub import GONE, Scrubber, words_of
from client.site.policy import load_policy
from client.site.site_file import SiteHome, open_data
from common.errors import ConfigError, OncoFedError, TrustError, UsageError
from common.provenance import code_digest, versions
from common.trust.pki import certificate_facts

LOG_BYTES = 1_000_000
_LOGS = ("supernode", "worker")
_STATUS = ("status", "since", "processes", "paused_since", "left_since", "answers", "refusals", "budget")
_README = """\
Support bundle of an OncoFed site. Research use only - not a medical device.

versions.json      what is installed
doctor.json        what `oncofed-site doctor` found, scrubbed
status.json        processes, budget, refusals by code
certificates.json  until when the consortium's authority is valid
policy.json        the policy's limits
logs/              the ends of the daemon's logs, scrubbed

In scrubbed text only words that the programs themselves say, small numbers and places in the code are left; all else
is {gone}. {manifest} Look through it before you send it.
"""


def write_bundle(home: SiteHome, out: Path) -> None:
    """Writes the zip, readable by this user only.

    Raises:
        UsageError: There is such a file already, or it cannot be written.
        ConfigError: There is no site here.
        TrustError: A key or a path would be in it; nothing was written.
    """
    if not home.path.is_dir():
        raise ConfigError(f"There is no site in {home.path}; join with: oncofed-site join KIT")
    words, known = _manifest_words(home)
    files = _files(home, Scrubber(words)) | {"README.txt": _readme(known)}
    _check(home, files)
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name), text)
    try:
        with open(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(buffer.getvalue())
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror}); give the name of a new file") from None


def _files(home: SiteHome, scrub: Scrubber) -> dict[str, str]:
    documents: dict[str, dict[str, Any]] = {
        "versions.json": {**versions(), "python": platform.python_version(), "code_digest": code_digest()},
        "doctor.json": {"findings": [_finding(dataclasses.asdict(found), scrub) for found in examine(home)]},
        "status.json": _status(home),
        "certificates.json": _certificates(home),
        "policy.json": _policy(home),
    }
    files = {name: json.dumps({"schema_version": 1} | body, indent=2) + "\n" for name, body in documents.items()}
    logs = sorted(home.logs.glob("*.log"))
    return files | {f"logs/{path.name}": scrub.text(_tail(path)) + "\n" for path in logs if path.stem in _LOGS}


def _finding(found: dict[str, Any], scrub: Scrubber) -> dict[str, Any]:
    return found | {key: scrub.text(found[key]) for key in ("found", "fix")}


def _status(home: SiteHome) -> dict[str, Any]:
    try:
        found = overview(home)
    except OncoFedError as error:
        return {"problem": type(error).__name__}
    return {key: found.get(key) for key in _STATUS}


def _certificates(home: SiteHome) -> dict[str, Any]:
    try:
        facts = certificate_facts(home.ca)
    except OncoFedError as error:
        return {"problem": type(error).__name__}
    return {"authority": {"not_after": facts.not_after.isoformat(), "days_left": round(facts.days_left())}}


def _policy(home: SiteHome) -> dict[str, Any]:
    """Returns the limits; how many studies and hubs are named, not which."""
    try:
        limits = dataclasses.asdict(load_policy(home.path / home.read().policy))
    except OncoFedError as error:
        return {"problem": type(error).__name__}
    return limits | {name: len(limits[name]) for name in ("studies", "hubs", "models", "strategies")}


def _tail(path: Path) -> str:
    """Returns the log's end, from the first whole line on."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        cut = file.tell() > 0
        text = file.read().decode("utf-8", errors="replace")
    return text.partition("\n")[2] if cut else text


def _manifest_words(home: SiteHome) -> tuple[frozenset[str], bool]:
    """Returns the words of patients and files, and whether the manifest could be read."""
    try:
        records = open_data(home.read().data).records
    except OncoFedError:
        return frozenset(), False
    texts = {text for record in records for text in (record.patient, record.image, record.mask) if text}
    return words_of(texts), True


def _readme(known: bool) -> str:
    said = "No word of the manifest's patients and files is left either." if known else "The manifest was unreadable."
    return _README.format(gone=GONE, manifest=said)


def _check(home: SiteHome, files: dict[str, str]) -> None:
    """A second look: nothing that is a secret, as it stands on the disk, may be in it."""
    secrets = [str(home.path), str(Path.home()), *_key_lines(home)]
    for name, text in files.items():
        if "PRIVATE KEY" in text or any(len(secret) > 1 and secret in text for secret in secrets):
            raise TrustError(f"{name} would hold a key or a path; nothing was written. Please report it")


def _key_lines(home: SiteHome) -> list[str]:
    files = [path for path in home.path.rglob("*") if path.is_file() and _is_key(path)]
    lines = [line for path in files for line in path.read_text(encoding="utf-8", errors="ignore").splitlines()]
    return [line for line in lines if len(line) > 20 and not line.startswith("-----")]


def _is_key(path: Path) -> bool:
    return path.parent.name == "keys" or path.suffix in (".key", ".ed25519") or ".key." in path.name
