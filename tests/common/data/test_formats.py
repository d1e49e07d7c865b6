"""The public sets themselves: counts as published, labels the right way round, nothing of one patient apart."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from common.config.study import DataConfig
from common.data.formats import open_dataset
from common.data.loading import to_tensors
from common.data.manifest import Dataset, mask_keys, read_mask
from common.data.splits import split_by_patient
from common.errors import ConfigError, DataError


def open_set(name: str, root: Path | None, **keys: object) -> Dataset:
    return open_dataset(DataConfig(name=name, root=str(root) if root else None, **keys))  # type: ignore[arg-type]


def classes(dataset: Dataset) -> tuple[int, int]:
    labels = dataset.labels_by_patient().values()
    return len(labels) - sum(labels), sum(labels)


def test_bus_bra_has_its_patients_scanners_and_masks(real_data: Path) -> None:
    dataset = open_set("bus_bra", real_data / "bus-bra")
    assert len(dataset.records) == 1246
    assert classes(dataset) == (478, 225)
    assert Counter(r.site for r in dataset.records) == {"ge_logiq_7": 609, "ge_logiq_5": 544, "toshiba_aplio_300": 93}
    assert dataset.records[0].attributes == {
        "scanner": "GE Logiq 7",
        "birads": "4",
        "side": "left",
        "histology": "invasive ductal carcinoma",
    }
    assert all(record.mask for record in dataset.records)
    mask = read_mask(dataset, dataset.records[0])
    assert mask.shape == dataset.read(dataset.records[0].image).shape and 0 < mask.mean() < 0.5


def test_bus_bra_masks_lie_in_the_published_boxes(real_data: Path) -> None:
    root = real_data / "bus-bra" / "BUSBRA"
    dataset = open_set("bus_bra", root)
    with (root / "bus_data.csv").open(newline="") as file:
        boxes = {f"Images/{row['ID']}.png": json.loads(row["BBOX"]) for row in csv.DictReader(file)}
    for record in dataset.records[:20]:
        rows, columns = np.nonzero(read_mask(dataset, record))
        left, top, width, height = boxes[record.image]
        assert np.allclose(
            [columns.min(), rows.min(), np.ptp(columns), np.ptp(rows)], [left, top, width, height], atol=3
        )


def test_bus_bra_without_its_images_is_refused(real_data: Path, tmp_path: Path) -> None:
    table = (real_data / "bus-bra" / "BUSBRA" / "bus_data.csv").read_bytes()
    (tmp_path / "bus_data.csv").write_bytes(table)
    with pytest.raises(DataError, match=r"1246 images of bus_data\.csv are not in"):
        open_set("bus_bra", tmp_path)
    (tmp_path / "bus_data.csv").write_text("ID,Case\nbus_0001-l,1\n")
    with pytest.raises(DataError, match="lacks Histology, Pathology"):
        open_set("bus_bra", tmp_path)


def published_clusters(real_data: Path) -> list[list[str]]:
    document = json.loads((real_data / "busi" / "near_duplicate_clusters.json").read_text())
    return [[name for name in cluster if not name.startswith("normal")] for cluster in document["clusters"]]


def pairs(groups: list[list[str]]) -> set[tuple[str, str]]:
    return {pair for group in groups for pair in combinations(sorted(group), 2)}


def test_busi_look_alikes_are_the_ones_measured_before(real_data: Path) -> None:
    dataset = open_set("busi", real_data / "busi", exclude_conflicts=False)
    assert len(dataset.records) == 486
    assert sum(record.label for record in dataset.records) == 158
    found: dict[str, list[str]] = {}
    for record in dataset.records:
        found.setdefault(record.patient.partition(" as ")[0], []).append(Path(record.image).name)
    expected, got = pairs(published_clusters(real_data)), pairs(list(found.values()))
    assert len(expected & got) / len(expected) >= 0.98
    assert len(expected & got) / len(got) >= 0.98


def test_busi_leaves_out_groups_of_both_classes_and_says_how_many(real_data: Path) -> None:
    dataset = open_set("busi", real_data / "busi")
    torn = [group for group in published_clusters(real_data) if len({name.split()[0] for name in group}) == 2]
    kept = {Path(record.image).name for record in dataset.records}
    assert not kept & {name for group in torn for name in group}
    images = sum(map(len, torn))
    assert len(kept) == 486 - images
    assert f"Left out: {images} images in {len(torn)} look-alike groups" in " ".join(dataset.notes)
    done = split_by_patient(dataset, seed=0, train_share=0.7, val_share=0.15)
    split_of = {Path(record.image).name: record.split for record in done.records}
    assert all(
        len({split_of[name] for name in group if name in split_of}) <= 1 for group in published_clusters(real_data)
    )


def test_busi_normal_images_come_when_asked(real_data: Path) -> None:
    dataset = open_set("busi", real_data / "busi", include_normal=True, exclude_conflicts=False)
    assert len(dataset.records) == 586
    assert Counter(r.attributes["finding"] for r in dataset.records) == {"benign": 328, "malignant": 158, "normal": 100}
    assert {r.label for r in dataset.records if r.attributes["finding"] == "normal"} == {0}


def test_busi_originals_with_odd_masks_are_read(real_data: Path) -> None:
    dataset = open_set("busi", real_data / "busi-originals", include_normal=True, exclude_conflicts=False)
    assert len(dataset.records) == 28
    assert sum(len(mask_keys(record)) for record in dataset.records) == 33
    for record in dataset.records:
        mask = read_mask(dataset, record)
        assert mask.shape == dataset.read(record.image).shape[:2]
        assert mask.any() == (record.attributes["finding"] != "normal")


def test_breastmnist_keeps_its_split_and_turns_its_labels(real_data: Path) -> None:
    dataset = open_set("breastmnist", real_data / "breastmnist", image_size=28)
    sizes = {name: classes(dataset.in_split(name)) for name in ("train", "val", "test")}
    assert sizes == {"train": (399, 147), "val": (57, 21), "test": (114, 42)}
    assert split_by_patient(dataset, seed=1, train_share=0.7, val_share=0.15).records == dataset.records
    tensors = to_tensors(dataset.in_split("val"), DataConfig(name="breastmnist", image_size=28))
    with np.load(real_data / "breastmnist" / "breastmnist.npz") as archive:
        assert np.allclose(tensors.inputs[:, 0].numpy(), archive["val_images"] / 127.5 - 1, atol=1e-6)
        assert np.array_equal(tensors.labels.numpy(), 1 - archive["val_labels"][:, 0])
    assert open_set("breastmnist", real_data / "breastmnist" / "breastmnist.npz").records == dataset.records


def unreachable(**_: object) -> None:
    raise RuntimeError("Something went wrong when downloading!")


def test_breastmnist_without_a_file_package_or_network_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"no breastmnist\.npz in"):
        open_set("breastmnist", tmp_path)
    (tmp_path / "breastmnist.npz").write_bytes(b"PK damaged")
    with pytest.raises(DataError, match="not a BreastMNIST file"):
        open_set("breastmnist", tmp_path)
    monkeypatch.setattr("medmnist.info.DEFAULT_ROOT", str(tmp_path / "cache"))
    monkeypatch.setattr("medmnist.BreastMNIST", unreachable)
    with pytest.raises(DataError, match="could not be fetched"):
        open_set("breastmnist", None)
    monkeypatch.setitem(sys.modules, "medmnist", None)
    with pytest.raises(DataError, match="medmnist is not installed"):
        open_set("breastmnist", None)


def test_wdbc_has_malignant_as_one_and_fixed_bounds() -> None:
    dataset = open_set("wdbc", None, image_size=0)
    assert classes(dataset) == (357, 212)
    tensors = to_tensors(dataset, DataConfig(name="wdbc", image_size=0))
    assert tensors.inputs.shape == (569, 30)
    # Malignant nuclei are larger: mean radius is the first column.
    means = [tensors.inputs[tensors.labels == label, 0].mean() for label in (0, 1)]
    assert means[0] < means[1]
    assert (tensors.inputs.amax(0) > 0.4).all() and (tensors.inputs.amin(0) < 0).all()


def test_wbc_joins_rows_of_a_patient_and_leaves_out_the_torn(real_data: Path) -> None:
    dataset = open_set("wbc", real_data / "wisconsin-original", image_size=0)
    assert (len(dataset.records), len(dataset.patients())) == (690, 641)
    assert "16 rows have an unknown score" in " ".join(dataset.notes)
    assert "4 patients (9 rows)" in " ".join(dataset.notes)
    rows = np.stack([dataset.read(record.image) for record in dataset.records])
    assert rows.shape == (690, 9) and rows.min() >= 0.1 and rows.max() <= 1


def test_wbc_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "breast-cancer-wisconsin.data"
    path.write_text("1,5,1,1,1,2,1,3,1,1,2\n2,5,1,1,1,2,1,3,1,11,4\n3,5,1\n")
    with pytest.raises(DataError, match=r"2 odd lines of 3 \(line 2, 3\)"):
        open_set("wbc", tmp_path)


def test_a_name_or_root_that_is_wrong_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected one of bus_bra, busi"):
        open_set("busbra", tmp_path)
    with pytest.raises(ConfigError, match=r"data\.root is not set"):
        open_set("bus_bra", None)
    with pytest.raises(DataError, match="There is nothing at"):
        open_set("busi", tmp_path / "absent")
    with pytest.raises(DataError, match="expected the published layout of Dataset_BUSI_with_GT"):
        open_set("busi", tmp_path)


def test_sites_may_come_from_another_column(real_data: Path) -> None:
    dataset = open_set("bus_bra", real_data / "bus-bra", column="birads")
    assert {record.site for record in dataset.records} == {"2", "3", "4", "5"}
