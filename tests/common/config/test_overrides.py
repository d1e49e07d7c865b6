"""Overrides come back from a string and from a file as they were written; anything else is told by name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from common.config.overrides import read_overrides, split_overrides
from common.config.study import compose
from common.errors import ConfigError

OVERRIDES = st.lists(st.text(min_size=1, max_size=30).map(lambda text: f"data.root={text}"), max_size=5)


@given(overrides=OVERRIDES)
def test_a_string_holds_any_overrides(overrides: list[str]) -> None:
    assert split_overrides(shlex.join(overrides)) == overrides


def test_an_unclosed_quote_is_told() -> None:
    with pytest.raises(ConfigError, match="quote"):
        split_overrides('a="1')


@given(overrides=st.lists(st.from_regex(r"[a-z.]{1,9}=[ -~]{0,9}", fullmatch=True), max_size=5))
def test_a_file_as_a_run_leaves_it_holds_them_too(
    tmp_path_factory: pytest.TempPathFactory, overrides: list[str]
) -> None:
    path = tmp_path_factory.mktemp("run") / "overrides.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(list(overrides))))
    assert read_overrides(path) == overrides


@pytest.mark.parametrize(
    "text", ["", "privacy.epsilon: 3", "- privacy.epsilon: 3", "- 3", "a=1", "- [", "\x00", "[" * 3000]
)
def test_any_other_file_is_refused_with_what_was_expected(tmp_path: Path, text: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"- privacy\.epsilon=3"):
        read_overrides(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_overrides(tmp_path / "none.yaml")


SIGNS = st.text(st.sampled_from("aü乳 '\"()[]{}=,#$%&:;\\|@!~-"), min_size=1, max_size=12).filter(
    lambda text: not re.search(r"\$\{[^}]*\}", text)
)


@given(SIGNS, st.sampled_from(["data.root", "simulation.ledger_dir", "simulation.cache_dir", "model.weights"]))
def test_a_path_of_any_signs_is_taken_as_it_is(name: str, setting: str) -> None:
    path = f"/x/{name}/y"
    group, key = setting.split(".")
    for override in (f"{setting}={path}", f"{setting}={quoted(path)}"):
        study = compose(["name=other", override])
        assert getattr(getattr(study, group), key) == path and study.name == "other"


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def test_the_last_path_wins_and_null_and_variables_are_hydras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert compose(["data.root=/a", "data.root=/b"]).data.root == "/b"
    assert compose(["data.root=/a", "data.root=null"]).data.root is None
    monkeypatch.setenv("ONCOFED_TEST_ROOT", "/from/there")
    assert compose(["data.root=${oc.env:ONCOFED_TEST_ROOT}"]).data.root == "/from/there"
    odd = tmp_path / "${HOME}"
    odd.mkdir()
    assert compose([f"data.root={odd}"]).data.root == str(odd)
