"""Features as points in a plane: PCA, t-SNE and, where its package is installed, UMAP."""

from __future__ import annotations

import dataclasses
import importlib.util
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from mammo.support.errors import ConfigError, DataError

# Neighbours mean nothing among fewer.
MIN_IMAGES = 5
# t-SNE and UMAP start from as many principal components: what the others hold is mostly noise to a distance.
NUM_COMPONENTS = 50
MAX_PERPLEXITY = 30.0
MAX_UMAP_NEIGHBOURS = 15

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Projection:
    """Points [N, 2] of N images; `facts` are how they were made."""

    name: str
    points: Floats
    facts: dict[str, Any]


def require_umap() -> None:
    """Raises ConfigError where UMAP is not installed."""
    if importlib.util.find_spec("umap") is None:
        raise ConfigError(
            "umap=true needs the package umap-learn, which is not installed",
            to_do="pip install -c constraints.txt -e '.[umap]', or leave it out",
        )


def principal_components(features: np.ndarray) -> tuple[Floats, Floats]:
    """Scores [N, C] of standardised features [N, F], and the fraction of the variance of each; at most 50 components.

    The sign of a component makes its largest loading positive. Raises DataError for fewer than `MIN_IMAGES`
    images, and where they all have the same features.
    """
    if len(features) < MIN_IMAGES:
        raise DataError(f"{len(features)} images", f"at least {MIN_IMAGES}, to compare with one another")
    standardised = StandardScaler().fit_transform(features.astype(np.float64))
    if not standardised.any():
        raise DataError("all images have the same features: nothing of them can be told apart")
    exact = "covariance_eigh" if standardised.shape[0] > standardised.shape[1] else "full"
    pca = PCA(min(NUM_COMPONENTS, *standardised.shape), svd_solver=exact)
    return pca.fit_transform(standardised), pca.explained_variance_ratio_


def project(features: np.ndarray, seed: int, umap: bool) -> list[Projection]:
    """PCA, t-SNE (van der Maaten & Hinton 2008) and, if asked for, UMAP of features [N, F]."""
    components, fractions = principal_components(features)
    variance = {"explained_variance_fraction": fractions[:2].tolist(), "num_components": components.shape[1]}
    pca = Projection("pca", components[:, :2], variance | {"explained_variance_fraction_all": float(fractions.sum())})
    made = [pca, _tsne(components, seed)]
    return [*made, _umap(components, seed)] if umap else made


def _tsne(components: Floats, seed: int) -> Projection:
    # At most a third of the images can be near neighbours of one.
    perplexity = min(MAX_PERPLEXITY, (len(components) - 1) / 3)
    # In fp32, which scikit-learn computes in anyway; started from PCA, which keeps distant groups in their places.
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    points = tsne.fit_transform(components).astype(np.float64)
    return Projection("tsne", points, {"perplexity": perplexity, "kl_divergence": float(tsne.kl_divergence_)})


def _umap(components: Floats, seed: int) -> Projection:
    # Half a minute of compiling, and numba, for those who ask for it.
    from umap import UMAP

    num_neighbours = min(MAX_UMAP_NEIGHBOURS, len(components) - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # spectral start of few images
        points = UMAP(n_neighbors=num_neighbours, random_state=seed, n_jobs=1).fit_transform(components)
    return Projection("umap", np.asarray(points, dtype=np.float64), {"num_neighbours": num_neighbours})
