"""Deals: a disjoint cover by patient under every scheme, skewed as asked, refused with a remedy when impossible."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config.study import PartitionConfig
from common.data.manifest import Dataset, Record
from common.data.splits import split_by_patient
from common.errors import ConfigError, DataError
from simulations.data.partition import describe, partition


def cohort(patients: int = 200, images: int = 2, split: bool = True, sites: int = 3) -> Dataset:
    records = tuple(
        Record(f"{p}/{n}", f"p{p:03d}", int(p % 3 == 0), site=f"s{p % sites}")
        for p in range(patients)
        for n in range(images)
    )
    dataset = Dataset("cohort", records, read=lambda key: np.zeros((1, 1), np.float32))
    return split_by_patient(dataset, seed=0, train_share=0.7, val_share=0.15) if split else dataset


def config(name: str, **keys: Any) -> PartitionConfig:
    return PartitionConfig(name=name, **({"min_patients": 1} | keys))


schemes = st.sampled_from(["iid", "dirichlet", "quantity", "natural"])


@given(schemes, st.integers(1, 8), st.sampled_from([0.3, 1.0, 100.0]), st.integers(0, 2**31 - 1), st.booleans())
def test_every_patient_is_at_one_site_with_all_images(
    name: str, sites: int, alpha: float, seed: int, split: bool
) -> None:
    dataset = cohort(split=split)
    dealt = partition(dataset, config(name, sites=sites, alpha=alpha), seed)
    records = [record for part in dealt.values() for record in part.records]
    assert len(records) == len(dataset.records)
    assert {record.image: record for record in records} == {record.image: record for record in dataset.records}
    owners = [patient for part in dealt.values() for patient in part.patients()]
    assert len(owners) == len(set(owners)) == 200
    assert len(dealt) == (3 if name == "natural" else sites)


@given(st.sampled_from(["dirichlet", "quantity"]), st.integers(0, 2**31 - 1))
def test_every_site_gets_its_minimum_and_both_classes_to_train(name: str, seed: int) -> None:
    dealt = partition(cohort(), config(name, sites=4, alpha=0.5, min_patients=15), seed)
    rows = describe(dealt)
    assert all(int(row["patients"]) >= 15 for row in rows)
    assert all(row["train_malignant"] and row["train_benign"] for row in rows)


def test_the_same_seed_deals_the_same_hand() -> None:
    for name in ("iid", "dirichlet", "quantity"):
        first, again, other = (partition(cohort(), config(name, sites=3), seed) for seed in (4, 4, 5))
        assert [part.records for part in first.values()] == [part.records for part in again.values()]
        assert [part.records for part in first.values()] != [part.records for part in other.values()]


def test_iid_sites_are_equal_in_size_and_in_every_split_and_class() -> None:
    rows = describe(partition(cohort(), config("iid", sites=4), 0))
    assert [row["site"] for row in rows] == ["site_1", "site_2", "site_3", "site_4"]
    for key in rows[0].keys() - {"site", "images"}:
        values = [int(row[key]) for row in rows]
        assert max(values) - min(values) <= 1


def spread(name: str, alpha: float, of: str) -> float:
    """Returns the mean standard deviation over sites of their class share or of their size share."""
    spreads = []
    for seed in range(12):
        parts = partition(cohort(), config(name, sites=4, alpha=alpha), seed).values()
        labels = [list(part.labels_by_patient().values()) for part in parts]
        shares = [np.mean(own) if of == "class" else len(own) / 200 for own in labels]
        spreads.append(np.std(shares))
    return float(np.mean(spreads))


def test_alpha_sets_the_skew_and_each_scheme_skews_what_it_says() -> None:
    assert spread("dirichlet", 0.3, "class") > 2 * spread("dirichlet", 30.0, "class")
    assert spread("quantity", 0.3, "size") > 2 * spread("quantity", 30.0, "size")
    assert spread("quantity", 1.0, "class") < 0.1 < spread("dirichlet", 0.3, "class")


def test_splits_of_a_site_have_the_mixture_of_the_site() -> None:
    """Each split of the whole is dealt by the same shares, so a site's share of a class is the same in all of them."""
    whole = cohort(1200)
    totals = Counter((records[0].split, records[0].label) for records in whole.patients().values())
    for row in describe(partition(whole, config("dirichlet", sites=3, alpha=1.0), 2)):
        for label, word in enumerate(("benign", "malignant")):
            train, test = (int(row[f"{split}_{word}"]) / totals[split, label] for split in ("train", "test"))
            assert train == pytest.approx(test, abs=0.02)  # one patient of about 60


def test_what_cannot_be_dealt_is_refused_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match="need 300 patients; cohort has 200"):
        partition(cohort(), config("iid", sites=3, min_patients=100), 0)
    with pytest.raises(ConfigError, match=r"raise partition\.alpha"):
        partition(cohort(), config("quantity", sites=10, alpha=0.05, min_patients=15), 0)
    with pytest.raises(ConfigError, match=r"fewer than partition\.min_patients=90"):
        partition(cohort(), config("natural", min_patients=90), 0)


def test_natural_sites_need_a_home_for_every_patient() -> None:
    dataset = cohort(split=False)
    assert sorted(partition(dataset, config("natural"), 0)) == ["s0", "s1", "s2"]
    homeless = dataset.with_records([Record("x", "new", 1), *dataset.records])
    with pytest.raises(ConfigError, match="1 of 401 in cohort have none"):
        partition(homeless, config("natural"), 0)
    travelling = dataset.with_records([Record("x", "p001", 0, site="s2"), *dataset.records])
    with pytest.raises(DataError, match="1 patients were seen at several sites"):
        partition(travelling, config("natural"), 0)
