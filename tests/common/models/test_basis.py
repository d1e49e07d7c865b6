"""The public basis: scikit-learn's principal components, whether images or numbers are more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from common.errors import ModelError
from common.models.basis import PublicBasis


def _features(seed: int, rows: int, columns: int) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    spread = np.geomspace(3, 0.1, columns)  # so that no two directions share their variance
    mixed = np.linalg.qr(generator.standard_normal((columns, columns)))[0]
    return (generator.standard_normal((rows, columns)) * spread @ mixed + 1.0).astype(np.float32)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(8, 60), st.integers(8, 60), st.integers(1, 6))
def test_it_is_scikit_learns_pca(seed: int, rows: int, columns: int, dimensions: int) -> None:
    features = _features(seed, rows, columns)
    basis, reference = PublicBasis.of(features, dimensions), PCA(dimensions, svd_solver="full").fit(features)
    np.testing.assert_allclose(basis.mean, reference.mean_, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(basis.eigenvalues, reference.explained_variance_ * (rows - 1) / rows, rtol=1e-4)
    assert np.abs(basis.directions.T @ basis.directions - np.eye(dimensions)).max() < 1e-5
    theirs = reference.transform(features)
    signs = np.sign((basis.project(features) * theirs).sum(0))
    np.testing.assert_allclose(basis.project(features) * signs, theirs, atol=2e-2)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(5, 40), st.integers(5, 40))
def test_coordinates_of_the_public_images_have_the_eigenvalues_as_variances(seed: int, rows: int, columns: int) -> None:
    features = _features(seed, rows, columns)
    basis = PublicBasis.of(features, 5)
    coordinates = basis.project(features).astype(np.float64)
    covariance = np.cov(coordinates.T, bias=True)
    np.testing.assert_allclose(np.diag(covariance), basis.eigenvalues, rtol=1e-3)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-4 * basis.eigenvalues[0]
    largest = np.abs(basis.directions).argmax(0)
    assert (np.take_along_axis(basis.directions, largest[None], 0) > 0).all()


def test_there_are_no_more_directions_than_the_images_span() -> None:
    features = _features(0, 6, 30)
    assert PublicBasis.of(features, 192).directions.shape == (30, 5), "six images have five differences"
    flat = np.repeat(features[:, :1], 4, axis=1)
    assert PublicBasis.of(flat, 4).directions.shape == (4, 1)


def test_the_first_axes_are_those_of_a_smaller_basis() -> None:
    features = _features(1, 40, 20)
    whole, small = PublicBasis.of(features, 8), PublicBasis.of(features, 3)
    assert np.array_equal(whole.first(3).directions, small.directions)
    assert np.array_equal(whole.first(0).eigenvalues, whole.eigenvalues)
    for wrong in (9, -1):
        with pytest.raises(ModelError, match=rf"model\.dimensions={wrong}.* has 8"):
            whole.first(wrong)


def test_what_is_no_basis_is_refused() -> None:
    one = np.ones((4, 1), np.float32)
    with pytest.raises(ModelError, match="the same for every image"):
        PublicBasis.of(np.ones((5, 3), np.float32), 2)
    with pytest.raises(ModelError, match="two images"):
        PublicBasis.of(np.ones((1, 3), np.float32), 2)
    with pytest.raises(ModelError, match="shapes"):
        PublicBasis(np.zeros(3, np.float32), one, np.ones(1))
    with pytest.raises(ModelError, match="not finite"):
        PublicBasis(np.zeros(4, np.float32), one * np.nan, np.ones(1))
    with pytest.raises(ModelError, match="fall"):
        PublicBasis(np.zeros(4, np.float32), np.eye(4, 2, dtype=np.float32), np.array([1.0, 2.0]))
