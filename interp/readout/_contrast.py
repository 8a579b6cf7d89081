"""Positives against negatives, as weights over texts.

A concept's mean difference is a weighted sum of texts: 1 / (number of positives) on its positives,
-1 / (number of negatives) on all other texts. Weights sum to 0, so a level that all texts share
drops out, and all that a method needs of the activations is their Gram matrix G: for weights a and
b, a G b is the inner product of the two differences. With G the identity the same formulas say what
texts with nothing in common would give, which is the null of every score that is not 0 on noise.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from interp.arrays import Arraylike, activations, indicator, labels

OK = "ok"
"""Status of a cell that is defined."""


def contrasts(
    positive: Bool[np.ndarray, "concepts texts"],
    weight: Float[np.ndarray, "*draws texts"] | None = None,
) -> Float[np.ndarray, "*draws concepts texts"]:
    """Weights whose sum over texts is mean(positives) - mean(negatives), a text counted `weight`
    times; NaN for a concept that lacks positives or negatives."""
    counted = np.ones(positive.shape[1]) if weight is None else weight
    sides = [counted[..., None, :] * side for side in (positive, ~positive)]
    with np.errstate(invalid="ignore", divide="ignore"):
        high, low = (side / side.sum(axis=-1, keepdims=True) for side in sides)
    return high - low


def taken(
    X: Arraylike, positive: Arraylike, *, ndim: int | None = 2
) -> tuple[Float[np.ndarray, "..."], Bool[np.ndarray, "concepts texts"]]:
    """Activations in their own precision and the 0/1 matrix of positives, checked by
    `check_texts`."""
    given, mask = activations(X, ndim=ndim, widen=False), indicator(positive, (None, None))
    check_texts(given, mask)
    return given, mask


def block_number(block: object) -> int:
    """A block's number, which files name it by. Raises ValueError for what is no whole number."""
    if isinstance(block, bool) or not isinstance(block, int | np.integer):
        raise ValueError(f"block {block!r}; blocks are whole numbers, from 0 after the embedding")
    return int(block)


def check_texts(
    X: Shaped[np.ndarray, "rows *features"], positive: Bool[np.ndarray, "concepts texts"]
) -> None:
    """Raises ValueError unless there is one finite row per text, and a text."""
    if not positive.size:
        raise ValueError(f"positive of shape {positive.shape}; at least 1 concept and 1 text")
    if len(X) != positive.shape[1]:
        raise ValueError(f"{len(X)} rows of activations for {positive.shape[1]} texts")
    bad = np.flatnonzero(~np.isfinite(X).reshape(len(X), -1).all(axis=1))
    if bad.size:
        raise ValueError(f"row {bad[0]} of the activations is not finite")


def check_concepts(concepts: Sequence[str], positive: Bool[np.ndarray, "c texts"]) -> None:
    """Raises ValueError unless every row of `positive` has one name that no other has."""
    if len(concepts) != len(positive):
        raise ValueError(f"{len(concepts)} concepts for {len(positive)} rows of positive")
    twice = sorted({name for name in concepts if list(concepts).count(name) > 1})
    if twice or "" in concepts:
        raise ValueError(
            f"concepts need names of their own; given more than once or empty: {twice or ['']}"
        )


def scenario_codes(
    scenario: Arraylike, positive: Bool[np.ndarray, "concepts texts"]
) -> Int[np.ndarray, " n"]:
    """Scenario of each text, 0 upwards. Raises ValueError unless each text has one, of several."""
    if len(scenario) != positive.shape[1]:
        raise ValueError(f"{len(scenario)} scenario labels for {positive.shape[1]} texts")
    names, member = np.unique(labels(scenario, name="scenario"), return_inverse=True)
    if len(names) < 3:
        raise ValueError(
            f"{len(names)} scenarios, {names.tolist()}; holding one out needs at least 3"
        )
    return member
