"""Every file below a folder once, whatever links there are, and nothing that systems leave behind."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from common.data.files.tree import files_below, files_in, is_leftover, look_below

NAMES = st.sampled_from(["a", "b", "c"])


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


@given(st.sets(st.lists(NAMES, min_size=1, max_size=3).map("/".join), min_size=1, max_size=6),
       st.lists(st.tuples(NAMES, NAMES), max_size=4))  # fmt: skip
def test_each_real_file_is_found_once_and_loops_end(
    tmp_path_factory: object, folders: set[str], links: list[tuple[str, str]]
) -> None:
    root = tmp_path_factory.mktemp("t")  # type: ignore[attr-defined]
    real = {touch(root / folder / "x.png") for folder in folders}
    for number, (place, target) in enumerate(links):
        if (root / place).is_dir() and (root / target).is_dir():
            os.symlink(root / target, root / place / f"link{number}")
    os.symlink(root, root / "up")
    tree = look_below(root)
    assert len({os.path.realpath(root / name) for name in tree.files}) == len(tree.files) == len(real)
    assert "up" in tree.again


def test_linked_folders_and_files_are_followed_and_broken_links_named(tmp_path: Path) -> None:
    touch(tmp_path / "archive" / "benign" / "1.png")
    touch(tmp_path / "archive" / "2.png")
    study = tmp_path / "study"
    study.mkdir()
    os.symlink("../archive/benign", study / "benign")
    os.symlink("../archive/2.png", study / "2.PNG")
    os.symlink("../nowhere", study / "gone")
    tree = look_below(study)
    assert tree.files == ("2.PNG", "benign/1.png") and tree.broken == ("gone",)
    assert files_below(study, ".png") == [study / "2.PNG", study / "benign" / "1.png"]
    assert files_in(study, ".png") == [study / "2.PNG"]


def test_leftovers_never_count(tmp_path: Path) -> None:
    for name in ("._1.png", ".DS_Store", "Thumbs.db", "__MACOSX/1.png", ".hidden/1.png", "@eaDir/1.png", "1.png"):
        touch(tmp_path / name)
    assert look_below(tmp_path).files == ("1.png",)
    assert is_leftover("__MACOSX") and not is_leftover("_1.png")
