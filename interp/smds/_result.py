"""The result of a grid: cells, scored one after another, laid out by block and position."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from interp.smds._design import CellScores, Design
from interp.smds._leaveout import LeaveOut
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

    @cached_property
    def against(self) -> Mapping[str, PermutationTest]:
        """By control, the score of the true labels among those of the control's, [blocks,
        positions]."""
        return {
            name: permutation_test(self.score[..., 0], scores)
            for name, scores in self.controls.items()
        }

    def survives(self, level: float = 0.05) -> Bool[np.ndarray, "blocks positions"]:
        """Cells whose score under the first shape survives correction over the grid.

        Raises:
            ValueError: `level` is below the floor of this many permutations.
        """
        return self.test.survives(level)[..., 0]

    def best(self, position: int, among: Sequence[int]) -> int:
        """The block, by number, at which left-out categories of a position are predicted best.

        Args:
            position: Number of the position.
            among: Numbers of the blocks to choose from.

        Raises:
            ValueError: no categories were left out.
        """
        if self.leave_out is None:
            raise ValueError("no categories were left out; give smds_grid(leave_out=...)")
        r2 = self.leave_out.r2[:, position]
        return max(among, key=lambda block: -np.inf if np.isnan(r2[block]) else r2[block])

    def in_words(self, block: int, position: int) -> str:
        """The score of a cell under the first shape against its null, with the family-wise p."""
        cell, test = (block, position, 0), self.test
        return (
            f"score {test.observed[cell]:.3f} against {test.mean[cell]:.3f} "
            f"(sd {test.sd[cell]:.4f}) under permuted labels; family-wise p "
            f"{test.p_family[cell]:.3f}"
        )

    def table(
        self, positions: Sequence[str], *, depths: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """One row per block and position under the first shape, blocks in reading order.

        Columns are status, score and its null, then what the grid has of: each control's mean, z
        and p; K-fold R2 and error; leave-one-category-out score, R2, error and p; agreement of a
        source's map. Errors are in units of the label; cells survive at .05.

        Args:
            positions: Names of the positions.
            depths: Names of the blocks; by default the blocks' own.

        Raises:
            ValueError: names of another number than positions or blocks.
        """
        names = self.blocks if depths is None else depths
        if (len(names), len(positions)) != self.status.shape:
            raise ValueError(
                f"{len(names)} depths and {len(positions)} positions are no names for a grid of "
                f"{self.status.shape}"
            )
        test = {
            "score": self.test.observed,
            "null_mean": self.test.mean,
            "null_sd": self.test.sd,
            "z": self.test.z,
            "p_family": self.test.p_family,
        }
        columns = {
            "depth": np.array(names)[:, None],
            "position": np.array(positions),
            "status": self.status,
            **{name: values[..., 0] for name, values in test.items()},
            "survives": self.test.p_family[..., 0] <= 0.05,
            **self._further_columns(),
        }
        return pd.DataFrame(
            {
                name: np.broadcast_to(values, self.status.shape).ravel()
                for name, values in columns.items()
                if values is not None
            }
        )

    def peaks(
        self, positions: Sequence[str], *, depths: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """One row of `table` for each position, where its score is highest, with the number of
        blocks that `survive` and that are `defined`. A position without a score has its first
        block's row.

        Raises:
            ValueError: as `table` does.
        """
        table = self.table(positions, depths=depths)
        score = np.where(np.isnan(self.score[..., 0]), -np.inf, self.score[..., 0])
        rows = score.argmax(axis=0) * len(positions) + np.arange(len(positions))
        return table.iloc[rows].assign(
            survive=self.survives().sum(axis=0), defined=(self.status == "ok").sum(axis=0)
        )

    def _further_columns(self) -> dict[str, np.ndarray | None]:
        columns: dict[str, np.ndarray | None] = {}
        for name, test in self.against.items():
            columns |= {f"{name}_mean": test.mean, f"{name}_z": test.z, f"{name}_p": test.p}
        columns |= {"kfold_r2": self.kfold_r2, "kfold_error": self.kfold_error}
        if self.leave_out is not None:
            left = self.leave_out
            columns |= {
                "left_out_score": left.score,
                "left_out_r2": left.r2,
                "left_out_error": None if self.kfold_error is None else left.error,
                "left_out_p_family": left.test.p_family,
            }
        if self.reuse is not None:
            columns |= {
                "agreement": self.reuse.observed,
                "agreement_null_sd": self.reuse.sd,
                "agreement_z": self.reuse.z,
                "agreement_p_family": self.reuse.p_family,
                "reused": self.reuse.p_family <= 0.05,
            }
        return columns


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
