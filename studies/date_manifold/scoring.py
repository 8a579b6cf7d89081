"""What every experiment shares: how cells are scored, laid out, and reported."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from interp.claims import Claim
from interp.report import Section
from interp.smds import (
    Shape,
    SMDSGrid,
    as_shape,
    heldout_predictions,
    ideal_coordinates,
    line,
    smds_grid,
)
from interp.stats import r_squared
from interp.tasks import Backend
from studies.date_manifold.data import Dataset

Blocks = Iterable[tuple[str, Float[np.ndarray, "position n d"]]]
Read = Callable[[], Blocks]
"""Reads the activations anew, one depth at a time."""

ALPHA = 0.05
"""Family-wise level of every verdict."""

UNIFORM_NULL = 1 - np.sqrt(1 - 2 / np.pi)
"""Score of isotropic predictions for labels uniform on the circle, .397."""

NOUNS = {"circular": "circle", "linear": "line", "log_linear": "logarithmic line"}
"""What the shapes that a task asks for are called in a sentence."""


@dataclass(frozen=True)
class Settings:
    """How the experiments are run."""

    n_splits: int
    """Folds."""
    n_permutations: int
    """Permutations of labels among groups."""
    n_orders: int
    """Shuffled orders of the categories."""
    alpha: float
    """Ridge penalty."""
    seed: int
    """Of folds, permutations, orders and halves."""
    jobs: int | None
    """Worker processes; None for every core."""
    depth: float = 60.0
    """Depth at which single depths are looked at, in % of the blocks."""
    standardise: Literal["geometry", "all", "none"] = "geometry"
    """Features are standardised in experiments 2 to 4, in all four, or in none."""
    cache: Path | None = None
    """Directory of long grids' scores, by which an interrupted run goes on; None keeps none."""
    backend: Backend = "loky"
    """Who scores cells: processes of this machine, or of a Ray cluster."""

    @property
    def in_detection(self) -> bool:
        """Whether experiment 1 standardises."""
        return self.standardise == "all"

    @property
    def in_geometry(self) -> bool:
        """Whether experiments 2 to 4 standardise."""
        return self.standardise != "none"


@dataclass(frozen=True)
class Layout:
    """The cells of one model."""

    model: str
    """The model's name."""
    rows: tuple[str, ...]
    """Depths: embedding, blocks, final norm."""
    words: tuple[str, ...]
    """Words of the text."""

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.rows) - 2

    @property
    def middle(self) -> range:
        """Rows between 25 and 75 % of the depth; of a single block, that block."""
        first = -(-self.n_blocks // 4)
        return range(first, max(first, 3 * self.n_blocks // 4) + 1)

    def at(self, percent: float) -> int:
        """The row at this depth; row k is the output of k blocks."""
        return round(percent / 100 * self.n_blocks)

    def table(self, columns: Mapping[str, np.ndarray | None]) -> pd.DataFrame:
        """One row per cell, of columns [rows, words]; None is a column that the grid has not."""
        index = pd.MultiIndex.from_product([self.rows, self.words], names=["depth", "word"])
        flat = {
            name: np.asarray(values).ravel()
            for name, values in columns.items()
            if values is not None
        }
        table = pd.DataFrame(flat, index=index).reset_index()
        table.insert(0, "model", self.model)
        return table


@dataclass(frozen=True)
class Part:
    """What one experiment adds to the report."""

    claims: list[Claim]
    """What it establishes."""
    sections: list[Section]
    """Its figures."""
    row: Mapping[str, object] = field(default_factory=dict)
    """Its columns of the table over models."""
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Its numbers, by name."""


def geometry(data: Dataset) -> Shape:
    """The shape asked for first, in coordinates that no fold rescales."""
    if data.shape == "linear":
        return line(float(data.edges[0]), float(data.edges[-1]))
    return as_shape(data.shape, period=data.period)


def noun(data: Dataset) -> str:
    """The shape asked for first, in a word."""
    name = geometry(data).name
    return NOUNS.get(name, name)


def exchanged(data: Dataset) -> str:
    """The unit that is exchanged under permuted labels."""
    return f"group of texts of one {data.quantity} ({len(np.unique(data.group))})"


def ideal(data: Dataset) -> Float[np.ndarray, "n k"]:
    """Ideal coordinates of the labels."""
    return ideal_coordinates(data.label, geometry(data), period=data.period)


def score(
    blocks: Blocks,
    data: Dataset,
    settings: Settings,
    *,
    labels: Float[np.ndarray, " n"] | None = None,
    progress: str = "",
    **options: Any,
) -> SMDSGrid:
    """The grid of a dataset, under other labels if given; `progress` names the bar of long work,
    which alone is spread over processes."""
    options = {"n_permutations": settings.n_permutations} | options
    return smds_grid(
        blocks,
        data.label if labels is None else labels,
        groups=data.group,
        shapes=[geometry(data)],
        period=data.period,
        n_splits=settings.n_splits,
        seed=settings.seed,
        alpha=settings.alpha,
        n_jobs=settings.jobs if progress else 1,
        cache=settings.cache if progress else None,
        backend=settings.backend if progress else "loky",
        progress=progress,
        **options,
    )


def lookup(data: Dataset, settings: Settings, **options: Any) -> SMDSGrid:
    """The grid of one cell, a one-hot code of the category: what a lookup table reaches."""
    cells = data.one_hot()[None]
    return score([("lookup", cells)], data, settings, n_permutations=1, **options)


def predictions(
    cell: Float[np.ndarray, "n d"],
    data: Dataset,
    settings: Settings,
    *,
    leave_out: bool = False,
    labels: Float[np.ndarray, " n"] | None = None,
    groups: Shaped[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, "n k"]:
    """Held-out coordinates: folds by the dataset's groups or others, or one category left out at a
    time."""
    return heldout_predictions(
        cell,
        data.label if labels is None else labels,
        data.category if leave_out else data.group if groups is None else groups,
        shape=geometry(data),
        period=data.period,
        n_splits=len(np.unique(data.category)) if leave_out else settings.n_splits,
        seed=settings.seed,
        alpha=settings.alpha,
        standardise=settings.in_detection and not leave_out,
    )


def r2(predicted: Float[np.ndarray, "n k"], truth: Float[np.ndarray, "n k"]) -> float:
    """Share of the variance of the ideal coordinates that held-out predictions explain."""
    return float(r_squared(truth, predicted))


def family_null(grid: SMDSGrid, cell: tuple[int, int]) -> tuple[float, str]:
    """Family-wise p of a cell's score, and the score against its null in words."""
    test = grid.test
    p = float(test.p_family[*cell, 0])
    words = (
        f"score {test.observed[*cell, 0]:.3f} against {test.mean[*cell, 0]:.3f} "
        f"(sd {test.sd[*cell, 0]:.4f}) under permuted labels; family-wise p {p:.3f}"
    )
    return p, words
