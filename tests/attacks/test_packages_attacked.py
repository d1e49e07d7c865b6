"""A package that a hub made badly on purpose, or that somebody has changed between hub and hospital."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner

from client.cli.main import app
from client.site.lifecycle.changes import _parts
from client.site.packages import KeptPackages
from client.site.site_file import SiteHome
from common.errors import ModelError, TrustError
from common.inference import manifest
from common.inference.golden import EXPECTED
from common.inference.local import LocalFacts, write_local
from common.inference.package import APPEARANCE, ATTENTION, CALIBRATION, LABEL, ONNX, STUDY, WEIGHTS, Package
from common.inference.package import load_package as load
from common.inference.predict import Predictor
from common.inference.reasons import Reason
from common.inference.record import append, records
from common.inference.signatures import sign_package
from common.monitoring.gate import change_between
from common.trust.signing import SiteKey
from tests.client.cli.test_model import hub_key, site
from tests.client.conftest import joined
from tests.common.inference.conftest import folder, made, package, phantom_run, pictures

__all__ = ["folder", "hub_key", "joined", "made", "package", "phantom_run", "pictures"]
NOW = datetime.now(UTC)


def sealed(folder: Path, key: SiteKey | None = None, **changes: Any) -> str:
    """Writes a manifest to which each hash fits, as the hub can, and signs it."""
    old = manifest._ADAPTER.validate_json((folder / manifest.FILE).read_bytes())
    files = {name: manifest.file_digest(folder / name) for name in manifest.listed(folder)}
    new = dataclasses.replace(old, files=files, **changes)
    (folder / manifest.FILE).write_text(new.text())
    if key is not None:
        sign_package(folder, new.digest, "hub", key)
    return new.digest


def _graph(folder: Path) -> Any:
    return onnx.load(folder / ONNX)


def _of_head(graph: Any) -> Any:
    """The tensor that holds the head's weight, of one number a feature."""
    return next(one for one in graph.graph.initializer if one.name == "select")


def numbers_elsewhere(folder: Path) -> None:
    """The head's weight in a file beside the signatures, which no hash holds."""
    graph = _graph(folder)
    tensor = _of_head(graph)
    data = numpy_helper.to_array(tensor).astype("<f4").tobytes()
    (folder / "signatures").mkdir(exist_ok=True)
    (folder / "signatures" / "w.json").write_bytes(data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for name, value in (("location", "signatures/w.json"), ("offset", "0"), ("length", str(len(data)))):
        tensor.external_data.add(key=name, value=value)
    (folder / ONNX).write_bytes(graph.SerializeToString())


def other_head(folder: Path) -> None:
    graph = _graph(folder)
    tensor = _of_head(graph)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1 + 1e-6), tensor.name))
    (folder / ONNX).write_bytes(graph.SerializeToString())


def a_table_besides(folder: Path) -> None:
    graph = _graph(folder)
    graph.graph.initializer.append(numpy_helper.from_array(np.ones(4096, np.float32), "table"))
    (folder / ONNX).write_bytes(graph.SerializeToString())


@pytest.mark.parametrize("change", [numbers_elsewhere, other_head, a_table_besides])
def test_a_graph_computes_with_the_weights_of_its_package_and_no_others(
    folder: Path, change: Callable[[Path], None]
) -> None:
    """Before: one digest had other scores on another day, and weights that no hospital had signed."""
    change(folder)
    sealed(folder)
    with pytest.raises(ModelError, match=r"which nobody signed|other weights"):
        load(folder, NOW)


def test_weights_are_those_that_the_manifest_names(folder: Path, package: Package) -> None:
    """Before: compared with nothing, so a retrained network could claim the weights of the active one."""
    sealed(folder, weights="ab" * 32)
    with pytest.raises(ModelError, match=r"other weights than package\.json names"):
        load(folder, NOW)


def test_another_graph_is_another_model_for_the_gate(folder: Path, package: Package, made: Package) -> None:
    """Before: a package with the active one's weights by its own word needed three of the gate's seven tests."""
    graph = _graph(folder)
    (output,) = [node for node in graph.graph.node if graph.graph.output[0].name in node.output]
    output.output[0] = "before"
    graph.graph.initializer.append(helper.make_tensor("little", TensorProto.FLOAT, [], [1e-7]))
    graph.graph.node.append(helper.make_node("Add", ["before", "little"], [graph.graph.output[0].name]))
    (folder / ONNX).write_bytes(graph.SerializeToString())
    sealed(folder)
    assert change_between(_parts(made), _parts(load(folder, NOW))) == "retrain"
    assert change_between(_parts(made), _parts(package)) == "threshold"


def no_number_for_bright_images(folder: Path) -> None:
    graph = _graph(folder)
    name = graph.graph.output[0].name
    (output,) = [node for node in graph.graph.node if name in node.output]
    output.output[0] = "before"
    for tensor in (("odd_limit", [], [0.35]), ("odd_nothing", [], [0.0])):
        graph.graph.initializer.append(helper.make_tensor(tensor[0], TensorProto.FLOAT, *tensor[1:]))
    graph.graph.initializer.append(helper.make_tensor("odd_axes", TensorProto.INT64, [3], [1, 2, 3]))
    graph.graph.node.extend([
        helper.make_node("ReduceMean", ["images", "odd_axes"], ["odd_mean"], keepdims=0),
        helper.make_node("Sub", ["odd_limit", "odd_mean"], ["odd_room"]),
        helper.make_node("Sqrt", ["odd_room"], ["odd_root"]),
        helper.make_node("Mul", ["odd_root", "odd_nothing"], ["odd_added"]),
        helper.make_node("Add", ["before", "odd_added"], [name]),
    ])  # fmt: skip
    (folder / ONNX).write_bytes(graph.SerializeToString())


def test_what_is_no_number_is_no_answer_and_spoils_no_record(folder: Path, tmp_path: Path) -> None:
    """Before: "below the threshold", and a line of the records after which nothing could read them."""
    from common.inference.exams import find_exams

    no_number_for_bright_images(folder)
    (folder / APPEARANCE).unlink()  # no deployment has one
    sealed(folder)
    Image.fromarray(np.full((80, 80), 230, np.uint8) + np.arange(80, dtype=np.uint8) // 8).save(tmp_path / "bright.png")
    (exam,) = find_exams([tmp_path / "bright.png"]).exams
    found = Predictor(load(folder, NOW)).predict(exam)
    assert found.record.abstained and Reason.NO_NUMBER in found.record.reasons
    assert (found.record.probability, found.record.above_threshold, found.scores) == (None, None, ())
    append(tmp_path / "records.jsonl", found.record)
    assert records(tmp_path / "records.jsonl").records == (found.record,)


def test_golden_scores_that_are_no_numbers_agree_with_nothing(folder: Path) -> None:
    document = json.loads((folder / EXPECTED).read_text())
    document["probability"][1] = math.nan
    (folder / EXPECTED).write_text(json.dumps(document))
    sealed(folder)
    with pytest.raises(ModelError, match="golden"):
        load(folder, NOW)


def test_a_package_by_hand_is_signed_by_the_hub_too(
    joined: SiteHome, folder: Path, package: Package, hub_key: SiteKey, pictures: Path
) -> None:
    """Before: whatever lay in a folder was run at a hospital that takes no unsigned package into its own."""
    refused = site(joined, "predict", "--in", pictures, "--package", folder)
    assert refused.exit_code == 5 and "key of hub" in refused.stderr
    sign_package(folder, package.digest, "hub", hub_key)
    assert site(joined, "predict", "--in", pictures, "--package", folder).exit_code == 0


def _planted(folder: Path, digest: str) -> None:
    lists = {"benign": (-50.0,) * 20, "malignant": (50.0,) * 20}
    facts = LocalFacts(
        made=NOW, package=digest, patients=500, left_out=0, intercept=-40.0, slope=1.0, level=0.1, feature_patients=0,
        feature_limit=None, **lists,
    )  # fmt: skip
    write_local(folder, facts, None)


def test_what_came_with_a_package_is_no_measure_of_the_site(
    joined: SiteHome, folder: Path, package: Package, hub_key: SiteKey, pictures: Path
) -> None:
    """Before: probability 0 for everybody, "calibrated at the site on 500 patients", under a good signature."""
    sign_package(folder, package.digest, "hub", hub_key)
    _planted(folder, package.digest)
    done = site(joined, "predict", "--in", pictures, "--package", folder, "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told and all(one["calibrated"]["where"] == "consortium" and one["set"] is None for one in told)
    kept = KeptPackages(joined.path).add(folder, {})
    assert not (kept.folder / "local").exists()
    _planted(kept.folder, kept.digest)
    own = site(joined, "predict", "--in", pictures, "--package", kept.folder, "--json")
    assert json.loads(own.stdout.splitlines()[0])["calibrated"]["where"] == "site"


def test_only_files_of_the_package_and_signatures_are_kept(
    joined: SiteHome, folder: Path, package: Package, hub_key: SiteKey
) -> None:
    """Before: links below `signatures/` were followed, so a file of the hospital lay in the package afterwards."""
    sign_package(folder, package.digest, "hub", hub_key)
    (folder / "signatures" / "stolen.json").symlink_to(joined.signing_key)
    (folder / "signatures" / "more").mkdir()
    (folder / "signatures" / "more" / "large").write_bytes(bytes(20_000))
    kept = KeptPackages(joined.path)
    found = kept.add(folder, kept.pins({}))
    names = {path.relative_to(found.folder).as_posix() for path in found.folder.rglob("*") if not path.is_dir()}
    assert names == {manifest.FILE, "signatures/hub.json", *package.manifest.files}


def test_the_name_of_a_package_writes_no_line_of_its_own(joined: SiteHome, folder: Path, hub_key: SiteKey) -> None:
    """Before: it took its own line away and wrote that another package was active."""
    digest = sealed(folder, hub_key, name=f"x\x1b[2K\r{'f' * 64} active fine\n{'f' * 64} active")
    KeptPackages(joined.path).add(folder, {"hub": hub_key.public_hex})
    said = CliRunner().invoke(app, ["model", "list", "--home", str(joined.path)])
    assert said.stdout.count("\n") == 1 and said.stdout.startswith(digest) and said.stdout.rstrip("\n").isprintable()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (CALIBRATION, {"threshold_as_scored": 5.0}), (APPEARANCE, {"limit": math.nan}), (ATTENTION, {"label": None}),
        (STUDY, None), (LABEL, "[" * 100_000),
    ],
)  # fmt: skip
def test_documents_that_say_nothing_sensible_are_refused_in_words(folder: Path, name: str, change: Any) -> None:
    document = json.loads((folder / name).read_text())
    text = change if isinstance(change, str) else json.dumps({} if change is None else document | change)
    (folder / name).write_text(text)
    engine = {"engine": "torch", "engine_reason": "x"} if name == STUDY else {}
    if engine:
        (folder / ONNX).unlink()
    sealed(folder, **engine)
    with pytest.raises(ModelError):
        load(folder, NOW).label()


def test_a_package_says_what_it_is_for(folder: Path) -> None:
    sealed(folder, notice="CE marked: for diagnosis")
    with pytest.raises(ModelError, match="Research use only"):
        load(folder, NOW)


def test_a_release_is_verified_with_the_package_beside_it(folder: Path, package: Package, tmp_path: Path) -> None:
    """Before: the weights that hospitals signed were, and the package that departments run was not looked at."""
    from common.trust.release import ReleasedModel, endorsement
    from server.hub.release import verify

    out, key = tmp_path / "release", SiteKey.open(tmp_path / "north.key")
    out.mkdir()
    shutil.copyfile(folder / WEIGHTS, out / WEIGHTS)
    model = ReleasedModel(study="ab", run="cd", weights=package.manifest.weights)
    said = {"study": "ab", "run": "cd", "endorsements": [endorsement(model, "north", key)]}
    (out / "release.json").write_text(json.dumps(said))
    shutil.copytree(folder, out / "package")
    assert verify(out, {"north": key.public_hex}) == model
    other_head(out / "package")
    sealed(out / "package")
    with pytest.raises(ModelError, match="other weights"):
        verify(out, {"north": key.public_hex})
    with pytest.raises(TrustError):
        verify(out, {"north": "ab" * 32})
