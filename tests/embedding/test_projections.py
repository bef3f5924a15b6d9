"""PCA against a singular value decomposition; t-SNE and UMAP: the same seed, the same points, neighbours stay near."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from mammo.embedding import projections
from mammo.embedding.projections import principal_components, project, require_umap
from mammo.support.errors import ConfigError, DataError
from tests.embedding.test_clusters import blobs


@pytest.mark.parametrize("shape", [(30, 80), (80, 30)])
def test_principal_components_are_those_of_a_singular_value_decomposition(shape):
    features = np.random.default_rng(0).normal(size=shape) @ np.diag(np.linspace(1, 5, shape[1]))
    features[:, 3] = 2.0  # a feature that is the same for all images
    features[:, 5] = features[:, 4] * 3 - 1
    components, fractions = principal_components(features.astype(np.float32))
    varying = np.delete(features.astype(np.float32).astype(float), 3, axis=1)
    standardised = (varying - varying.mean(axis=0)) / varying.std(axis=0)
    left, singular, _ = np.linalg.svd(standardised, full_matrices=False)
    np.testing.assert_allclose(fractions[:2], (singular**2 / (singular**2).sum())[:2], rtol=1e-5)
    for i in range(2):
        np.testing.assert_allclose(np.abs(components[:, i]), np.abs(left[:, i] * singular[i]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("num_images", [5, 40])
def test_tsne_fits_few_images_and_repeats_itself(num_images):
    features, _ = blobs((num_images // 2, num_images - num_images // 2))
    pca, tsne = project(features, seed=1, umap=False)
    assert (pca.name, tsne.name) == ("pca", "tsne")
    assert tsne.facts["perplexity"] == min(30.0, (num_images - 1) / 3)
    assert np.isfinite(tsne.points).all()
    np.testing.assert_array_equal(tsne.points, project(features, seed=1, umap=False)[1].points)


def test_too_few_or_equal_images_are_an_error():
    features, _ = blobs((4,))
    with pytest.raises(DataError, match="4 images"):
        project(features, seed=0, umap=False)
    with pytest.raises(DataError, match="same features"):
        project(np.ones((9, 4), dtype=np.float32), seed=0, umap=False)


@pytest.mark.slow
@pytest.mark.long
def test_umap_keeps_neighbours_and_repeats_itself():
    pytest.importorskip("umap")
    features, _ = blobs((20, 20, 20))
    umap = project(features, seed=1, umap=True)[2]
    assert umap.facts == {"num_neighbours": 15}
    assert trustworthiness(features, umap.points, n_neighbors=10) > 0.75
    np.testing.assert_array_equal(umap.points, project(features, seed=1, umap=True)[2].points)


def test_without_the_package_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setattr(projections.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"\[umap\]"):
        require_umap()
