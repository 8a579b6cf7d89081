"""Supervised multidimensional scaling as a scikit-learn estimator."""

from dataclasses import replace
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import pdist
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.linear_model import Ridge
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from interp import arrays
from interp.smds._scaling import stress_score
from interp.smds._shapes import Shape, as_shape
from interp.smds._targets import Targets


class SupervisedMDS(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Linear map of activations onto the ideal geometry of their labels.

    1. Labels -> ideal coordinates: exact where the shape has them, else by classical scaling.
    2. Ridge regression with a free intercept of those coordinates on the activations; alpha = 0
       takes the least-norm solution. `orthonormal=True` takes U V^T of the SVD of Y^T X instead
       (orthogonal Procrustes) and ignores alpha.

    Tiblias et al. 2025 ("Shape Happens", arXiv 2510.01025). One fit has no null: judge a score by
    `interp.smds.smds_grid`, which scores held-out rows beside permutations of the labels.

    Parameters
    ----------
    shape : a name in `interp.smds.SHAPES` or a `Shape`.
    n_components : dimensions of the embedding; None takes the shape's own.
    alpha : ridge penalty, in squared units of the activations; >= 0.
    orthonormal : a projection with orthonormal rows in place of ridge regression.
    period : length of the labels' cycle; None rescales by the smallest and largest label.

    Attributes
    ----------
    coordinates_ : ideal coordinates of the training rows, [n, k].
    components_ : the map W, [k, d].
    mean_ : mean of the training activations, [d].
    offset_ : mean of the ideal coordinates, [k]: the intercept at `mean_`.
    """

    # scikit-learn builds estimators from any values and wants the complaint from `fit`.
    @no_type_check
    def __init__(
        self,
        shape: str | Shape = "circular",
        *,
        n_components: int | None = None,
        alpha: float | int = 1.0,
        orthonormal: bool = False,
        period: float | int | None = None,
    ) -> None:
        self.shape = shape
        self.n_components = n_components
        self.alpha = alpha
        self.orthonormal = orthonormal
        self.period = period

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def _target(self, y: np.ndarray) -> Targets:
        shape = as_shape(self.shape, period=self.period)
        if self.n_components is not None:
            shape = replace(shape, n_components=self.n_components)
        return Targets(shape, y[None])

    def _numbered(self, y: Any) -> Any:
        """Names as their numbers in sorted order, where the shape looks at equality alone."""
        names = np.asarray(y) if y is not None else np.zeros(0)
        if names.dtype.kind not in "USO" or not as_shape(self.shape).categorical:
            return y
        return np.unique(arrays.label_columns(y), return_inverse=True)[1].reshape(names.shape)

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def fit(self, X: Any, y: Any) -> "SupervisedMDS":
        """Fit the map from activations X [n, d] to the geometry of labels y [n] or [n, columns].

        Raises ValueError for alpha < 0 and for labels that the shape cannot take.
        """
        # float64 whatever the input: massive dimensions round a float32 Gram away.
        y = self._numbered(y)
        X, y = validate_data(
            self, X, y, dtype=np.float64, multi_output=True, ensure_min_samples=2, y_numeric=True
        )
        if self.alpha < 0:
            raise ValueError(f"alpha={self.alpha} must be 0 or positive")
        self.coordinates_ = self._target(y).coordinates(0, np.arange(len(y)))
        self.mean_, self.offset_ = X.mean(axis=0), self.coordinates_.mean(axis=0)
        rows, targets = X - self.mean_, self.coordinates_ - self.offset_
        if self.orthonormal:
            left, _, right = np.linalg.svd(targets.T @ rows, full_matrices=False)
            self.components_ = left @ right
        elif self.alpha == 0:
            self.components_ = np.linalg.lstsq(rows, targets, rcond=None)[0].T
        else:
            ridge = Ridge(self.alpha, fit_intercept=False, solver="cholesky")
            self.components_ = ridge.fit(rows, targets).coef_.reshape(targets.shape[1], -1)
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "n k"]:
        """Embed activations [n, d] in the frame of the ideal coordinates."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return (X - self.mean_) @ self.components_.T + self.offset_

    def inverse_transform(self, Z: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n d"]:
        """Activations of least distance from `mean_` that `transform` sends to Z."""
        check_is_fitted(self)
        return (Z - self.offset_) @ np.linalg.pinv(self.components_).T + self.mean_

    def score(self, X: Any, y: Any) -> float:
        """1 - scale-free stress of the embedding of X against labels y; see `stress_score`.

        Optimistic on the training rows: noise of 768 dimensions scores .67 on its own fit and
        .40 on new rows.
        """
        embedded = self.transform(X)
        target = self._target(np.asarray(self._numbered(y), dtype=np.float64))
        return stress_score(target.distances(0, np.arange(len(embedded))), pdist(embedded))
