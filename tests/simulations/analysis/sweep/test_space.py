"""A space is read whole or refused with the fault named; grids hit their ends; dependent values stay out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config.study import compose
from common.errors import ConfigError
from simulations.analysis.sweep.settings import settings_of
from simulations.analysis.sweep.space import SPACES, as_overrides, read_space, space_of

SHIPPED = sorted(path.stem for path in SPACES.glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_space_gives_studies_that_compose(name: str) -> None:
    settings = settings_of([f"sweep={name}", "data.patients=200"])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(10):
        values = settings.space.suggest(study.ask())
        plain = {key: value for key, value in values.items() if not settings.space.space[key].unit}
        composed = settings.study(as_overrides(plain))
        assert not composed.evaluation.test and not composed.evaluation.local_baseline


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"space": {"training.lr": {"float": [1.0, 0.1]}}}, "lower end first"),
        ({"space": {"training.lr": {"float": [0.0, 1.0], "log": True}}}, "above 0"),
        ({"space": {"training.lr": {"float": [0.1, 1.0], "choice": [1]}}}, "exactly one"),
        ({"space": {"training.lr": {}}}, "exactly one"),
        ({"space": {}}, "at least 1"),
        ({"space": {"training.lr": {"float": [0.1, 1.0], "when": {"model": ["lite0"]}}}}, "must stand before"),
        ({"space": {"training.lr": {"flaot": [0.1, 1.0]}}}, "flaot"),
        ({"space": {"model.width": {"int": [4, 8], "unit": "patients"}}}, "a unit goes with float"),
        ("nothing", "valid"),
    ],
)
def test_a_fault_in_a_space_is_named(document: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        space_of(document, "my.yaml")


def test_an_unknown_space_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="head_lr"):
        read_space("no_such_space")


@given(low=st.floats(1e-6, 1e3), ratio=st.floats(1.01, 1e4), steps=st.integers(2, 9), log=st.booleans())
def test_a_grid_has_its_ends_and_rises(low: float, ratio: float, steps: int, log: bool) -> None:
    dimension = {"float": [low, low * ratio], "log": log, "steps": steps}
    grid = space_of({"space": {"training.lr": dimension}}, "x").grid()["training.lr"]
    assert len(grid) == steps and grid == sorted(grid)
    assert grid[0] == pytest.approx(low) and grid[-1] == pytest.approx(low * ratio)


def test_what_does_not_apply_is_not_suggested() -> None:
    document = {
        "space": {
            "model": {"choice": ["small_cnn", "lite0"]},
            "model.dropout": {"float": [0.0, 0.5], "when": {"model": ["lite0"]}},
        }
    }
    space, study = space_of(document, "x"), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = [space.suggest(study.ask()) for _ in range(20)]
    assert {"small_cnn", "lite0"} == {values["model"] for values in found}
    assert all(("model.dropout" in values) == (values["model"] == "lite0") for values in found)
    with pytest.raises(ConfigError, match="use tpe or random"):
        space.grid()


def test_a_setting_that_is_searched_cannot_be_fixed_too() -> None:
    with pytest.raises(ConfigError, match=r"training\.lr is searched"):
        settings_of(["sweep=head_lr", "training.lr=2"])


def test_images_that_nobody_called_public_are_not_searched(tmp_path: Path) -> None:
    words = ["sweep=head_lr", "data=manifest", f"data.root={tmp_path}"]
    with pytest.raises(ConfigError, match="public"):
        settings_of(words)
    assert settings_of(words, public=True).public


def test_a_grid_asks_for_no_more_trials_than_it_has_points() -> None:
    settings = settings_of(["sweep=head_lr", "sampler=grid", "trials=1000"])
    assert settings.trials == 4 * 4 * 3


@pytest.mark.parametrize("word", ["trials=0", "trials=many", "sampler=genetic", "reruns=-1"])
def test_a_bad_word_is_named(word: str) -> None:
    with pytest.raises(ConfigError, match=word.partition("=")[0]):
        settings_of([word])


def test_the_fixed_settings_of_a_space_give_way_to_the_users() -> None:
    settings = settings_of(["sweep=regularisation", "model.part=head", "model=lite0"])
    assert settings.study().model.part == "head" and settings.study().privacy.mode == "none"
    assert compose(settings.overrides).model.name == "lite0"
