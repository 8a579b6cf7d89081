"""Activations in two dimensions, to look at; nothing is concluded from a picture."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from interp.arrays import Arraylike
from interp.probes._direction import finite_rows

ROUNDING = 1e-12
"""Spread of rows, relative to their size, that float64 leaves of rows that are equal."""

# Distances in more principal components than this are mostly noise (van der Maaten & Hinton 2008).
COMPONENTS_BEFORE_TSNE = 50


@dataclass(frozen=True)
class Projection:
    """Points in the plane."""

    points: Float[np.ndarray, "n 2"]
    """Rows in the plane, around the projected mean at (0, 0) for PCA."""
    explained: Float[np.ndarray, " 2"] | None
    """Share of the variance along each axis; None for t-SNE."""
    arrow: Float[np.ndarray, " 2"] | None
    """The direction as it lies in the plane, to be drawn from (0, 0), in units of the points; None
    without a direction, and for t-SNE, which keeps none."""


def project(
    activations: Arraylike,
    *,
    direction: Float[np.ndarray, " d"] | None = None,
    method: Literal["pca", "tsne"] = "pca",
    seed: int = 42,
    perplexity: float | int | None = None,
) -> Projection:
    """Project rows onto two principal components, or lay them out by t-SNE.

    A direction d is drawn as `components_ @ d`. `PCA.transform(d)` would subtract the mean of the
    rows first and point from there, wherever d does.

    t-SNE (van der Maaten & Hinton 2008) starts from the first 50 principal components. Its
    perplexity, the number of neighbours a row keeps, is 30 or (n - 1) / 3 where that is less: three
    times the perplexity is as far as its neighbourhoods reach.

    Raises ValueError for fewer than three rows or two features, activations that are not finite, an
    unknown method, a perplexity that is not between 0 and n, and one given for PCA.
    """
    rows = finite_rows(activations)
    n, d = rows.shape
    if n < 3 or d < 2:
        raise ValueError(f"activations are {rows.shape}; a plane needs 3 rows and 2 features")
    if method == "tsne":
        perplexity = min(30, (n - 1) / 3) if perplexity is None else perplexity
        if not 0 < perplexity < n:
            raise ValueError(f"perplexity={perplexity} must lie between 0 and {n}, the rows")
        kept = PCA(min(COMPONENTS_BEFORE_TSNE, n, d), random_state=seed).fit_transform(rows)
        size = np.abs(kept).max()
        if size <= ROUNDING * np.abs(rows).max():
            # one row many times over is one point, and t-SNE would end the process
            return Projection(np.zeros((n, 2)), None, None)
        kept /= size  # t-SNE computes in float32, where small spreads are none
        points = TSNE(perplexity=perplexity, random_state=seed).fit_transform(kept)
        return Projection(points.astype(np.float64), None, None)
    if method != "pca":
        raise ValueError(f"method={method!r} must be 'pca' or 'tsne'")
    if perplexity is not None:
        raise ValueError(f"perplexity={perplexity} is an option of method='tsne'")
    pca = PCA(2, random_state=seed).fit(rows)
    explained = np.nan_to_num(pca.explained_variance_ratio_)  # 0 of nothing
    arrow = None if direction is None else pca.components_ @ direction
    return Projection(pca.transform(rows), explained, arrow)
