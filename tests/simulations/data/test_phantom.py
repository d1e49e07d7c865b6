"""The phantom: the same pixels anywhere, signs that can be learned but never perfectly, scanners that differ."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from common.data.manifest import Dataset, Record, read_mask
from simulations.data.phantom import BEST_AUROC, SEPARATION, make_phantom


@pytest.fixture(scope="module")
def phantom() -> Dataset:
    return make_phantom(220, seed=0, image_size=64)


def test_patients_classes_views_and_scanners(phantom: Dataset) -> None:
    groups = phantom.patients()
    assert len(groups) == 220 and phantom.synthetic
    assert sum(phantom.labels_by_patient().values()) == 77
    assert {len(records) for records in groups.values()} == {1, 2, 3, 4}
    assert all(len({record.site for record in records}) == 1 for records in groups.values())
    assert {record.site for record in phantom.records} == {"phantom_a", "phantom_b", "phantom_c", "phantom_d"}


def test_pictures_and_masks_are_bounded_and_belong_together(phantom: Dataset) -> None:
    for record in phantom.records[:40]:
        image, mask = phantom.read(record.image), read_mask(phantom, record)
        assert image.shape == mask.shape == (64, 64) and image.dtype == np.float32
        assert image.min() >= 0 and image.max() <= 1 and image.std() > 0.03
        assert 0.005 < mask.mean() < 0.4


def test_lesions_are_darker_than_their_surroundings(phantom: Dataset) -> None:
    differences = []
    for record in phantom.records[:60]:
        image, mask = phantom.read(record.image), read_mask(phantom, record)
        rows = mask.any(axis=1)
        differences.append(image[mask].mean() - image[rows][~mask[rows]].mean())
    assert np.mean(np.array(differences) < 0) > 0.9


def test_pixels_depend_on_nothing_but_seed_patient_and_view(phantom: Dataset) -> None:
    again = make_phantom(220, seed=0, image_size=64)
    keys = [record.image for record in phantom.records[:6]]
    backwards = {key: again.read(key) for key in reversed(keys)}
    assert all(np.array_equal(phantom.read(key), backwards[key]) for key in keys)
    assert np.array_equal(pickle.loads(pickle.dumps(phantom.read))(keys[0]), phantom.read(keys[0]))
    assert not np.array_equal(make_phantom(220, seed=1, image_size=64).read(keys[0]), phantom.read(keys[0]))
    assert not np.array_equal(phantom.read(keys[0]), phantom.read(keys[1]))


def test_another_process_sees_the_same_pixels(phantom: Dataset, project_root: Path) -> None:
    code = "from simulations.data.phantom import make_phantom as m; import hashlib as h; d = m(220, 0, 64); "
    code += "print(h.sha256(d.read(d.records[3].image).tobytes()).hexdigest())"
    done = subprocess.run([sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, check=True)
    import hashlib

    assert done.stdout.strip() == hashlib.sha256(phantom.read(phantom.records[3].image).tobytes()).hexdigest()


def test_the_bound_is_that_of_the_severities() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(200_000) % 2
    severity = generator.normal(SEPARATION * (labels - 0.5))
    # 200,000 draws: the AUROC's standard error is below 0.001.
    assert roc_auc_score(labels, severity) == pytest.approx(BEST_AUROC, abs=0.003)


def signs(phantom: Dataset, record: Record) -> list[float]:
    """Returns orientation, roughness of the margin, and brightness below the lesion against beside it."""
    image, mask = phantom.read(record.image), read_mask(phantom, record)
    rows, columns = np.nonzero(mask)
    border = np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    below = image[rows.max() + 1 : rows.max() + 13]
    shadow = below[:, columns.min() : columns.max()].mean() - below.mean() if below.size else 0.0
    return [(np.ptp(rows) + 1) / (np.ptp(columns) + 1), border**2 / mask.sum(), float(shadow)]


def test_signs_can_be_learned_but_not_perfectly(phantom: Dataset) -> None:
    firsts = [records[0] for records in phantom.patients().values()]
    features = np.array([signs(phantom, record) for record in firsts])
    labels = np.array([record.label for record in firsts])
    half = len(firsts) // 2
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features[:half], labels[:half])
    auroc = roc_auc_score(labels[half:], model.predict_proba(features[half:])[:, 1])
    assert 0.75 < auroc < 0.99


def test_brightness_alone_does_not_give_the_class_away(phantom: Dataset) -> None:
    firsts = [records[0] for records in phantom.patients().values()]
    brightness = [float(phantom.read(record.image).mean()) for record in firsts]
    assert 0.3 < roc_auc_score([record.label for record in firsts], brightness) < 0.7


def test_scanners_differ_more_than_chance(phantom: Dataset) -> None:
    contrast: dict[str, list[float]] = {}
    for record in phantom.records[:150]:
        contrast.setdefault(record.site, []).append(float(phantom.read(record.image).std()))
    means = [np.mean(values) for values in contrast.values()]
    assert max(means) > 1.3 * min(means)


def test_a_larger_picture_shows_the_same_lesion() -> None:
    small, large = (make_phantom(20, seed=0, image_size=size) for size in (64, 128))
    for record in small.records[:10]:
        halved = read_mask(large, record).reshape(64, 2, 64, 2).mean((1, 3)) > 0.5
        mask = read_mask(small, record)
        assert (halved & mask).sum() / (halved | mask).sum() > 0.85


@pytest.mark.parametrize(("patients", "seed", "size"), [(1, 0, 64), (20, -1, 64), (20, 0, 8)])
def test_arguments_out_of_range_are_refused(patients: int, seed: int, size: int) -> None:
    with pytest.raises(ValueError, match="Expected"):
        make_phantom(patients, seed, size)
