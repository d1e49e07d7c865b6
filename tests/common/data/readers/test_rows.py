"""A published table that is not where it was looked for: where it is, in the message."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.data.readers.rows import read_rows
from common.errors import DataError


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("set/train_images", r"it is in .*set: give that folder"),
        (".", r"it is in .*set: give that folder"),
        ("set/train.csv", "that is a file: give its folder"),
        ("set/train_images/100", "copy the published table there"),
        ("none", "copy the published table there"),
    ],
)
def test_a_missing_table_is_said_to_be_where_it_is(tmp_path: Path, given: str, said: str) -> None:
    (tmp_path / "set" / "train_images" / "100").mkdir(parents=True)
    (tmp_path / "set" / "train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=rf"There is no train\.csv in .*; {said}"):
        read_rows(tmp_path / given / "train.csv", ("a",))
    assert read_rows(tmp_path / "set" / "train.csv", ("a",)) == [{"a": "1", "b": "2"}]


def test_an_empty_table_has_no_rows_and_lacks_no_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n")
    with pytest.raises(DataError, match=r"t\.csv has no rows; expected"):
        read_rows(tmp_path / "t.csv", ("a", "b"))
    with pytest.raises(DataError, match=r"t\.csv lacks c; expected"):
        read_rows(tmp_path / "t.csv", ("a", "c"))
