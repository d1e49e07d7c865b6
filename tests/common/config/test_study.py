"""A study composes, validates, hashes; what is wrong is named in one paragraph."""

from __future__ import annotations

import dataclasses

import pytest

from common.config.study import CONFIG_DIR, compose, from_dict, to_dict
from common.errors import ConfigError

GROUPS = sorted(
    path.name for path in CONFIG_DIR.iterdir() if path.is_dir() and path.name not in ("experiment", "sweep")
)


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_of_every_group_is_a_valid_study(group: str) -> None:
    for option in (CONFIG_DIR / group).glob("*.yaml"):
        study = compose([f"{group}={option.stem}"])
        assert from_dict(to_dict(study)) == study


def test_every_experiment_composes() -> None:
    for experiment in (CONFIG_DIR / "experiment").glob("*.yaml"):
        assert compose([f"experiment={experiment.stem}"]).name == experiment.stem


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("privacy.epsilon=0", "privacy.epsilon"),
        ("privacy.epsilon=-1", "privacy.epsilon"),
        ("privacy.epsilon=.inf", "privacy.epsilon"),
        ("privacy.epsilon=lots", "privacy.epsilon"),
        ("training.rounds=0", "training.rounds"),
        ("nonsense=1", "nonsense"),
        ("data=nowhere", "nowhere"),
        ("privacy.mode=maybe", "privacy.mode"),
        ("data.train_share=0.9", "train_share"),
        ("strategy.quorum=0", "strategy.quorum"),
    ],
)
def test_a_bad_override_is_named_in_one_paragraph(override: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([override])
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_travels_holds_no_path_and_no_emulation() -> None:
    study = compose(["data=bus_bra", "data.root=/secret/place", "simulation.ceiling=3"])
    text = str(study.travelling())
    assert "/secret" not in text
    assert "partition" not in study.travelling() and "simulation" not in study.travelling()


def test_the_digest_sees_what_was_agreed_and_nothing_else() -> None:
    study = compose([])
    assert compose(["data.root=/elsewhere"]).digest() == study.digest()
    assert compose(["partition.sites=9"]).digest() == study.digest()
    assert compose(["privacy.epsilon=7.9"]).digest() != study.digest()
    assert from_dict(study.travelling()).digest() == study.digest()


def test_private_is_the_default_and_plain_must_be_written() -> None:
    assert compose([]).privacy.private
    assert not compose(["privacy=none"]).privacy.private


def test_studies_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        compose([]).seed = 3  # type: ignore[misc]
