"""The result of a grid of probes."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Bool, Float, Int, Shaped

from interp.probes._cells import ProbeScores
from interp.probes._design import Cell, ProbeDesign
from interp.stats import PermutationTest, permutation_test


@dataclass(frozen=True)
class ProbeGrid:
    """Linear probes of blocks x cells. Undefined cells are NaN and say why."""

    blocks: tuple[str, ...]
    """Block names, in the order read."""
    cells: tuple[str, ...]
    """Cell names, such as position roles."""
    kind: Literal["classes", "numbers"]
    """What was probed for."""
    chance: float
    """Score of a probe that ignores its input: 1 / classes, or an R^2 of 0."""
    status: Shaped[np.ndarray, "blocks cells"]
    """ "ok", "too few rows" (fewer than four), "non-finite", "constant" (rows equal up to
    rounding), "one class", "constant labels", "a fold lacks a class" (its training rows do), "one
    fold" (holds all rows of the cell), "not converged" (use a smaller C, or standardise) or
    "degenerate null" (a fold lacks a class under a permutation: scores without a test)."""
    score: Float[np.ndarray, "blocks cells"]
    """Balanced accuracy over all held-out rows; R^2 about the training means for numbers."""
    interval: Float[np.ndarray, "blocks cells 2"]
    """Bootstrap interval of `score` over groups; NaN where resamples too often lack a class."""
    fold_scores: Float[np.ndarray, "blocks cells folds"]
    """`score` of each fold; NaN where it holds one class, or no row of the cell."""
    auroc: Float[np.ndarray, "blocks cells"]
    """Area under the ROC curve within folds, averaged by pairs; one class against the rest and mean
    over classes where there are several. For numbers: Spearman's rank correlation within folds."""
    auroc_interval: Float[np.ndarray, "blocks cells 2"]
    """Bootstrap interval of `auroc` over groups."""
    null: Float[np.ndarray, "permutations blocks cells"]
    """`score` under permuted labels, the same permutations in every cell."""
    test: PermutationTest
    """`score` against `null`; max-T over the grid."""
    auroc_test: PermutationTest
    """`auroc` against its own null from the same permutations; max-T over the grid."""
    majority: Float[np.ndarray, " cells"] | None
    """Plain accuracy of always answering a cell's commonest class; None for numbers."""
    surface: Float[np.ndarray, " cells"] | None
    """`score` of the same probe on the surface activations; None where none were given."""
    surface_status: Shaped[np.ndarray, " cells"] | None
    """Status of the surface probe: "constant" says that a cell's surface tells nothing."""
    control: Float[np.ndarray, "blocks cells"] | None
    """Mean score on labels drawn at random per token type; None where no types were given."""
    selectivity: Float[np.ndarray, "blocks cells"] | None
    """`score` - `control`: what is not explained by remembering a label for each type."""
    leaky: Float[np.ndarray, "blocks cells"]
    """`score` had folds ignored groups: what would have been claimed from shuffled rows."""
    rows: Int[np.ndarray, " cells"]
    """Rows used of each cell."""
    rows_given: Int[np.ndarray, " cells"]
    """Rows of each cell before sampling."""

    def best(self) -> tuple[int, int]:
        """Block and cell whose score stands out most from its null. Raises ValueError where none
        has a test."""
        block, cell = self.test.best()
        return block, cell

    def highest(self, *, without: Collection[str] = ()) -> tuple[int, int]:
        """Block and cell of the highest score, by number, among the cells not named in `without`.

        Raises:
            ValueError: no cell is left.
        """
        columns = [number for number, name in enumerate(self.cells) if name not in without]
        if not columns:
            raise ValueError(f"without {', '.join(without)} no cell is left of {self.cells}")
        scores = np.where(np.isnan(self.score), -np.inf, self.score)[:, columns]
        block, column = np.unravel_index(scores.argmax(), scores.shape)
        return int(block), columns[int(column)]

    def where(self, cell: tuple[int, int]) -> str:
        """A block and a cell, given by number, in words."""
        return f"{self.blocks[cell[0]]}, {self.cells[cell[1]]}"

    def survives(self, level: float = 0.05) -> Bool[np.ndarray, "blocks cells"]:
        """Cells whose score survives correction over the grid (max-T)."""
        return self.test.survives(level)

    def plot(self, title: str = "Held-out score of linear probes") -> go.Figure:
        """The scores as a heatmap of blocks by cells, surviving cells dotted."""
        from interp.plots import Scale, probe_map

        label = "balanced accuracy" if self.kind == "classes" else "R2"
        return probe_map(
            self,
            self.score,
            title=title,
            scale=Scale(label, reference={"chance": self.chance}),
            survivors=self.survives() if self.test.floor <= 0.05 else None,
        )

    def table(self) -> pd.DataFrame:
        """One row per block and cell, blocks in reading order."""
        order = "auroc" if self.kind == "classes" else "rank_correlation"
        columns = {
            "block": np.array(self.blocks)[:, None],
            "cell": np.array(self.cells),
            "status": self.status,
            "rows": self.rows,
            "score": self.score,
            "score_low": self.interval[..., 0],
            "score_high": self.interval[..., 1],
            order: self.auroc,
            f"{order}_low": self.auroc_interval[..., 0],
            f"{order}_high": self.auroc_interval[..., 1],
            "null_mean": self.test.mean,
            "z": self.test.z,
            "p": self.test.p,
            "p_family": self.test.p_family,
            f"{order}_p_family": self.auroc_test.p_family,
            "majority": self.majority,
            "surface": self.surface,
            "control": self.control,
            "selectivity": self.selectivity,
            "leaky": self.leaky,
        }
        return pd.DataFrame(
            {
                name: np.broadcast_to(values, self.status.shape).ravel()
                for name, values in columns.items()
                if values is not None
            }
        )


def collect(
    names: list[str],
    scored: list[ProbeScores],
    surface: list[ProbeScores] | None,
    design: ProbeDesign,
) -> ProbeGrid:
    """Lay the cells, which come block after block, out as a grid."""
    shape = (len(names), len(design.cells))

    def grid(field: str) -> np.ndarray:
        stacked = np.stack([np.asarray(getattr(cell, field)) for cell in scored])
        return stacked.reshape(shape + stacked.shape[1:])

    def by_vector(field: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """True labels [blocks, cells], permutations and control tasks [vectors, blocks, cells]."""
        first, last = 1, 1 + design.n_permutations
        vectors = np.moveaxis(grid(field), -1, 0)
        return vectors[0], vectors[first:last], vectors[last:]

    score, null, controls = by_vector("score")
    ordering, ordering_null, _ = by_vector("ordering")
    control = _mean_of_defined(controls) if len(controls) else None
    cells = list(design.cells.values())
    return ProbeGrid(
        blocks=tuple(names),
        cells=tuple(design.cells),
        kind=design.probe.kind,
        chance=0.0 if design.n_classes is None else 1 / design.n_classes,
        status=grid("status"),
        score=score,
        interval=grid("score_interval"),
        fold_scores=grid("folds"),
        auroc=ordering,
        auroc_interval=grid("ordering_interval"),
        null=null,
        test=permutation_test(score, null),
        auroc_test=permutation_test(ordering, ordering_null),
        majority=None if design.n_classes is None else np.array([_majority(c) for c in cells]),
        surface=None if surface is None else np.array([cell.score[0] for cell in surface]),
        surface_status=None if surface is None else np.array([cell.status for cell in surface]),
        control=control,
        selectivity=None if control is None else score - control,
        leaky=grid("leaky"),
        rows=np.array([len(cell.rows) for cell in cells]),
        rows_given=np.array([cell.given for cell in cells]),
    )


def _mean_of_defined(controls: np.ndarray) -> np.ndarray:
    """Mean over the control tasks that a cell has; NaN where it has none."""
    defined = ~np.isnan(controls)
    count = defined.sum(axis=0)
    total = np.where(defined, controls, 0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _majority(cell: Cell) -> float:
    truth = cell.shared.labels[0]
    return float(np.bincount(truth).max() / len(truth)) if len(truth) else np.nan
