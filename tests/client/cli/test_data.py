"""`oncofed-site data` as a data manager types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from client.checks.readiness import certificate, inspect
from client.checks.readiness_page import page
from client.cli.main import app
from client.site.certificate import releasable_certificate
from client.site.policy import load_policy
from client.site.site_file import SiteHome
from common.data.manifest import Dataset, Record, read_manifest
from common.data.pixels.images import ImageFiles
from common.data.splits import split_by_patient
from common.errors import TrustError
from common.trust.certificate import check_certificate
from common.trust.signing import SiteKey
from tests.common.data.layouts_screening import rsna, rsna_row


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    lines = ["image,patient,label"]
    for number in range(60):
        name = f"{number}.png"
        pixels = np.random.default_rng(number).integers(0, 120, (40, 50), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
        lines.append(f"{name},p{number // 2},{('benign', 'malignant')[number // 2 % 2]}")
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["data", *words])
    return done.exit_code, done.stdout, done.stderr


def test_a_sound_cohort_is_ready(manifest: Path) -> None:
    code, out, err = run("check", "--root", str(manifest), "--json")
    assert code == 0, err
    found = json.loads(out)["data"]
    assert found["ready"] and {row["code"] for row in found["findings"]} == {"class-small"}
    assert sum(sum(row.values()) for row in found["counts"].values()) == 30


def test_an_error_is_named_and_mended(manifest: Path) -> None:
    (manifest.parent / "7.png").write_bytes(b"cut")
    code, _, err = run("check", "--root", str(manifest))
    assert code == 4 and "7.png" in err and "Not ready" in err
    clean = manifest.parent / "clean.csv"
    assert run("check", "--root", str(manifest), "--fix", str(clean))[0] == 4
    assert run("check", "--root", str(clean))[0] == 0
    code, _, err = run("check", "--root", str(manifest), "--fix", str(clean))
    assert code == 2 and "exists" in err


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    code, _, err = run("check", "--root", str(tmp_path / "none.csv"))
    assert code == 3 and "There is no" in err
    code, _, err = run("check", "--home", str(tmp_path))
    assert code == 3 and "There is no site" in err


def test_a_certificate_names_no_image_and_cannot_be_changed(manifest: Path, tmp_path: Path) -> None:
    (manifest.parent / "7.png").write_bytes(b"cut")
    found = inspect(split_by_patient(read_manifest(manifest), seed=0, train_share=0.7, val_share=0.15))
    key = SiteKey.open(tmp_path / "key")
    document = certificate(found, site="north", dataset="manifest", min_cell=5, key=key)
    text = json.dumps(document)
    assert "7.png" not in text and "p3" not in text and str(tmp_path) not in text
    assert (
        document["ready"] is False
        and {"code": "unreadable", "severity": "error", "count": None} in document["findings"]
    )
    check_certificate(document, key.public_hex)
    for change in ({"ready": True}, {"site": "south"}, {"findings": []}):
        with pytest.raises(TrustError, match="changed"):
            check_certificate(document | change)
    with pytest.raises(TrustError, match="expected"):
        check_certificate(document, "00" * 32)
    with pytest.raises(TrustError, match="not signed"):
        check_certificate({name: value for name, value in document.items() if name != "signature"})
    file = tmp_path / "readiness.json"
    file.write_text(text)
    code, _, err = run("verify", str(file), "--public-key", key.public_hex)
    assert code == 0 and "not ready" in err
    file.write_text(text.replace("north", "south"))
    assert run("verify", str(file))[0] == 5


@pytest.mark.parametrize("openly", [False, True])
def test_a_certificate_counts_only_where_the_policy_lets_anybody_be_counted(
    joined: SiteHome, manifest: Path, tmp_path: Path, openly: bool
) -> None:
    settings, policy = (yaml.safe_load(path.read_text()) for path in (joined.site_file, joined.path / "policy.yaml"))
    joined.site_file.write_text(yaml.safe_dump(settings | {"data": {"root": str(manifest), "split_seed": 0}}))
    floors = {"min_split": 1, "min_group": 1, "release_metrics": True} if openly else {"release_metrics": True}
    (joined.path / "policy.yaml").write_text(yaml.safe_dump(policy | floors))
    code, _, err = run("certify", "--home", str(joined.path), "--out", str(tmp_path / "out"), "--min-cell", "1")
    assert code == 0, err
    document = json.loads((tmp_path / "out" / "readiness.json").read_text())
    told = [count for row in document["patients"].values() for count in row.values()]
    counts = [*told, *(finding["count"] for finding in document["findings"])]
    assert any(counts) == openly and document["findings"], "codes of findings are told all the same"
    (joined.path / "readiness.json").write_text(json.dumps(document))
    assert releasable_certificate(joined.path, load_policy(joined.path / "policy.yaml"), noised=False) == document
    code, _, err = run("certify", "--home", str(joined.path), "--by", "scanner")
    assert code == (4 if openly else 3) and ("leave --by out" in err) == (not openly)


def test_the_page_is_self_contained_and_shows_no_small_count(manifest: Path, tmp_path: Path) -> None:
    found = inspect(split_by_patient(read_manifest(manifest), seed=0, train_share=0.7, val_share=0.15))
    document = certificate(found, site="<b>north", dataset="x", min_cell=5, key=SiteKey.open(tmp_path / "key"))
    html = page(document)
    assert "not told" in html and "<b>north" not in html and "http" not in html.replace("http-equiv", "")
    assert "Research use only" in html


def test_two_hospitals_count_what_they_share(manifest: Path, tmp_path: Path) -> None:
    invoke = CliRunner().invoke
    key = str(tmp_path / "overlap.key")
    assert invoke(app, ["overlap", "key", key]).exit_code == 0
    assert (tmp_path / "overlap.key").stat().st_mode & 0o777 == 0o600
    assert invoke(app, ["overlap", "key", key]).exit_code == 2
    files = [str(tmp_path / f"{site}.json") for site in ("north", "south")]
    for site, file in zip(("north", "south"), files, strict=True):
        done = invoke(app, ["overlap", "export", file, "--key", key, "--site", site, "--root", str(manifest)])
        assert done.exit_code == 0, done.output
    done = invoke(app, ["overlap", "count", *files, "--json"])
    pair = {"sites": ["north", "south"], "patients": 30, "but_for_zeros": 0, "images": 60}
    assert json.loads(done.stdout)["data"]["pairs"] == [pair]
    (tmp_path / "none.json").write_text("[]")
    assert invoke(app, ["overlap", "count", files[0], str(tmp_path / "none.json")]).exit_code == 4


def test_what_was_mended_can_be_read_and_is_ready(manifest: Path) -> None:
    (manifest.parent / "8.png").write_bytes((manifest.parent / "0.png").read_bytes())  # p0 and p4, both benign
    clean = manifest.parent / "clean.csv"
    code, _, err = run("check", "--root", str(manifest), "--fix", str(clean))
    assert "8.png" in err
    code, out, err = run("check", "--root", str(clean), "--json")
    assert code == 0, err
    assert not [row for row in json.loads(out)["data"]["findings"] if row["code"].startswith("alike")]


def test_no_count_of_a_certificate_gives_a_small_one_away(tmp_path: Path) -> None:
    source = ImageFiles(tmp_path)
    records = tuple(Record(f"{n}.png", f"p{n}", int(n < 3), split="train") for n in range(16))
    found = inspect(Dataset("x", records, read=source))
    document = certificate(found, site="north", dataset="x", min_cell=5, key=SiteKey.open(tmp_path / "key"))
    assert document["patients"]["train"] == {"malignant": None, "benign": None}
    told = {finding["code"]: finding["count"] for finding in document["findings"]}
    assert told["too-few-patients"] is None and told["class-small"] is None


def test_two_hospitals_compare_how_their_images_look(manifest: Path, tmp_path: Path) -> None:
    invoke = CliRunner().invoke
    files = [str(tmp_path / f"{site}.json") for site in ("north", "south")]
    for site, file in zip(("north", "south"), files, strict=True):
        done = invoke(app, ["appearance", "export", file, "--site", site, "--root", str(manifest)])
        assert done.exit_code == 0, done.output
    text = Path(files[0]).read_text()
    assert ".png" not in text and json.loads(text)["patients"] == 16
    done = invoke(app, ["appearance", "compare", *files, "--json"])
    found = json.loads(done.stdout)["data"]["differences"]
    assert len(found) == 2 and all(abs(value) < 1e-9 for row in found.values() for value in row.values())
    assert invoke(app, ["appearance", "compare", files[0], files[0]]).exit_code == 4
    (tmp_path / "odd.json").write_text('{"schema_version": 1}')
    assert invoke(app, ["appearance", "compare", files[0], str(tmp_path / "odd.json")]).exit_code == 4
    few = [
        "appearance",
        "export",
        str(tmp_path / "few.json"),
        "--site",
        "x",
        "--root",
        str(manifest),
        "--min-cell",
        "31",
    ]
    assert invoke(app, few).exit_code == 4 and not (tmp_path / "few.json").exists()


def test_what_a_reader_left_out_is_said_where_the_rest_cannot_be_divided(tmp_path: Path) -> None:
    """Before, the split's error alone was shown, and not that the reader had left out nearly all of the women."""
    women = [rsna_row(str(100 + n), str(n), "L", int(n < 3), int(n < 4)) for n in range(40)]
    root = rsna(tmp_path, women)
    said = "Left out: 36 images of breasts without a biopsy"
    code, out, err = run("check", "--data", "rsna", "--root", str(root), "--json")
    assert code == 4 and f"note: {said}" in err
    found = json.loads(out)["data"]
    assert any(note.startswith(said) for note in found["notes"])
    assert [row["code"] for row in found["findings"]] == ["cohort-unfit"]
