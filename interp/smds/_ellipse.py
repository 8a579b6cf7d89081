"""How round is the ring of category means, beyond what a table of them would give by itself?

Twelve unrelated directions regressed on cosine and sine are round: that is concentration of
measure, not geometry. So the level that a table reaches in *any* plane is taken off first.

1. G is the Gram matrix of K category means, F the circle's frame, N the K - 3 dimensions that are
   neither constant nor in F. tau = tr(N'GN) / (K - 3) is the level of table and noise.
2. With l1 >= l2 the eigenvalues of F'GF, the axis ratio is sqrt((l2 - tau) / (l1 - tau)), both cut
   at 0: a table has l1 = l2 = tau and ratio 0, not 1.
3. Lower limit: a random orthonormal pair W of N's dimensions is added to F, which brings the
   table's scatter in once more, and 2 tau is taken off (400 draws, their lower quantile).

Lengths are in units of the spread within categories, as in `category_gram`: a ring that
is round in raw activations need not be in those. A circle's lesser axis is the lesser one, so the
ratio is at most 1 by construction, and only a lower limit says anything. The twelve months are all
months; it is about table and noise.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from interp.smds._category_gram import category_gram
from interp.smds._orders import circle_frame


@dataclass(frozen=True)
class Ellipse:
    """Axis ratio of the ring, minor over major."""

    ratio: float
    """1 for a circle, 0 for a line or where nothing stands out of the table."""
    lower: float
    """What the ratio is at least, at the level's confidence."""


def ellipse(
    gram: Float[np.ndarray, "category category"],
    *,
    n_draws: int = 400,
    level: float = 0.95,
    seed: int = 0,
) -> Ellipse:
    """The ring's axis ratio with its lower limit.

    Raises:
        ValueError: fewer than five categories leave no dimension to tell the table's level from.
    """
    n_categories = len(gram)
    if n_categories < 5:
        raise ValueError(f"{n_categories} categories; the level of a table needs 5")
    frame = circle_frame(n_categories)
    taken = np.column_stack([np.ones(n_categories) / np.sqrt(n_categories), frame])
    rest = np.linalg.svd(np.eye(n_categories) - taken @ taken.T)[0][:, : n_categories - 3]
    table = float(np.trace(rest.T @ gram @ rest) / (n_categories - 3))
    ratio = _ratios(np.linalg.eigvalsh(frame.T @ gram @ frame)[None], table)[0]
    rng = np.random.default_rng(seed)
    draws = np.linalg.qr(rng.normal(size=(n_draws, n_categories - 3, 2)))[0]
    moved = frame + rest @ draws
    axes = np.linalg.eigvalsh(moved.swapaxes(1, 2) @ gram @ moved)
    lower = np.quantile(_ratios(axes, 2 * table), 1 - level)
    return Ellipse(float(ratio), float(lower))


@dataclass(frozen=True)
class Roundness:
    """Axis ratios of the rings of some positions at every depth."""

    positions: tuple[str, ...]
    """Names of the positions."""
    ratio: Float[np.ndarray, "depths positions"]
    """1 for a circle, 0 for a line or where nothing stands out of the table."""
    lower: Float[np.ndarray, "depths positions"]
    """What the ratio is at least, at 95 %."""

    def table(self, depths: Sequence[str]) -> pd.DataFrame:
        """One row per position and depth, position after position."""
        index = pd.MultiIndex.from_product([self.positions, depths], names=["position", "depth"])
        columns = {"ratio": self.ratio.T.ravel(), "at_least": self.lower.T.ravel()}
        return pd.DataFrame(columns, index=index).reset_index()


def roundness(
    cells: Iterable[Float[np.ndarray, "positions n d"]],
    category: Int[np.ndarray, " n"],
    *,
    positions: Sequence[str],
    n_categories: int,
    seed: int = 0,
) -> Roundness:
    """How round the ring of category means is at every depth and position (`ellipse`).

    Args:
        cells: Activations of the positions, one depth after another.
        category: Category of each row, 0 to `n_categories` - 1; each has a row.
        positions: Names of the positions.
        n_categories: Number of categories, five or more.
        seed: Of the limits' draws, the same for every cell.

    Raises:
        ValueError: a category without a row, or fewer than five categories.
    """
    rings = [
        [ellipse(category_gram(X, category, n_categories).distances, seed=seed) for X in depth]
        for depth in cells
    ]
    return Roundness(
        tuple(positions),
        np.array([[ring.ratio for ring in depth] for depth in rings]),
        np.array([[ring.lower for ring in depth] for depth in rings]),
    )


def _ratios(axes: Float[np.ndarray, "draw 2"], table: float) -> Float[np.ndarray, " draw"]:
    minor, major = (axes - table).clip(min=0).T
    return np.sqrt(np.divide(minor, major, out=np.zeros_like(major), where=major > 0))
