"""A hospital finds a public checkpoint by its digest in its own folder, and keeps none that knows its patients."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from client.cli.main import app
from client.site.checkpoint import KeptCheckpoints, at_home
from client.site.site_file import SiteHome
from common.config.study import compose, from_dict
from common.errors import DataError, ModelError
from common.models.checkpoints import Checkpoint
from common.training.study_model import study_model
from tests.simulations.data.test_public_overlap import _checkpoint, _dataset, _pictures, _study

STRANGERS = _dataset(_pictures(5))


@pytest.fixture
def made(tmp_path: Path) -> Checkpoint:
    return _checkpoint(tmp_path / "made")


@pytest.fixture
def kept(tmp_path: Path) -> KeptCheckpoints:
    return KeptCheckpoints(tmp_path / "home" / "checkpoints")


def test_the_hubs_path_does_not_travel_and_the_site_finds_its_own_folder(
    made: Checkpoint, kept: KeptCheckpoints
) -> None:
    study = _study(made, "manifest")
    came = from_dict(study.travelling())
    assert str(made.folder) not in str(study.travelling()) and came.digest() == study.digest()
    moved = dataclasses.replace(study, model=dataclasses.replace(study.model, weights="/elsewhere"))
    assert moved.digest() == study.digest()
    kept.add(made.folder, STRANGERS)
    model = study_model(at_home(came, kept.folder), (1, 32, 32))
    wanted = load_file(made.folder / "weights.safetensors")
    assert all(tensor.equal(wanted[name]) for name, tensor in model.state_dict().items())


def test_a_checkpoint_that_the_hospital_does_not_keep_is_asked_for_by_its_digest(
    made: Checkpoint, kept: KeptCheckpoints
) -> None:
    came = from_dict(_study(made, "manifest").travelling())
    with pytest.raises(ModelError, match=f"no checkpoint {made.digest}.*oncofed-site checkpoint add FOLDER"):
        at_home(came, kept.folder)


def test_a_study_without_a_checkpoint_stays_as_it_is(kept: KeptCheckpoints) -> None:
    study = compose([])
    assert at_home(study, kept.folder) is study


def test_one_made_from_the_hospitals_images_is_refused_and_not_kept(made: Checkpoint, kept: KeptCheckpoints) -> None:
    with pytest.raises(DataError, match="12 images of this hospital look like"):
        kept.add(made.folder, _dataset(_pictures(0)))
    assert kept.all() == []


def test_a_damaged_one_is_refused_when_added_and_when_used(made: Checkpoint, kept: KeptCheckpoints) -> None:
    kept.add(made.folder, STRANGERS)
    (kept.folder(made.digest) / "weights.safetensors").write_bytes(b"other weights")
    came = at_home(from_dict(_study(made, "manifest").travelling()), kept.folder)
    with pytest.raises(ModelError, match="not the file that the card names"):
        study_model(came, (1, 32, 32))
    (made.folder / "card.json").write_text("{}")
    with pytest.raises(ModelError):
        kept.add(made.folder, STRANGERS)


def test_adding_it_again_mends_a_damaged_copy(made: Checkpoint, kept: KeptCheckpoints) -> None:
    kept.add(made.folder, STRANGERS)
    for damage in (lambda file: file.write_bytes(b"other"), Path.unlink):
        damage(kept.folder(made.digest) / "weights.safetensors")
        assert kept.add(made.folder, STRANGERS) == made.digest
    assert [one.digest for one in kept.all()] == [made.digest]


@pytest.mark.parametrize("source", ["missing", "a file", "an empty folder", "a folder as card"])
def test_what_is_no_checkpoint_is_refused_in_words(kept: KeptCheckpoints, tmp_path: Path, source: str) -> None:
    given = tmp_path / source
    if source == "a file":
        given.write_text("weights")
    elif source != "missing":
        (given / "card.json" if source == "a folder as card" else given).mkdir(parents=True)
    with pytest.raises(ModelError, match=source):
        kept.add(given, STRANGERS)
    assert kept.all() == [] and not kept.path.exists()


def test_a_hospital_without_checkpoints_is_told_so(joined: SiteHome) -> None:
    listed = CliRunner().invoke(app, ["checkpoint", "list", "--home", str(joined.path)])
    assert listed.exit_code == 0 and "keeps no checkpoint" in listed.stderr and not listed.stdout


def test_a_file_of_weights_is_kept_by_its_hash(made: Checkpoint, kept: KeptCheckpoints) -> None:
    file = made.folder / "weights.safetensors"
    digest = kept.add(file, STRANGERS)
    assert kept.folder(digest).read_bytes() == file.read_bytes() and kept.all() == []
    assert [one.name for one in kept.path.iterdir()] == [digest] and kept.add(file, STRANGERS) == digest


def test_the_command_keeps_it_and_prints_its_digest(made: Checkpoint, joined: SiteHome, tmp_path: Path) -> None:
    from PIL import Image

    for number in range(4):
        Image.fromarray((_pictures(7)[number] * 255).astype("uint8")).save(tmp_path / f"{number}.png")
    rows = "".join(f"{number}.png,p{number},{number % 2}\n" for number in range(4))
    (tmp_path / "manifest.csv").write_text("image,patient,label\n" + rows)
    settings = yaml.safe_load(joined.site_file.read_text())
    settings["data"]["root"] = str(tmp_path / "manifest.csv")
    joined.site_file.write_text(yaml.safe_dump(settings))
    done = CliRunner().invoke(app, ["checkpoint", "add", str(made.folder), "--home", str(joined.path)])
    assert (done.exit_code, done.stdout.strip()) == (0, made.digest), done.output
    listed = CliRunner().invoke(app, ["checkpoint", "list", "--home", str(joined.path)])
    assert made.digest in listed.stdout and "BUSI (12 patients)" in listed.stdout
