"""Experiment 1: at every block and word, is the label there, and has it its geometry?

For each cell of blocks x words:

(a) the held-out SMDS score, folds grouped by date, against the same score under labels permuted
    among dates (max-T over all cells);
(b) the score when the order of the categories (months) is shuffled: a lookup table of months fits
    any order as well;
(c) leave one category out: only a geometry says where a month lies that was never fitted.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from interp.smds import LeaveOut, SMDSGrid
from interp.stats import PermutationTest, permutation_test
from studies.date_manifold.data import Dataset
from studies.date_manifold.scoring import (
    Layout,
    Read,
    Settings,
    lookup,
    score,
)


@dataclass(frozen=True)
class Detection:
    """Experiment 1 of one model."""

    layout: Layout
    """Depths and words."""
    grid: SMDSGrid
    """Scores with their nulls and controls."""
    order: PermutationTest
    """The score under the true order of categories against shuffled orders, [rows, words]."""
    left_out: PermutationTest
    """Leave-one-category-out R2 against permuted labels, [rows, words]."""
    lookup: float
    """Score of a one-hot code of the category: what a lookup table reaches."""
    lookup_left_out: float
    """Leave-one-category-out R2 of the same."""

    @property
    def survives(self) -> Bool[np.ndarray, "rows words"]:
        """Cells whose score survives correction over the grid."""
        return self.grid.test.survives()[..., 0]

    @property
    def categories(self) -> LeaveOut:
        """Leave-one-category-out results, which every detection has."""
        assert self.grid.leave_out is not None
        return self.grid.leave_out

    @property
    def kfold_r2(self) -> Float[np.ndarray, "rows words"]:
        """R2 of held-out predictions, which every detection has."""
        assert self.grid.kfold_r2 is not None
        return self.grid.kfold_r2

    def best(self, word: str) -> int:
        """The row between 25 and 75 % of the depth with the largest leave-one-category-out R2."""
        r2 = self.categories.r2[:, self.layout.words.index(word)]
        return max(self.layout.middle, key=lambda row: -np.inf if np.isnan(r2[row]) else r2[row])

    def table(self) -> pd.DataFrame:
        """One row per cell; errors, in label units, only where the geometry is a circle."""
        left, test = self.categories, self.grid.test
        columns = {
            "status": self.grid.status,
            "score": test.observed[..., 0],
            "null_mean": test.mean[..., 0],
            "null_sd": test.sd[..., 0],
            "z": test.z[..., 0],
            "p_family": test.p_family[..., 0],
            "survives": self.survives,
            "shuffled_order_mean": self.order.mean,
            "order_z": self.order.z,
            "order_p": self.order.p,
            "kfold_r2": self.kfold_r2,
            "left_out_score": left.score,
            "left_out_r2": left.r2,
            "left_out_p_family": self.left_out.p_family,
        }
        if self.grid.kfold_error is not None:
            columns |= {"kfold_error": self.grid.kfold_error, "left_out_error": left.error}
        return self.layout.table(columns)


def detect(layout: Layout, read: Read, data: Dataset, settings: Settings) -> Detection:
    """Run experiment 1 on one model's activations, read one depth at a time."""
    orders = data.shuffled_orders(settings.n_orders, seed=settings.seed)
    grid = score(
        read(),
        data,
        settings,
        controls={"order": orders},
        leave_out=data.category,
        progress=f"{layout.model}: detection",
    )
    left = grid.leave_out
    assert left is not None
    if settings.in_detection:
        # Left-out categories stay with the activations as they are: standardised by the rows that
        # remain, each would need its own Gram matrix under every permutation.
        again = score(
            read(),
            data,
            settings,
            controls={"order": orders},
            standardise=True,
            progress=f"{layout.model}: detection, standardised",
        )
        grid = replace(again, leave_out=left)
    return Detection(
        layout=layout,
        grid=grid,
        order=permutation_test(grid.score[..., 0], grid.controls["order"]),
        left_out=permutation_test(left.r2, left.null_r2),
        lookup=float(lookup(data, settings, standardise=settings.in_detection).score.item()),
        lookup_left_out=_lookup_left_out(data, settings),
    )


def _lookup_left_out(data: Dataset, settings: Settings) -> float:
    left = lookup(data, settings, leave_out=data.category).leave_out
    assert left is not None
    return float(left.r2.item())
