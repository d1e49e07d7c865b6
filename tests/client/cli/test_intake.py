"""``oncofed-site data init`` as a data manager types it, and the command that it prints next."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from client.cli.main import app
from common.data.manifest import read_manifest
from tests.common.data.intake.folders import csv, film, picture, pictures
from tests.common.data.layouts_screening import rsna, rsna_row

WOMEN = 60


def run(*words: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["data", *map(str, words)])
    return done.exit_code, done.stdout, " ".join(done.stderr.split())


def cohort(folder: Path) -> Path:
    """Two views of each of 60 women in folders of classes and women."""
    classes = ("benign", "malignant")
    return pictures(folder, [f"{classes[n % 2]}/P{n:03d}/{view}.png" for n in range(WOMEN) for view in ("LCC", "RCC")])


def printed_command(stderr: str) -> list[str]:
    return shlex.split(stderr.rpartition("Then: oncofed-site ")[2])


@pytest.mark.parametrize("name", ["plain", "with space", "Müller (1)", "q'uote\"s", "乳腺", "${HOME}", "#1", "a=b,c"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_chain_works_as_printed(tmp_path: Path, name: str, elsewhere: bool) -> None:
    folder = cohort(tmp_path / name)
    out = ["--out", tmp_path / "new list.csv"] if elsewhere else []
    code, _, said = run("init", folder, *out)
    assert code == 0, said
    done = CliRunner().invoke(app, printed_command(said))
    assert done.exit_code == 0 and "Ready" in done.stderr, done.stderr


def test_nothing_is_written_while_something_is_in_doubt(tmp_path: Path) -> None:
    pictures(tmp_path, [f"{word}/p{n}_1.png" for n in range(20) for word in ("malignant", "non-malignant")])
    code, out, said = run("init", tmp_path, "--json")
    assert code == 4 and not (tmp_path / "manifest.csv").exists()
    document = json.loads(out)["data"]
    assert document["written"] is None and sum(document["left_out"].values()) == 20
    assert {row["code"] for row in document["findings"]} >= {"class-missing", "label-open"}
    assert "non-malignant (20)" in said and "--benign" in said
    code, out, _ = run("init", tmp_path, "--malignant", "malignant", "--benign", "non-malignant", "--json")
    assert code == 0 and json.loads(out)["data"]["images"] == 40


def test_a_row_a_breast_is_joined_and_written(tmp_path: Path) -> None:
    rows = []
    for n in range(8):
        for side in "LR":
            film(tmp_path / "x" / f"D{n}" / f"{side}.dcm", PatientID=f"D1-{n:03d}", ImageLaterality=side)
            rows.append((f"D1-{n:03d}", side, "Malignant" if n % 2 and side == "R" else "Benign"))
    table = csv(tmp_path / "t.csv", ("ID1", "LeftRight", "classification"), rows)
    code, _, said = run("init", tmp_path / "x", "--labels", table)
    assert code == 0, said
    records = read_manifest(tmp_path / "x" / "manifest.csv").records
    assert {r.image for r in records if r.label} == {f"D{n}/R.dcm" for n in (1, 3, 5, 7)}
    assert {r.patient for r in records if not r.label} == {f"D1-{n:03d}" for n in (0, 2, 4, 6)}
    assert "left out: 4 images, benign, of a patient who has malignant ones" in said


def test_the_worst_lesion_of_an_image_is_its_label(tmp_path: Path) -> None:
    pictures(tmp_path / "x", [f"I{n}.png" for n in range(8)])
    rows = [(f"I{n}.png", n, label) for n in range(8) for label in (("malignant", "benign") if n % 2 else ("benign",))]
    for order in (rows, rows[::-1]):
        table = csv(tmp_path / "t.csv", ("image", "patient", "pathology"), order)
        run("init", tmp_path / "x", "--labels", table, "--out", tmp_path / "m.csv")
        assert [r.label for r in read_manifest(tmp_path / "m.csv", tmp_path / "x").records] == [0, 1] * 4
        (tmp_path / "m.csv").unlink()


def test_the_published_split_is_kept_when_asked(tmp_path: Path) -> None:
    for part, numbers in (("train", range(30)), ("test", range(100, 108))):
        for word in ("benign", "malignant"):
            pictures(tmp_path / part / word, [f"{word} ({n}){end}.png" for n in numbers for end in ("", "_hflip")])
    code, _, said = run("init", tmp_path, "--keep-split", "--out", tmp_path / "m.csv")
    assert code == 0, said
    records = read_manifest(tmp_path / "m.csv").records
    assert all(("test" in r.image.split("/")) == (r.split == "test") for r in records)
    assert {r.split for r in records} == {"train", "val", "test"}
    assert len({r.patient for r in records}) * 2 == len(records)
    code, _, said = run("init", tmp_path, "--out", tmp_path / "n.csv")
    assert "--keep-split" in said and {r.split for r in read_manifest(tmp_path / "n.csv").records} == {""}


def test_a_patient_in_two_folders_of_a_split_stops_it(tmp_path: Path) -> None:
    for part, view in (("train", "LCC"), ("test", "RCC")):
        pictures(tmp_path / part, [f"{('benign', 'malignant')[n % 2]}/P{n}/{view}.png" for n in range(8)])
    code, _, said = run("init", tmp_path, "--keep-split")
    assert code == 4 and "several folders of the published split" in said


def test_links_are_followed_and_what_is_listed_twice_is_said(tmp_path: Path) -> None:
    cohort(tmp_path / "archive")
    study = tmp_path / "study"
    study.mkdir()
    for word in ("benign", "malignant"):
        os.symlink(f"../archive/{word}", study / word)
    os.symlink("../archive/benign", study / "zagain")
    picture(study / "benign" / "._P000.png")
    code, _, said = run("init", study, "--out", tmp_path / "m.csv")
    assert code == 4 and "links that put one folder under two labels" in said
    (study / "zagain").unlink()
    code, _, said = run("init", study, "--out", tmp_path / "m.csv")
    assert code == 0 and len(read_manifest(tmp_path / "m.csv", study).records) == 2 * WOMEN


def test_places_that_cannot_be_written_are_said_before_the_work(tmp_path: Path) -> None:
    cohort(tmp_path / "x")
    code, _, said = run("init", tmp_path / "x", "--out", tmp_path / "no" / "m.csv")
    assert code == 2 and "There is no folder" in said and "--out" in said and "understood" not in said
    for word, option in (("no/m.csv", "--fix"), ("no/masks", "--masks")):
        code, _, said = run("check", "--root", tmp_path / "m.csv", option, tmp_path / word)
        assert code == 2 and option in said


def test_a_read_only_folder_is_no_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cohort(tmp_path / "x")
    real = os.access  # the tests may run as root, who may write everywhere
    monkeypatch.setattr(
        os, "access", lambda path, mode, **more: not (mode & os.W_OK and Path(path) == folder) and real(path, mode)
    )
    code, _, said = run("init", folder)
    assert code == 2 and "cannot be written into" in said and "--out" in said
    assert run("init", folder, "--out", tmp_path / "m.csv")[0] == 0


def test_findings_are_shown_though_nothing_can_be_opened(tmp_path: Path) -> None:
    pictures(tmp_path / "images", [f"{n}.png" for n in range(20)])
    table = csv(tmp_path / "m.csv", ("image", "patient", "label"), [(f"{n}.png", f"W{n}", n % 2) for n in range(20)])
    code, out, said = run("check", "--root", table, "--json")
    assert code == 4 and "of 20 lines whose image" in said and "0.png" in said and "--images" in said
    found = json.loads(out)["data"]
    assert not found["ready"] and [row["code"] for row in found["findings"]] == ["file-missing", "cohort-unfit"]
    code, _, said = run("check", "--root", tmp_path / "none", "--home", tmp_path)
    assert code == 3
    code, _, said = run("check", "--home", tmp_path)
    assert code == 3 and "--root" in said


def test_what_a_reader_left_out_is_in_json_as_in_the_text(real_data: Path) -> None:
    _, out, said = run("check", "--data", "busi", "--root", real_data / "busi" / "Dataset_BUSI_with_GT", "--json")
    notes = json.loads(out)["data"]["notes"]
    assert any("15 images in 6 look-alike groups" in note for note in notes) and all(note in said for note in notes)


def test_a_table_and_a_folder_that_contradict_each_other_write_nothing(tmp_path: Path) -> None:
    names = [f"{('benign', 'malignant')[n % 2]}/{n}.png" for n in range(12)]
    pictures(tmp_path / "x", names)
    rows = [(name, f"W{n}", "malignant" if n in (0, 1, 3, 5) else "benign", 50) for n, name in enumerate(names)]
    table = csv(tmp_path / "t.csv", ("image", "patient", "pathology", "age"), rows)
    code, out, said = run("init", tmp_path / "x", "--labels", table, "--json")
    assert code == 0 and "not taken over: columns age" in said
    assert list(json.loads(out)["data"]["left_out"].values()) == [4]  # 0 is malignant in the table, 7, 9 and 11 benign
    assert {r.image for r in read_manifest(tmp_path / "x" / "manifest.csv").records}.isdisjoint(
        names[k] for k in (0, 7, 9, 11)
    )


def test_a_mask_of_another_size_is_not_written(tmp_path: Path) -> None:
    cohort(tmp_path / "x")
    for end, shape in (("", (6, 7)), ("_1", (12, 14))):
        pixels = np.zeros(shape, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "x" / "benign" / "P000" / f"LCC_mask{end}.png")
    code, _, said = run("init", tmp_path / "x", "--out", tmp_path / "m.csv")
    assert code == 0 and "masks of another size than their image (1)" in said
    masks = {r.image: r.mask for r in read_manifest(tmp_path / "m.csv", tmp_path / "x").records if r.mask}
    assert masks == {"benign/P000/LCC.png": "benign/P000/LCC_mask.png"}


def test_a_mended_manifest_is_checked_by_the_command_that_is_printed(tmp_path: Path) -> None:
    folder = cohort(tmp_path / "x y")
    run("init", folder)
    (folder / "benign" / "P000" / "LCC.png").write_bytes(b"cut")
    code, _, said = run("check", "--root", folder, "--fix", tmp_path / "clean.csv")
    assert code == 4
    done = CliRunner().invoke(app, shlex.split(said.partition("Then: oncofed-site ")[2].partition(" manifest:")[0]))
    assert done.exit_code == 0, done.stderr


def test_a_published_table_leads_to_its_reader_and_the_command_works_as_printed(tmp_path: Path) -> None:
    women = [rsna_row(str(100 + n), str(n), "L", n % 2, 1) for n in range(60)]
    root = rsna(tmp_path / "a set", women, "train_images/{patient}/{image}.png")
    _, out, said = run("init", root, "--labels", root / "train.csv", "--json")
    (note,) = json.loads(out)["data"]["notes"]
    assert f"note: {note}" in said and "train.csv has the columns of rsna" in note
    words = shlex.split(note.partition("rules: ")[2])
    code, _, said = run(*words[2:])
    assert code in (0, 4) and "RSNA: 60 records of 60 patients" in said
    table = csv(tmp_path / "mine.csv", ("image", "patient", "label"), [("1.png", "W1", 1)])
    assert "has the columns of" not in run("init", root, "--labels", table)[2]
