"""The result of a grid: cells, scored one after another, laid out by block and position."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from interp.smds.design import CellScores, Design
from interp.smds.leaveout import LeaveOut
from interp.stats import PermutationTest, permutation_test, separate_tests


@dataclass(frozen=True)
class SMDSGrid:
    """SMDS scores of blocks x positions x shapes. Undefined cells are NaN and say why."""

    blocks: tuple[str, ...]
    """Block names, in the order read."""
    shapes: tuple[str, ...]
    """Shape names."""
    status: Shaped[np.ndarray, "blocks positions"]
    """ "ok", "constant" (rows equal up to rounding), "non-finite", "ill-conditioned"
    (K + alpha I has no Cholesky factor: use a larger alpha), "degenerate fold" (a fold's
    predictions, or its labels, coincide) or "degenerate null" (so under a permutation: a score
    without a test); "constant source" and "non-finite source" where the source's map is applied."""
    score: Float[np.ndarray, "blocks positions shapes"]
    """Mean over folds of the held-out score, 1 at best; compare with `test`, never with 0."""
    fold_scores: Float[np.ndarray, "blocks positions shapes folds"]
    """Held-out score of each fold."""
    null: Float[np.ndarray, "permutations blocks positions shapes"]
    """`score` under labels permuted among groups, the same permutations in every cell."""
    test: PermutationTest
    """`score` against `null`, [blocks, positions, shapes]; max-T over each shape's own grid."""
    controls: Mapping[str, Float[np.ndarray, "repeats blocks positions"]]
    """Scores of alternative label vectors under the first shape."""
    kfold_r2: Float[np.ndarray, "blocks positions"] | None
    """R^2 of pooled K-fold predictions; None unless the first shape's coordinates are absolute (a
    circle with a period, ...) and the map is fitted by ridge regression, which keeps their
    scale."""
    kfold_error: Float[np.ndarray, "blocks positions"] | None
    """Median absolute angle error of the same predictions, in label units; None but for a circle of
    known period."""
    reuse: PermutationTest | None
    """Where a source's map is applied: cosine of its held-out predictions with the ideal
    coordinates, in the source's own frame, [blocks, positions]. Its null is of maps fitted to
    permuted labels and held to the true ones. `test` cannot say that a map is reused: a plane that
    only happens to lean towards the map's noise carries the labels through it, into any frame."""
    leave_out: LeaveOut | None
    """Leave-one-category-out results, when categories were given."""


def collect(
    names: list[str], cells: list[CellScores], design: Design, controls: dict[str, np.ndarray]
) -> SMDSGrid:
    """Lay the cells, which come block after block, out as a grid."""
    shape = (len(names), len(cells) // len(names))

    def grid(field: str, index: slice | int = slice(None)) -> np.ndarray:
        stacked = np.stack([np.asarray(getattr(cell, field))[index] for cell in cells])
        return stacked.reshape(shape + stacked.shape[1:])

    def first(values: np.ndarray) -> np.ndarray:
        return np.moveaxis(values, 2, 0)

    folds, null = grid("folds"), first(grid("null"))
    score = folds.mean(axis=-1)
    ends = np.cumsum([0] + [len(vectors) for vectors in controls.values()])
    spans = {name: slice(*ends[i : i + 2]) for i, name in enumerate(controls)}
    permutations, frame = design.n_permutations, design.frame
    left_out = None
    if design.leaves_out:
        r2 = first(grid("left_out_null"))
        left_out = LeaveOut(
            score=grid("left_out", 0),
            r2=grid("left_out", 1),
            error=grid("left_out", 2),
            null_r2=r2[:permutations],
            controls_r2={name: r2[permutations:][span] for name, span in spans.items()},
        )
    return SMDSGrid(
        blocks=tuple(names),
        shapes=tuple(target.shape.name for target in design.targets),
        status=np.array([cell.status for cell in cells]).reshape(shape),
        score=score,
        fold_scores=folds,
        null=null,
        test=separate_tests(score, null),
        controls={name: first(grid("controls", span)) for name, span in spans.items()},
        kfold_r2=None if frame is None else grid("kfold", 0),
        kfold_error=None if frame is None or frame.period is None else grid("kfold", 1),
        reuse=None
        if frame is None or design.fit.source is None
        else _reuse(first(grid("agreement"))),
        leave_out=left_out,
    )


def _reuse(agreement: np.ndarray) -> PermutationTest:
    return permutation_test(agreement[0], agreement[1:])
