"""``oncofed-sim data``: the counts of the deal itself, on the right stream, with figures that open."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from common.config.study import compose
from common.errors import ConfigError, DataError, UsageError
from simulations.cli.data import app
from simulations.data.data_plots import examples
from simulations.data.data_summary import summarise_sites
from simulations.data.partition import describe
from simulations.data.sources import open_any, open_sites

SMALL = ["data.patients=60", "partition.min_patients=5"]


def invoke(*arguments: str) -> tuple[str, str]:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


def test_json_holds_the_counts_of_the_deal() -> None:
    out, err = invoke("show", *SMALL, "partition=dirichlet", "partition.alpha=0.4", "--json")
    assert err == ""
    document = json.loads(out)
    assert (document["schema_version"], document["status"]) == (1, "ok")
    study = compose([*SMALL, "partition=dirichlet", "partition.alpha=0.4"])
    sites = open_sites(study.data, study.partition, study.seed)
    data = document["data"]
    assert data["sites"] == describe(sites)
    assert data["total"]["patients"] == 60 == sum(part["patients"] for part in data["splits"].values())
    assert sum(row["images"] for row in data["sites"]) == data["total"]["images"]
    assert data["dataset"]["synthetic"] is True


def test_people_read_tables_on_standard_error() -> None:
    out, err = invoke("show", *SMALL)
    assert out == ""
    for word in ("train", "site_4", "malignant", "Synthetic images"):
        assert word in err


def test_a_real_set_shows_licence_citation_and_scanners(real_data: Path) -> None:
    root = f"data.root={real_data / 'bus-bra'}"
    _, err = invoke("show", "data=bus_bra", root, "partition=natural")
    assert "703" in err and "toshiba_aplio_300" in err
    assert "BUS-BRA licence" in err and "Medical Physics" in err


def test_a_site_without_a_class_is_pointed_out() -> None:
    study = compose(SMALL)
    sites = open_sites(study.data, study.partition, study.seed)
    part = sites["site_1"]
    poor = part.with_records(r for r in part.records if (r.split, r.label) != ("val", 1))
    summary = summarise_sites({**sites, "site_1": poor})
    assert "site_1 has no malignant val patient: it has no validation AUROC of its own" in summary["warnings"]


def test_figures_are_svg_and_show_every_site(tmp_path: Path) -> None:
    out, _ = invoke("plot", *SMALL, "--out", str(tmp_path / "new"), "--json")
    files = [Path(name) for name in json.loads(out)["data"]["files"]]
    assert [file.name for file in files] == ["examples.svg", "labels-by-site.svg"]
    for file in files:
        assert ElementTree.parse(file).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        assert all(site in file.read_text() for site in ("site_1", "site_2", "site_3", "site_4"))


def test_figures_are_the_same_each_time_and_a_table_has_no_pictures(tmp_path: Path) -> None:
    for name in ("a", "b"):
        invoke("plot", *SMALL, "--out", str(tmp_path / name))
    assert (tmp_path / "a" / "examples.svg").read_bytes() == (tmp_path / "b" / "examples.svg").read_bytes()
    invoke("plot", "data=wdbc", "--out", str(tmp_path / "table"))
    assert [file.name for file in (tmp_path / "table").iterdir()] == ["labels-by-site.svg"]


def test_examples_take_sites_in_turn_and_no_patient_twice() -> None:
    study = compose(SMALL)
    sites = open_sites(study.data, study.partition, study.seed)
    shown = examples(sites, label=1, number=8)
    assert [site for site, _ in shown] == ["site_1", "site_2", "site_3", "site_4"] * 2
    assert len({record.patient for _, record in shown}) == 8
    assert all(record.label == 1 for _, record in shown)


def test_what_the_user_got_wrong_is_one_of_our_errors(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for arguments, error in (
        (["show", "data=nowhere"], ConfigError),
        (["show", "data=bus_bra", f"data.root={tmp_path / 'absent'}"], DataError),
        (["show", *SMALL, "--out", str(tmp_path / "labels.png")], UsageError),
        (["show", *SMALL, "--out", str(tmp_path / "file" / "labels.svg")], UsageError),
    ):
        with pytest.raises(error):
            invoke(*arguments)


def test_shift_changes_pixels_but_not_the_deal() -> None:
    plain, shifted = (compose([*SMALL, f"partition.shift={strength}"]) for strength in (0, 1))
    first, second = (open_sites(study.data, study.partition, study.seed) for study in (plain, shifted))
    assert describe(first) == describe(second)
    record = first["site_1"].records[0]
    assert (first["site_1"].read(record.image) != second["site_1"].read(record.image)).any()
    assert open_any(plain.data, plain.seed).synthetic


def test_help_imports_nothing_heavy(project_root: Path) -> None:
    code = "import sys, simulations.cli.data; print([m for m in ('torch', 'numpy', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
