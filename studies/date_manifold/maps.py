"""Heatmaps of depths by words, as every experiment draws them."""

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from interp.plots import heatmap
from interp.smds import SMDSGrid
from studies.date_manifold.data import Dataset
from studies.date_manifold.scoring import UNIFORM_NULL, Layout


def marks(data: Dataset) -> dict[str, str]:
    """The words that a dataset names, and what they are called."""
    named = {data.source: "source", data.destination: "destination"}
    return named if data.distractor is None else named | {data.distractor: "distractor"}


def cells(
    layout: Layout,
    data: Dataset,
    values: Float[np.ndarray, "rows words"],
    title: str,
    colour_label: str,
    **options,
) -> go.Figure:
    """A heatmap of depths by words, with the landmarks marked."""
    quarters = {f"{share} %": share / 100 * layout.n_blocks for share in (25, 50, 75)}
    return heatmap(
        values,
        row_labels=layout.rows,
        column_labels=layout.words,
        title=title,
        colour_label=colour_label,
        row_title="depth",
        column_title="word of the text",
        marks=marks(data),
        row_lines=quarters,
        **options,
    )


def score_map(
    layout: Layout, data: Dataset, grid: SMDSGrid, title: str, *, lookup: float
) -> go.Figure:
    """Scores of a grid, their survivors, and the levels they are held against."""
    scores = grid.score[..., 0]
    null = UNIFORM_NULL if data.period is not None else float(np.nanmedian(grid.test.mean))
    return cells(
        layout,
        data,
        scores,
        title,
        "held-out score",
        status=grid.status,
        reference={"null": null, f"one-hot {data.category_noun}": lookup},
        zmin=min(np.nanmin(scores), null),
        zmax=max(np.nanmax(scores), lookup),
        survivors=grid.test.survives()[..., 0],
        survivors_label="survives max-T correction at 5 %",
    )
