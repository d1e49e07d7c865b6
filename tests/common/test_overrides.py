"""Overrides come back from a string and from a file as they were written; anything else is told by name."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from common.errors import ConfigError
from common.overrides import read_overrides, split_overrides

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
