"""Rotation onto the rows of a matrix: few rows of many features as few features, nothing lost."""

from typing import Any

import numpy as np
from scipy.linalg import eigh
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data


class RowSpace(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Coordinates on an orthonormal basis of the space that the training rows span.

    A linear model with an L2 penalty never leaves that space: a weight orthogonal to every training
    row costs penalty and changes no training prediction. Distances and inner products within it are
    kept, so such a model makes the same predictions from r <= min(n, d) coordinates as from d
    features, for d / r of the work (the representer theorem; Hastie & Tibshirani 2004, "Efficient
    quadratic regularization for expression arrays"). Rows are not centred: a free intercept is the
    model's own. Scale features before the rotation, not after.

    Attributes
    ----------
    components_ : the basis, [r, d], by falling variance about the origin.
    """

    def fit(self, X: Any, y: Any = None) -> "RowSpace":  # noqa: ARG002
        """Find the basis of rows X [n, d] from the smaller of the two Gram matrices."""
        X = validate_data(self, X, dtype=np.float64)
        wide = len(X) < X.shape[1]
        power, vectors = eigh(X @ X.T if wide else X.T @ X)
        # Below this an eigenvalue is the Gram's own rounding, so that its direction is noise. It
        # is a feature 1e-7 as large as the largest, within the rounding of float32 activations.
        kept = np.flatnonzero(power > len(power) * np.finfo(float).eps * power[-1])[::-1]
        if wide:
            self.components_ = (vectors[:, kept] / np.sqrt(power[kept])).T @ X
        else:
            self.components_ = vectors[:, kept].T
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Coordinates [n, r] of rows X [n, d]."""
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float64, reset=False) @ self.components_.T

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)
