"""Concept direction: the unit difference of two class means, judged on rows it was not made from.

The direction and its threshold, midway between the projected class means, come from training rows
alone. A threshold at the median of the scored rows would read off how many of them belong to each
class, which is part of the answer. Difference of means as a concept's direction: Rimsky et al. 2024
("Steering Llama 2 via contrastive activation addition"); Marks & Tegmark 2024 ("The geometry of
truth").
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, Shaped

from interp import arrays
from interp.arrays import Arraylike
from interp.probes._permutation import fold_of_rows, permuted_labels
from interp.probes._scores import HeldOutClasses
from interp.stats import (
    PermutationTest,
    group_weights,
    permutation_test,
    refit_interval,
)


@dataclass(frozen=True)
class Direction:
    """A concept direction and what it tells about held-out rows."""

    classes: tuple[Any, Any]
    """The two labels, sorted; the direction points from the first to the second."""
    direction: Float[np.ndarray, " d"]
    """Unit difference of the class means of all rows."""
    threshold: float
    """Midpoint of the projected class means of all rows."""
    accuracy: float
    """Balanced accuracy on held-out rows, direction and threshold from the training folds."""
    interval: tuple[float, float]
    """Interval of `accuracy` over groups, direction and threshold made anew in every draw."""
    auroc: float
    """Held-out area under the ROC curve, within folds, averaged by pairs."""
    test: PermutationTest
    """`accuracy` under permuted labels, as in `interp.probes.probe_grid`; one cell, [1]."""
    stability: float
    """Mean cosine between the training folds' directions; they share most of their rows."""

    def apply(self, activations: Arraylike) -> Float[np.ndarray, " n"]:
        """How far rows [n, d] lie past the threshold, towards the second class. Raises ValueError
        for rows of another width."""
        rows = finite_rows(activations)
        if rows.shape[1] != len(self.direction):
            raise ValueError(
                f"rows have width {rows.shape[1]}, the direction {len(self.direction)}"
            )
        return rows @ self.direction - self.threshold

    def predict(self, activations: Arraylike) -> Shaped[np.ndarray, " n"]:
        """Class of each row [n, d]; raises as `apply`."""
        return np.asarray(self.classes)[(self.apply(activations) > 0).astype(int)]


def concept_direction(
    activations: Arraylike,
    y: Arraylike,
    *,
    groups: Arraylike,
    units: Arraylike | None = None,
    n_splits: int = 5,
    seed: int = 42,
    n_permutations: int = 200,
    n_boot: int = 200,
    level: float = 0.95,
) -> Direction:
    """The direction that separates two classes of rows; options as in `interp.probes.probe_grid`.

    Raises ValueError unless y holds two classes, for activations that are not finite, classes with
    one mean, a fold whose training rows lack a class, fewer groups than folds, a unit with two
    labels, labels that no permutation changes, and too few groups for an interval.
    """
    rows = finite_rows(activations)
    classes, codes = two_classes(arrays.labels(y, len(rows)))
    groups = arrays.groups(groups, len(rows))
    exchanged = groups if units is None else arrays.groups(units, len(rows), name="units")
    fold = fold_of_rows(codes, groups, stratify=True, n_splits=n_splits, seed=seed)
    permuted = permuted_labels(
        codes,
        groups=groups,
        units=exchanged,
        fold=fold,
        stratified=True,
        n_permutations=n_permutations,
        rng=np.random.default_rng(seed),
    )
    margins, directions = _heldout_margins(rows, np.concatenate([codes[None], permuted]), fold)
    truth, *null = [
        HeldOutClasses(labels, margin[:, None], np.zeros(len(codes)), fold, 2)
        for labels, margin in zip([codes, *permuted], margins, strict=True)
    ]
    everything = np.arange(len(codes))
    accuracy = truth.score()(everything)
    weights = group_weights(groups, n_boot, np.random.default_rng(seed))
    direction, threshold = mean_difference(rows, codes[None])
    cosines = (directions @ directions.T)[np.triu_indices(len(directions), 1)]
    return Direction(
        classes=classes,
        direction=direction[0],
        threshold=float(threshold[0]),
        accuracy=accuracy,
        interval=refit_interval(
            accuracy,
            _drawn_accuracies(rows, codes, fold, weights),
            len(np.unique(groups)),
            level=level,
            bounds=(0.0, 1.0),
        ),
        auroc=truth.ordering()(everything),
        test=permutation_test(
            np.array([accuracy]), np.array([[labels.score()(everything)] for labels in null])
        ),
        stability=float(cosines.mean()),
    )


def mean_difference(
    rows: Float[np.ndarray, "n d"], labels: Integer[np.ndarray, "vectors n"]
) -> tuple[Float[np.ndarray, "vectors d"], Float[np.ndarray, " vectors"]]:
    """Unit differences of class means, and the midpoints of the means along them.

    Raises ValueError when the first label vector lacks a class or its two means coincide; later
    ones, the permutations, are then NaN.
    """
    counts = [(labels == k).sum(axis=1, keepdims=True) for k in (0, 1)]
    if not counts[0][0] * counts[1][0]:
        raise ValueError("a fold's training rows lack a class; use fewer folds or more groups")
    with np.errstate(invalid="ignore"):
        low, high = ((labels == k) @ rows / counts[k] for k in (0, 1))
    gap = high - low
    length = np.linalg.norm(gap, axis=1, keepdims=True)
    if length[0] == 0:
        raise ValueError("the two class means coincide: there is no direction between them")
    with np.errstate(invalid="ignore"):
        direction = gap / length
    return direction, ((low + high) / 2 * direction).sum(axis=1)


def means_coincide(rows: Float[np.ndarray, "n d"], labels: Integer[np.ndarray, " n"]) -> bool:
    """Whether two classes have one mean, so that there is no direction between them.

    Embeddings have, where every word is given to both classes equally often.
    """
    low, high = (rows[labels == name].mean(axis=0) for name in np.unique(labels))
    # float32 means of some thousand rows differ by rounding of this size
    return bool(np.abs(low - high).max() <= 1e-5 * np.abs(rows).max())


def two_classes(
    y: Shaped[np.ndarray, " n"],
) -> tuple[tuple[Any, Any], Integer[np.ndarray, " n"]]:
    """The sorted labels and the rows' codes 0 and 1. Raises ValueError unless there are two."""
    names, codes = np.unique(y, return_inverse=True)
    if len(names) != 2:
        raise ValueError(f"y holds {len(names)} classes, {names.tolist()[:5]}; a direction needs 2")
    return tuple(names.tolist()), codes


def finite_rows(activations: Arraylike) -> Float[np.ndarray, "n d"]:
    """Activations in float64. Raises ValueError as `interp.arrays.activations`, and where they are
    not finite."""
    rows = arrays.activations(activations).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise ValueError(f"row {bad[0]} of the activations is not finite")
    return rows


def _drawn_accuracies(
    rows: np.ndarray, codes: np.ndarray, fold: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Balanced accuracy [draws] of directions and thresholds made and counted with weights."""
    right, total = np.zeros((2, len(weights))), np.zeros((2, len(weights)))
    for held_out in np.unique(fold):
        train, test = fold != held_out, fold == held_out
        means = []
        for k in (0, 1):
            each = weights[:, train] * (codes[train] == k)
            means.append(each @ rows[train] / each.sum(axis=1, keepdims=True))
        gap, middle = means[1] - means[0], (means[0] + means[1]) / 2
        predicted = gap @ rows[test].T > (middle * gap).sum(axis=1, keepdims=True)
        for k in (0, 1):
            each = weights[:, test] * (codes[test] == k)
            right[k] += (each * (predicted == k)).sum(axis=1)
            total[k] += each.sum(axis=1)
    return (right / total).mean(axis=0)


def _heldout_margins(
    rows: np.ndarray, labels: np.ndarray, fold: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Held-out distances past the threshold [vectors, n], and the true labels' directions."""
    margins, directions = np.empty(labels.shape), []
    for held_out in np.unique(fold):
        train, test = np.flatnonzero(fold != held_out), np.flatnonzero(fold == held_out)
        direction, threshold = mean_difference(rows[train], labels[:, train])
        margins[:, test] = direction @ rows[test].T - threshold[:, None]
        directions.append(direction[0])
    return margins, np.array(directions)
