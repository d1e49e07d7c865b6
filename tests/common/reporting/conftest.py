"""A run folder as a real run leaves it, with every figure computed from drawn scores; tests then damage it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.evaluation.across_sites import comparisons, do_no_harm
from common.evaluation.answers import OwnModels
from common.evaluation.comparison import paired_difference
from common.evaluation.scores import ScoreState
from common.evaluation.summary import summarise
from common.evaluation.within_sites import within_sites

SITES = {"site_1": (150, 1.7, 1.0), "site_2": (90, 1.5, 1.4), "site_3": (60, 1.4, 1.6), "site_4": (24, 1.6, 0.8)}
"""Test patients, and how far the federated and the local model shift malignant log-odds."""
ROUNDS = 8


def write_run(folder: Path, *, name: str = "bus-bra by scanner", private: bool = True, synthetic: bool = False) -> Path:
    """Writes a COMPLETED run of four sites; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    write(folder, "run.json", run_document(name, private, synthetic))
    write(folder, "evaluation.json", evaluation_document(rng))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in round_rows(rng, private)))
    (folder / "overrides.yaml").write_text("- data=bus_bra\n- data.root=/data/secret place\n- privacy.epsilon=8\n")
    (folder / "study.yaml").write_text(
        "strategy: {name: fedavg, quorum: 2}\n"
        "training: {optimizer: sgd, lr: 0.1, batch_patients: 32}\n"
        "evaluation: {min_cell: 5}\n"
    )
    for site in SITES if private else ():
        write(folder, f"privacy/{site}.json", statement(site))
    return folder


def write(folder: Path, name: str, document: Any) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(document))


def run_document(name: str, private: bool, synthetic: bool) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "status": "COMPLETED",
        "reason": "",
        "name": name,
        "run_id": "8c1f5d2e9a7b4031",
        "started": "2026-11-02T09:14:05+00:00",
        "finished": "2026-11-02T09:31:47+00:00",
        "study_digest": "5b0f" * 16,
        "engine": "flower",
        "private": private,
        "synthetic": synthetic,
        "dataset": {
            "name": "phantom" if synthetic else "bus_bra",
            "citation": "Gomez-Flores W. et al., BUS-BRA: a breast ultrasound dataset, Medical Physics 51 (2024)",
            "licence": "CC BY 4.0",
            "notes": ["One institution; the sites are its scanners, which is not a multi-centre validation."],
        },
        "rounds_planned": ROUNDS,
        "rounds_done": ROUNDS,
        "best_round": 7,
        "sites": [site_document(site) for site in SITES],
        "model": {"name": "small_cnn", "part": "all", "parameters": 98_641, "trainable": 98_641},
        "versions": {"oncofed": "0.1.0", "torch": "2.14.1", "flwr": "1.41.0"},
        "seeds": {"seed": 0, "noise": "seeded"},
        "code_digest": "91ab" * 16,
        "not_covered": ["score histograms of validation and test patients", "the choice of the best round"],
    }


def site_document(site: str) -> dict[str, Any]:
    test = SITES[site][0]
    counts = {
        split: {"patients": n, "malignant": n // 3 if n // 3 >= 5 else None, "benign": n - n // 3}
        for split, n in (("train", 4 * test), ("val", test // 2), ("test", test))
    }
    return {
        "name": site,
        "declared_patients": 4 * test,
        "status": "ok",
        "code": "",
        "rounds": ROUNDS,
        "counts": counts,
    }


def evaluation_document(rng: np.random.Generator) -> dict[str, Any]:
    states = {}
    for column, model in ((1, "federated"), (2, "local")):
        states[model] = {site: draw(rng, facts[0], facts[column]) for site, facts in SITES.items()}
    return {
        "schema_version": 1,
        "level": "patient",
        "threshold": 0.5,
        "confidence": 0.95,
        "round": 7,
        "models": {model: block(sites) for model, sites in states.items()},
        **compared(rng),
    }


def compared(rng: np.random.Generator) -> dict[str, Any]:
    """What the sites say of their own models, from scores that are drawn for it."""
    answers = {}
    for site, (patients, federated, local) in SITES.items():
        labels = (np.arange(patients) % 3 == 0).astype(np.int64)
        scores = [1 / (1 + np.exp(-rng.normal(labels * shift, 1.0))) for shift in (federated, local)]
        difference = paired_difference(*scores, labels, confidence=0.95, resamples=0, seed=0)
        answers[site] = OwnModels({}, {"federated_minus_local": difference})
    return {
        "margin": 0.05,
        "comparisons": comparisons(answers, margin=0.05, confidence=0.95),
        "do_no_harm": do_no_harm(answers, margin=0.05),
    }


def block(sites: dict[str, ScoreState]) -> dict[str, Any]:
    pooled = sum(sites.values(), ScoreState.empty())
    measure = {"threshold": 0.5}
    return {
        "pooled": summarise(pooled, **measure),
        "within_sites": within_sites(sites, 0.95),
        "sites": {site: summarise(state, **measure) for site, state in sites.items()},
    }


def draw(rng: np.random.Generator, patients: int, shift: float) -> ScoreState:
    labels = (np.arange(patients) % 3 == 0).astype(np.int64)
    logits = rng.normal(labels * shift - 0.6 * shift, 1.0)
    return ScoreState.of(1 / (1 + np.exp(-logits)), labels)


def round_rows(rng: np.random.Generator, private: bool) -> list[dict[str, Any]]:
    rows = []
    for index in range(1, ROUNDS + 1):
        level = 0.87 - 0.3 * np.exp(-index / 2.5)
        sites = {site: {"auroc": round(float(level + rng.normal(0, 0.02)), 4)} for site in SITES}
        rows.append(
            {
                "round": index,
                "val": {"pooled": {"auroc": round(float(level), 4)}, "sites": sites},
                "failures": [],
                "joined": list(SITES),
                "update_norm": 1.25,
                "epsilon": {site: round(8 * (index / ROUNDS) ** 0.5, 4) for site in SITES} if private else {},
                "seconds": 61.0,
            }
        )
    return rows


def statement(site: str) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "site": site,
        "epsilon": 8.0,
        "delta": 1e-5,
        "ceiling": 10.0,
        "unit": "patient",
        "neighbouring_relation": "add or remove one patient",
        "accountant": "prv",
    }


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that writes a run folder and applies changes to ``run.json``."""

    def make(changes: dict[str, Any] | None = None, **kwargs: Any) -> Path:
        folder = write_run(tmp_path / "run", **kwargs)
        document = json.loads((folder / "run.json").read_text())
        write(folder, "run.json", document | (changes or {}))
        return folder

    return make
