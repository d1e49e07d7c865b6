"""What a hospital sends to get help holds no patient, path or key, whatever its logs and its manifest say."""

from __future__ import annotations

import json
import shutil
import string
import zipfile
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from client.checks.support import write_bundle
from client.cli.main import app
from client.node.scrub import GONE, Scrubber, vocabulary, words_of
from client.site.pause import pause
from client.site.site_file import SiteHome
from common.errors import TrustError, UsageError
from common.trust.signing import SiteKey

NAMED = "Max 17"
"""A patient of the manifest whose name and number are words that programs say."""
UNNAMED = ("Kowalczyk", "MRN-0047118", "1957-03-12", "anna.k@clinic.example", "Zürich", "ward4b")
"""Nobody told the site of these."""


@pytest.fixture
def home(joined: SiteHome, tmp_path: Path) -> SiteHome:
    """A site whose manifest and logs are full of what must stay."""
    images = tmp_path / "Kowalczyk-images"
    images.mkdir()
    rows = ["image,patient,label"]
    for index in range(40):
        Image.new("L", (8, 8), index).save(images / f"scan{index}.png")
        rows.append(f"scan{index}.png,{NAMED if index == 0 else f'case{index}'},{('benign', 'malignant')[index % 2]}")
    (images / "manifest.csv").write_text("\n".join(rows))
    settings = yaml.safe_load(joined.site_file.read_text())
    settings |= {"declared_patients": 30, "data": {"root": str(images / "manifest.csv"), "split_seed": 0}}
    joined.site_file.write_text(yaml.safe_dump(settings))
    SiteKey.open(joined.path / "ledger.sqlite.key")
    (joined.path / "ledger.sqlite.key").rename(joined.path / "other.key")
    key = (joined.path / "other.key").read_text() + joined.node_key.read_text()
    (joined.logs / "worker.log").write_text(
        f"2026-11-23 20:00:00,123 WARNING north refused (policy-refused): patient {NAMED} of {images}\n"
        f"Traceback (most recent call last):\n  File \"{images}/private.py\", line 3, in kowalczyk\n"
        f"KeyError: {' '.join(UNNAMED)!r}\n{key}\n2026-11-23 20:00:09 INFO train answered in 12.5 s\n"
    )  # fmt: skip
    (joined.logs / "notes.log").write_text("not one of the daemon's")
    return joined


def bundle(home: SiteHome, tmp_path: Path) -> dict[str, str]:
    write_bundle(home, tmp_path / "help.zip")
    with zipfile.ZipFile(tmp_path / "help.zip") as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_no_patient_path_or_key_is_in_the_bundle(home: SiteHome, tmp_path: Path) -> None:
    files = bundle(home, tmp_path)
    keys = [path.read_text().splitlines()[1] for path in (home.node_key, home.signing_key, home.path / "other.key")]
    # A tag of one of the libraries may end in a number that is a patient's too; the words of people are not theirs.
    planted = [*UNNAMED, str(home.path), str(tmp_path), "scan0", "case1", "manifest.csv", *keys, "PRIVATE KEY"]
    for name, text in files.items():
        assert not [word for word in planted if word.lower() in text.lower()], name
    log = files["logs/worker.log"].lower()
    assert "max" not in log and "17" not in log


def test_it_holds_what_helps(home: SiteHome, tmp_path: Path) -> None:
    pause(home)
    files = bundle(home, tmp_path)
    assert set(files) == {
        "README.txt", "versions.json", "doctor.json", "status.json", "certificates.json", "policy.json",
        "logs/worker.log",
    }  # fmt: skip
    assert json.loads(files["versions.json"])["flwr"].startswith("1.41")
    found = {row["check"]: row["status"] for row in json.loads(files["doctor.json"])["findings"]}
    assert found["port"] == "fail" and found["data"] == "ok"
    assert json.loads(files["certificates.json"])["authority"]["days_left"] > 3000
    assert json.loads(files["policy.json"])["ceiling"] == 10.0
    assert json.loads(files["status.json"])["paused_since"]
    assert "2026-11-23 20:00:09 INFO train answered in 12.5 s" in files["logs/worker.log"]
    assert "refused (policy-refused)" in files["logs/worker.log"] and "KeyError" in files["logs/worker.log"]
    assert "Research use only - not a medical device" in files["README.txt"]


def test_a_site_with_nothing_right_gets_a_bundle_too(home: SiteHome, tmp_path: Path) -> None:
    home.site_file.write_text("nothing: right")
    shutil.rmtree(home.logs)
    files = bundle(home, tmp_path)
    assert json.loads(files["policy.json"])["problem"] == "ConfigError"
    assert "The manifest was unreadable" in files["README.txt"]


def test_the_second_look_stops_a_key(home: SiteHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = home.node_key.read_text().splitlines()[1]
    monkeypatch.setattr("client.checks.support.versions", lambda: {"flwr": line})
    with pytest.raises(TrustError, match="nothing was written"):
        write_bundle(home, tmp_path / "help.zip")
    assert not (tmp_path / "help.zip").exists()


def test_the_command_writes_for_this_user_only_and_over_nothing(home: SiteHome, tmp_path: Path) -> None:
    out = tmp_path / "help.zip"
    arguments = ["support-bundle", str(out), "--home", str(home.path)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert out.stat().st_mode & 0o077 == 0
    assert CliRunner().invoke(app, arguments).exit_code == UsageError.exit_code


LETTERS = st.text(string.ascii_letters + "äöß", min_size=1, max_size=12)


@given(
    st.lists(LETTERS | st.integers(0, 10**9).map(str), max_size=8), st.sampled_from([" ", "/", "-", ", ", "\t", "|"])
)
def test_only_the_programs_words_and_small_numbers_stay(words: list[str], between: str) -> None:
    left = words_of([Scrubber().text(between.join(words)).replace(GONE, " ")]) - {""}
    for word in left:
        for piece in word.replace(between, " ").split():
            assert piece in vocabulary() or (piece.isdigit() and len(piece) <= 3) or not piece.isalnum(), piece


@given(st.text(max_size=60))
@example("\x1e\x85")
def test_any_text_at_all_is_scrubbed_without_an_error(text: str) -> None:
    once = Scrubber().text(text)
    assert Scrubber().text(once).replace(GONE, "") == once.replace(GONE, "")


@pytest.mark.parametrize(
    "secret", ["/srv/data", "C:\\Users\\anna", "\\\\nas\\share\\x", "~/images/p1", "10.11.12.1234"]
)
def test_no_path_stays(secret: str) -> None:
    assert Scrubber().text(f"cannot open {secret}") == f"cannot open {GONE}"


def test_words_of_the_manifest_go_although_programs_say_them() -> None:
    assert Scrubber(words_of(["Model A-12"])).text("the model 12 a") == f"the {GONE} {GONE} {GONE}"
