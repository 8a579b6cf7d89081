"""What all cells of a grid share: folds, targets laid out as columns, and the way of fitting."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp.smds._targets import Folds, Targets


@dataclass(frozen=True)
class Fit:
    """How a cell's map from activations to ideal coordinates is fitted.

    Raises ValueError for an alpha that is not positive.
    """

    alpha: float | int = 1.0
    """Ridge penalty (the published package: 0.1 up to version 1.6.5, 1.0 since); no part in an
    orthonormal map."""
    standardise: bool = False
    """Every feature is divided by its standard deviation over the training rows."""
    orthonormal: bool = False
    """A projection with orthonormal rows (Procrustes) in place of ridge regression."""
    source: int | None = None
    """Position at which every map is fitted, on training rows, to be applied to the test rows of
    all positions, each centred and scaled by its own training rows. None lets each position fit its
    own."""

    def __post_init__(self) -> None:
        if not (self.alpha > 0 or self.orthonormal):
            raise ValueError(
                f"alpha={self.alpha} must be positive; SupervisedMDS alone offers alpha=0"
            )

    @property
    def shares_gram(self) -> bool:
        """Whether one Gram matrix of a cell serves all folds."""
        return not (self.standardise or self.orthonormal or self.source is not None)


@dataclass(frozen=True)
class Frame:
    """Coordinates that no fold rescales, so held-out predictions of all folds can be pooled."""

    coordinates: Float[np.ndarray, "n vectors k"]
    """Ideal coordinates of each label vector."""
    period: float | None
    """Length of the circle in label units; None where the shape is no circle."""
    blocks: list[list[np.ndarray]] | None
    """Rows of each category left out in turn, for the true labels (whose blocks the controls share)
    and for each permutation; None without leave_out."""


@dataclass(frozen=True)
class Design:
    """All that a grid's cells share."""

    folds: Folds
    """(train, test) rows."""
    targets: Sequence[Targets]
    """One per shape; the first holds the controls after the permutations."""
    columns: Sequence[np.ndarray]
    """Per fold [train, columns]: the training coordinates of shapes and label vectors abreast."""
    slices: Sequence[tuple[slice, int]]
    """Per shape its columns and their number of dimensions."""
    n_permutations: int
    """Label vectors 1 .. n_permutations of every shape are permutations of vector 0."""
    fit: Fit
    """How maps are fitted."""
    frame: Frame | None
    """Set when the first shape's coordinates are absolute and the map keeps their scale."""

    @property
    def leaves_out(self) -> bool:
        """Whether categories are left out in turn."""
        return self.frame is not None and self.frame.blocks is not None


@dataclass
class CellScores:
    """Results of one cell; NaN until filled, and for good when `status` is not "ok"."""

    status: str
    """"ok", or why there is no score."""
    folds: np.ndarray
    """[shapes, folds]"""
    null: np.ndarray
    """[permutations, shapes]"""
    controls: np.ndarray
    """[control vectors], first shape."""
    kfold: np.ndarray
    """Pooled K-fold (R^2, median angle error); no angle without a circle."""
    agreement: np.ndarray
    """[true and permuted maps]: cosine of a source's predictions with the true coordinates."""
    left_out: np.ndarray
    """Leave-one-category-out (score, R^2, median angle error)."""
    left_out_null: np.ndarray
    """R^2 of [permutations, then control vectors]."""


def build_design(
    targets: Sequence[Targets],
    folds: Folds,
    *,
    n_permutations: int,
    fit: Fit,
    frame: Frame | None,
) -> Design:
    """Training coordinates of every shape, label vector and fold, laid out as columns."""
    tables: list[np.ndarray] = []
    slices: list[tuple[slice, int]] = []
    for train, _ in folds:
        parts = [
            np.concatenate(
                [target.coordinates(vector, train) for vector in range(len(target.labels))], axis=1
            )
            for target in targets
        ]
        ends = np.cumsum([0] + [part.shape[1] for part in parts]).tolist()
        slices = [
            (slice(low, high), (high - low) // len(target.labels))
            for low, high, target in zip(ends[:-1], ends[1:], targets, strict=True)
        ]
        tables.append(np.concatenate(parts, axis=1))
    return Design(folds, targets, tables, slices, n_permutations, fit, frame)


def empty_scores(design: Design, status: str) -> CellScores:
    """All-NaN scores under `status`."""
    shapes = len(design.targets)
    controls = len(design.targets[0].labels) - design.n_permutations - 1
    return CellScores(
        status=status,
        folds=np.full((shapes, len(design.folds)), np.nan),
        null=np.full((design.n_permutations, shapes), np.nan),
        controls=np.full(controls, np.nan),
        kfold=np.full(2, np.nan),
        agreement=np.full(1 + design.n_permutations, np.nan),
        left_out=np.full(3, np.nan),
        left_out_null=np.full(design.n_permutations + controls, np.nan),
    )
