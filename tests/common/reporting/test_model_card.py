"""The card shows the run's own values, claims nothing that was not measured, and is plain Markdown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from common.reporting.model_card import model_card, write_model_card
from common.runs.run_files import read_run

MakeRun = Callable[..., Path]


def card_of(folder: Path) -> tuple[dict[str, Any], str]:
    page = write_model_card(folder)
    assert page is not None
    return json.loads((folder / "model_card.json").read_text()), page.read_text()


def test_its_figures_are_those_of_the_evaluation(make_run: MakeRun) -> None:
    folder = make_run()
    card, text = card_of(folder)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    pooled = evaluation["models"]["federated"]["pooled"]
    for metric in ("auroc", "sensitivity", "brier"):
        assert card["evaluation"]["groups"]["pooled"][metric]["value"] == pooled[metric]["value"]
    auroc = pooled["auroc"]
    assert f"{auroc['value']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f})" in text
    assert card["evaluation"]["federated_less_local"] == evaluation["comparisons"]["federated_minus_local"]


def test_it_names_the_weights_that_it_is_about(make_run: MakeRun) -> None:
    folder = make_run()
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    card, text = card_of(folder)
    assert card["model"]["sha256"] == hashlib.sha256(b"weights").hexdigest() and card["model"]["sha256"] in text


def test_it_tells_no_path_of_the_machine_that_ran(make_run: MakeRun) -> None:
    folder = make_run()
    study = folder / "study.yaml"
    document = yaml.safe_load(study.read_text()) if study.exists() else {}
    for model, told in (
        ({"weights": "/secret/place/model.safetensors"}, "model.safetensors"),
        ({"weights": "/secret/place", "checkpoint": "ab" * 32}, f"public checkpoint {'ab' * 32}"),
        ({"weights": "package"}, "package"),
    ):
        study.write_text(yaml.safe_dump({**document, "model": {**document.get("model", {}), **model}}))
        card, text = card_of(folder)
        assert card["model"]["weights_before_training"] == told and "secret" not in text + json.dumps(card)


def test_it_says_what_kind_of_run_this_was(make_run: MakeRun) -> None:
    _, private = card_of(make_run())
    assert "Research use only" in private and "Not private" not in private and "epsilon 8" in private
    assert "Synthetic" not in private and "CC BY 4.0" in private
    _, other = card_of(make_run(private=False, synthetic=True))
    assert "**Not private:**" in other and "**Synthetic data:**" in other


def test_small_counts_stay_suppressed(make_run: MakeRun) -> None:
    card, text = card_of(make_run())
    assert card["data"]["sites"]["site_4"]["val"]["malignant"] is None
    assert "| site\\_4 | val | 12 | not told | 8 |" in text


def test_a_run_without_a_test_has_no_card(make_run: MakeRun) -> None:
    folder = make_run()
    (folder / "evaluation.json").unlink()
    assert write_model_card(folder) is None
    assert not (folder / "model_card.json").exists()


def test_what_a_site_calls_itself_is_no_markup(make_run: MakeRun) -> None:
    folder = make_run()
    document = json.loads((folder / "run.json").read_text())
    document["name"] = "a | b\n# <script> [x](y)"
    (folder / "run.json").write_text(json.dumps(document))
    text = card_of(folder)[1]
    assert text.startswith("# Model card: a \\| b \\# \\<script\\> \\[x\\](y)\n")


def test_the_same_files_give_the_same_card(make_run: MakeRun) -> None:
    folder = make_run()
    assert model_card(read_run(folder)) == model_card(read_run(folder))
