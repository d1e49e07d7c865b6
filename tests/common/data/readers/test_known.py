"""A published table is known by its columns, each by one reader; a hospital's own table by none."""

from __future__ import annotations

import pytest

from common.data.readers.known import layout_of
from tests.common.data.layouts import CBIS_HEADER
from tests.common.data.layouts_screening import EMBED_FILES, EMBED_FINDINGS, RSNA_HEADER

PUBLISHED = {
    "rsna": RSNA_HEADER, "cbis_ddsm": CBIS_HEADER, "bus_bra": (
        "ID", "Case", "Histology", "Pathology", "BIRADS", "Device", "Width", "Height", "Side", "BBOX",
    ),
    "inbreast": (
        "Patient ID", "Patient age", "Laterality", "View", "Acquisition date", "File Name", "ACR", "Bi-Rads",
    ),
    "cmmd": ("ID1", "LeftRight", "Age", "number", "abnormality", "classification", "subtype"),
    "vindr_mammo": (
        "study_id", "series_id", "image_id", "laterality", "view_position", "height", "width", "breast_birads",
        "breast_density", "split",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_table_is_known_by_its_columns(name: str) -> None:
    assert layout_of(PUBLISHED[name]) == layout_of([*PUBLISHED[name], "mine"]) == name
    assert layout_of(EMBED_FINDINGS) == layout_of(EMBED_FILES) == "embed"


@pytest.mark.parametrize(
    "header",
    [(), ("image", "patient", "label"), ("Image", "Label"), ("patient_id", "image_id", "laterality", "cancer")],
)
def test_a_table_of_ones_own_is_not(header: tuple[str, ...]) -> None:
    assert layout_of(header) == ""
