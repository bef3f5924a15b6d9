"""Whether images fall into groups by their features alone, and whether these groups are the classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score
from sklearn.preprocessing import StandardScaler

from mammo.support.progress import track

MAX_CLUSTERS = 10
NUM_STARTS = 10
# A silhouette takes all distances; of more images it is that of as many drawn ones.
MAX_SILHOUETTE_IMAGES = 5000


@dataclasses.dataclass(frozen=True)
class Clustering:
    """k-means into `k` clusters: `assigned` [N] is numbered from the largest cluster (0) on.

    `silhouette` is in -1..1 (Rousseeuw 1987); `adjusted_rand_index` and `normalized_mutual_info` compare the
    clusters with the classes: 1 where they are the same, about 0 where they have nothing to do with each other.
    """

    k: int
    assigned: np.ndarray
    silhouette: float
    adjusted_rand_index: float
    normalized_mutual_info: float

    def composition(self, targets: np.ndarray, num_classes: int) -> np.ndarray:
        """Images [k, K] of each cluster and class."""
        counts = np.zeros((self.k, num_classes), dtype=np.int64)
        np.add.at(counts, (self.assigned, targets), 1)
        return counts


def cluster(features: np.ndarray, targets: np.ndarray, seed: int) -> list[Clustering]:
    """k-means on standardised features [N, F] for each k from 2 to 10, as far as there are enough different images."""
    standardised = StandardScaler().fit_transform(features).astype(np.float64)
    num_different = len(np.unique(standardised, axis=0))
    counts = range(2, min(MAX_CLUSTERS, num_different, len(features) - 1) + 1)
    return [_clustered(standardised, targets, k, seed) for k in track(counts, "Clusters", len(counts))]


def _clustered(standardised: np.ndarray, targets: np.ndarray, k: int, seed: int) -> Clustering:
    found = KMeans(k, n_init=NUM_STARTS, random_state=seed).fit_predict(standardised)
    sizes = np.bincount(found, minlength=k)
    rank = np.empty(k, dtype=np.intp)
    rank[np.lexsort((np.arange(k), -sizes))] = np.arange(k)
    assigned = rank[found]
    sample_size = MAX_SILHOUETTE_IMAGES if len(assigned) > MAX_SILHOUETTE_IMAGES else None
    return Clustering(
        k=k,
        assigned=assigned,
        silhouette=float(silhouette_score(standardised, assigned, sample_size=sample_size, random_state=seed)),
        adjusted_rand_index=float(adjusted_rand_score(targets, assigned)),
        normalized_mutual_info=float(normalized_mutual_info_score(targets, assigned)),
    )


def best(clusterings: Sequence[Clustering]) -> Clustering | None:
    """The clustering with the highest silhouette, of equal ones that with fewest clusters; None where there is none."""
    return max(clusterings, key=lambda one: (one.silhouette, -one.k), default=None)


def clustering_facts(
    clusterings: Sequence[Clustering], targets: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """What `embedding.json` says of the clusters."""
    chosen = best(clusterings)
    by_k = [{key: value for key, value in dataclasses.asdict(one).items() if key != "assigned"} for one in clusterings]
    facts: dict[str, Any] = {
        "method": f"k-means of standardised features, best of {NUM_STARTS} starts",
        "silhouette_of": "all images" if len(targets) <= MAX_SILHOUETTE_IMAGES else f"{MAX_SILHOUETTE_IMAGES} images",
        "by_k": by_k,
        "best_k": None,
        "clusters": None,
    }
    if chosen is None:
        return facts
    composition = chosen.composition(targets, len(class_names))
    clusters = [
        {"images": int(row.sum()), "class_counts": dict(zip(class_names, row.tolist(), strict=True))}
        for row in composition
    ]
    return facts | {"best_k": chosen.k, "clusters": clusters}
