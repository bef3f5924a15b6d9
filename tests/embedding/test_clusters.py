"""k-means on blobs whose number is known, and agreement with classes computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples
from sklearn.preprocessing import StandardScaler

from mammo.embedding.clusters import best, cluster, clustering_facts


def blobs(sizes, num_features=8, seed=0):
    rng = np.random.default_rng(seed)
    centres = 10 * np.eye(len(sizes), num_features)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    return (centres[owners] + rng.normal(size=(len(owners), num_features))).astype(np.float32), owners


@pytest.mark.parametrize("sizes", [(20, 30), (12, 25, 17), (15, 11, 20, 9, 13)])
def test_as_many_clusters_as_there_are_blobs_the_largest_first(sizes):
    features, owners = blobs(sizes)
    found = cluster(features, owners, seed=0)
    assert [one.k for one in found] == list(range(2, 11))
    chosen = best(found)
    assert chosen.k == len(sizes)
    assert chosen.adjusted_rand_index == chosen.normalized_mutual_info == pytest.approx(1)
    assert chosen.composition(owners, len(sizes)).sum(axis=1).tolist() == sorted(sizes, reverse=True)
    standardised = StandardScaler().fit_transform(features.astype(float))
    assert chosen.silhouette == pytest.approx(silhouette_samples(standardised, chosen.assigned).mean())


def test_agreement_and_composition_by_hand():
    features = np.array([[0.0, 0.0], [0.1, 0.0], [0.0, 0.1], [0.1, 0.1], [9.0, 9.0], [9.1, 9.1]], dtype=np.float32)
    targets = np.array([0, 0, 0, 1, 1, 1])  # one image of the large group is of the class of the small one
    facts = clustering_facts(cluster(features, targets, seed=0), targets, ("A", "B"))
    assert facts["best_k"] == 2
    counts = [{"A": 3, "B": 1}, {"A": 0, "B": 2}]
    assert facts["clusters"] == [{"images": sum(c.values()), "class_counts": c} for c in counts]
    # Pairs (Hubert & Arabie 1985): 4 together in both, 7 in clusters, 6 in classes, of 15.
    expected = 7 * 6 / 15
    assert facts["by_k"][0]["adjusted_rand_index"] == pytest.approx((4 - expected) / ((7 + 6) / 2 - expected))


def test_few_different_images_have_few_clusters_or_none():
    features = np.repeat(np.array([[0.0, 1.0], [4.0, 1.0], [9.0, 2.0]], dtype=np.float32), 4, axis=0)
    targets = np.zeros(12, dtype=np.intp)
    assert [one.k for one in cluster(features, targets, seed=0)] == [2, 3]
    assert best(cluster(features[:4], targets[:4], seed=0)) is None
    assert clustering_facts([], targets, ("A", "B"))["best_k"] is None
