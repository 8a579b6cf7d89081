"""Probes fitted under one condition and scored under another, in groups that were never fitted.

1. Each group is left out in turn. A probe is fitted on the other groups' rows of the first
   condition, features standardised by those rows.
2. It is scored on the group's own rows of the second condition. What a probe learnt of the first
   condition alone does not help it there.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Shaped

from interp.probes._logistic import fit_logistic
from interp.probes._scores import balanced_accuracy


def across_conditions(
    rows: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    second: Bool[np.ndarray, " n"],
    *,
    n_classes: int,
    C: float | int = 1.0,
) -> Float[np.ndarray, " group"] | None:
    """Balanced accuracy of each group, sorted by name, across two conditions.

    Args:
        rows: Activations.
        labels: Class of each row, from 0.
        groups: Exchangeable unit of each row, such as its transcript.
        second: Whether a row is of the condition that is scored; the others are fitted.
        n_classes: Number of classes.
        C: Inverse strength of the L2 penalty.

    Returns:
        One score a group, or None where some group's fit or score lacks a class.
    """
    scores = []
    for name in np.unique(groups):
        train, test = (groups != name) & ~second, (groups == name) & second
        if min(len(set(labels[part])) for part in (train, test)) < n_classes:
            return None
        parts = np.flatnonzero(train), np.flatnonzero(test)
        scores.append(heldout_accuracy(rows, labels, *parts, n_classes=n_classes, C=C))
    return np.array(scores)


def heldout_accuracy(
    rows: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    train: Integer[np.ndarray, " _"],
    test: Integer[np.ndarray, " _"],
    *,
    n_classes: int,
    C: float | int = 1.0,
) -> float:
    """Balanced accuracy on test rows of a logistic probe of standardised training rows.

    Raises:
        ValueError: the training rows lack a class.
    """
    fitted = rows[train].astype(np.float64)
    spread = fitted.std(axis=0)
    spread[spread == 0] = 1.0
    standard = (rows - fitted.mean(axis=0)) / spread
    probe = fit_logistic(standard[train], labels[train][None], n_classes, C=C)
    decisions = probe.decisions(standard[test])[0]
    two = decisions.shape[1] == 1
    predicted = (decisions[:, 0] > 0).astype(int) if two else decisions.argmax(axis=1)
    return balanced_accuracy(labels[test], predicted, n_classes)(np.arange(len(test)))
