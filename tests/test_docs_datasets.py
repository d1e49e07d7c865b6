"""Every data set that can be named has a page that says what a user must know, in the reader's own words."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from common.data.formats import READERS

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "datasets"
HEADINGS = ["Source", "Licence", "Citation", "Layout that is read", "Patient", "Preprocessing", "Split",
            "Known defects", "Look at it"]  # fmt: skip
SHARED = {"wbc": "wdbc"}
NAMES = sorted({SHARED.get(name, name) for name in [*READERS, "phantom"]} - {"manifest"})


@pytest.mark.parametrize("name", NAMES)
def test_a_data_set_has_a_page(name: str) -> None:
    text = (FOLDER / f"{name}.md").read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    assert all(len(part.strip()) > 5 for part in re.split(r"^## .*$", text, flags=re.MULTILINE)[1:])
    assert f"`data={name}`" in text and "Research use only" in text


@pytest.mark.parametrize("name", sorted({*NAMES} - {"phantom", "wdbc"}))
def test_a_page_cites_what_the_reader_cites(name: str) -> None:
    module = importlib.import_module(READERS[name])
    text = (FOLDER / f"{name}.md").read_text()
    assert module.CITATION in text and getattr(module, "LICENCE", "CC BY 4.0") in text


def test_the_index_leads_to_every_page() -> None:
    index = (FOLDER / "README.md").read_text()
    assert set(re.findall(r"\]\((\w+\.md)\)", index)) == {f"{name}.md" for name in NAMES}
