"""Does a concept's direction at one place tell the classes apart at another?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int, Shaped

from interp import arrays
from interp.arrays import Arraylike, group_means
from interp.probes._direction import finite_rows, mean_difference, two_classes
from interp.probes._permutation import fold_of_rows
from interp.probes._scores import balanced_accuracy


@dataclass(frozen=True)
class Transfer:
    """Directions of several places, each applied at all of them."""

    names: tuple[str, ...]
    """Places: blocks, positions, or both."""
    accuracy: Float[np.ndarray, "source target"]
    """Balanced accuracy on held-out rows of a direction and threshold fitted at `source` on
    training folds and applied at `target`; the diagonal is each place's own."""
    cosine: Float[np.ndarray, "source target"]
    """Cosine between the directions of all rows."""

    def plot(self, title: str = "Directions of one place at others") -> go.Figure:
        """The accuracies as a heatmap, a row for each place of fitting; .5 is white."""
        from interp.plots import Axis, Scale, heatmap

        return heatmap(
            self.accuracy,
            Axis(self.names, "fitted at"),
            Axis(self.names, "applied at"),
            title=title,
            scale=Scale("balanced accuracy", 0, 1, midpoint=0.5),
        )


def transfer_matrix(
    activations: Mapping[str, Arraylike],
    y: Arraylike,
    *,
    groups: Arraylike,
    n_splits: int = 5,
    seed: int = 42,
) -> Transfer:
    """Fit the difference of two class means at each place and apply it at every place.

    The same rows stand at all places: their activations [n, d] in one block, or at one position.
    Each place is centred by its own training mean, so that a direction is not judged by how far
    apart two places lie. Scales may differ: a threshold carries over with them, so that accuracy
    off the diagonal is about the boundary, `cosine` about the direction alone.

    Raises ValueError for places that differ in shape, and as `interp.probes.concept_direction`.
    """
    names = tuple(activations)
    given = {name: finite_rows(array) for name, array in activations.items()}
    shapes = {name: array.shape for name, array in given.items()}
    if len(set(shapes.values())) != 1:
        raise ValueError(f"places must be of one shape [n, d]; they are {shapes}")
    places = np.stack(list(given.values()))
    _, codes = two_classes(arrays.labels(y, places.shape[1]))
    groups = arrays.groups(groups, len(codes))
    fold = fold_of_rows(codes, groups, stratify=True, n_splits=n_splits, seed=seed)
    predicted = np.empty((len(names), len(names), len(codes)), dtype=int)
    for held_out in np.unique(fold):
        train, test = np.flatnonzero(fold != held_out), np.flatnonzero(fold == held_out)
        centred = places - places[:, train].mean(axis=1, keepdims=True)
        direction, threshold = _fitted(centred[:, train], codes[train])
        along = np.einsum("sd,tnd->stn", direction, centred[:, test])
        predicted[..., test] = along > threshold[:, None, None]
    everything = np.arange(len(codes))
    direction, _ = _fitted(places, codes)
    return Transfer(
        names=names,
        accuracy=np.array(
            [[balanced_accuracy(codes, cell, 2)(everything) for cell in row] for row in predicted]
        ),
        cosine=direction @ direction.T,
    )


def unit_means(
    activations: Float[np.ndarray, "n d"],
    cells: Mapping[str, Int[np.ndarray, " _"]],
    units: Shaped[np.ndarray, " n"],
) -> tuple[dict[str, Float[np.ndarray, "units d"]], Int[np.ndarray, " units"]]:
    """Mean of each cell's rows in every unit that all cells have, and the first row of each unit.

    Cells have different rows, such as tokens of different roles; their means per unit, such as a
    turn, can be compared by `transfer_matrix`.
    """
    shared = set.intersection(*(set(units[rows].tolist()) for rows in cells.values()))
    common = np.array(sorted(shared), dtype=units.dtype)
    means = {}
    for name, rows in cells.items():
        inside = rows[np.isin(units[rows], common)]
        means[name] = group_means(activations[inside], np.searchsorted(common, units[inside]))
    names, first = np.unique(units, return_index=True)
    return means, first[np.isin(names, common)]


def _fitted(places: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Direction [places, d] and threshold [places] of each place [places, n, d]."""
    each = [mean_difference(rows, codes[None]) for rows in places]
    return np.concatenate([one[0] for one in each]), np.concatenate([one[1] for one in each])
