"""What a shape asks of every label vector and fold, computed once for a whole grid.

Nothing here depends on activations. A *label vector* is the true labels, one of their permutations
or a control. Shapes with coordinates are rescaled on each fold's own labels, as the published code
does; shapes known by distances take them once between all distinct labels, so that a permutation
is an index into one table and a held-out pair's distance does not depend on who else is held out.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped
from scipy.spatial.distance import pdist

from interp.smds._pairs import RingPairs, sums_of_squares
from interp.smds._scaling import classical_mds, complete_distances, share_held, spanned
from interp.smds._shapes import Shape, check_labels

HELD = 0.5
"""Share of a shape's squared distances that its dimensions must hold for it to be a hypothesis."""

Folds = Sequence[tuple[np.ndarray, np.ndarray]]
"""(train, test) row numbers of each fold."""


def principal_coordinates(
    points: Float[np.ndarray, "n k"], n_components: int
) -> Float[np.ndarray, "n components"]:
    """Classical scaling of points that are already Euclidean: their leading principal axes."""
    centred = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    return centred @ axes[:n_components].T


class Targets:
    """Training coordinates and test distances of one shape for V label vectors.

    Raises ValueError (from `check_labels`) when the shape cannot take the labels.
    """

    def __init__(self, shape: Shape, labels: Shaped[np.ndarray, "vectors n *columns"]) -> None:
        flat = labels.reshape(-1, *labels.shape[2:])
        self.shape = shape
        self.labels = check_labels(flat, shape).reshape(labels.shape)
        """Label vectors [V, n] or [V, n, columns]."""
        if shape.distances is not None:
            values, which = np.unique(flat, axis=0, return_inverse=True)
            self._table = shape.distances(check_labels(values, shape))
            self._complete = complete_distances(self._table)
            self._components = shape.n_components or spanned(self._complete)
            held = share_held(self._complete, self._components)
            if held < HELD:
                warnings.warn(
                    f"{self._components} dimensions hold {held:.0%} of the distances of shape "
                    f"{shape.name!r}, which span {spanned(self._complete)}: the shape cannot win. "
                    "Give n_components=None for as many as it needs",
                    stacklevel=2,
                )
            self._which = which.reshape(labels.shape[:2])

    @property
    def absolute(self) -> bool:
        """Whether coordinates are exact and the same whatever other rows are there."""
        shape = self.shape
        if shape.coordinates is None or not shape.absolute:
            return False
        # Fewer components are principal axes, which depend on the rows.
        return shape.n_components in (None, shape.coordinates(self.labels[0, :1]).shape[1])

    def coordinates(self, vector: int, rows: np.ndarray) -> np.ndarray:
        """Coordinates [rows, k] that a fit on `rows` is asked to predict."""
        if self.shape.coordinates is None:
            return classical_mds(self._complete, self._which[vector, rows], self._components)
        points = self.shape.coordinates(self.labels[vector, rows])
        wanted = self.shape.n_components
        if wanted is None or wanted >= points.shape[1]:
            # Exact as they are: ridge with a free intercept does not see rotation or shift.
            return points
        return principal_coordinates(points, wanted)

    def distances(self, vector: int, rows: np.ndarray) -> np.ndarray:
        """Ideal distances of `rows` in float64, condensed; negative for pairs left out."""
        if self.shape.coordinates is not None:
            return pdist(self.shape.coordinates(self.labels[vector, rows]))
        which = self._which[vector, rows]
        first, second = np.triu_indices(len(rows), 1)
        return self._table[which[first], which[second]]

    def table(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances between distinct labels and, [V, rows], which label each row carries."""
        return self._table, self._which[:, rows]

    def ring_distances(
        self, vector: int, rows: np.ndarray, pairs: RingPairs
    ) -> tuple[np.ndarray, float, np.ndarray | None]:
        """Distances [pairs] in ring order with pairs left out set to 0, their sum of squares, their
        mask.

        The mask (1 for a pair that counts) is None when all pairs count.
        """
        if self.shape.coordinates is not None:
            points = self.shape.coordinates(self.labels[vector, rows])
            return (
                pairs.distances(points - points.mean(axis=0)).copy(),
                float(sums_of_squares(points[:, None])[0]),
                None,
            )
        which = self._which[vector, rows]
        ideal = self._table[which[pairs.first], which[pairs.second]].astype(np.float32)
        mask = None
        if ideal.min() < 0:
            mask = (ideal >= 0).astype(np.float32)
            ideal *= mask
        return ideal, float(ideal @ ideal), mask
