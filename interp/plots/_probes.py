"""Pictures of grids of probes: maps of their cells, and projected samples of all of them."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int, Shaped

from interp.plots._grid import Axis, Scale, heatmap
from interp.plots._points import scatter_grid
from interp.probes import ProbeGrid, project


def probe_map(
    grid: ProbeGrid,
    values: Float[np.ndarray, "blocks cells"],
    *,
    title: str,
    scale: Scale,
    column_title: str = "position",
    **options: Any,
) -> go.Figure:
    """A number of every cell of a grid of probes, depth by position; undefined cells say why.

    `options` are those of `heatmap`, and raise as it does.
    """
    return heatmap(
        values,
        Axis(grid.blocks, "depth"),
        Axis(grid.cells, column_title),
        title=title,
        scale=scale,
        status=grid.status,
        **options,
    )


def projection_grids(
    grid: ProbeGrid,
    blocks: Iterable[tuple[str, Float[np.ndarray, "n d"]]],
    cells: Mapping[str, Int[np.ndarray, " _"]],
    classes: Shaped[np.ndarray, " n"],
    *,
    titles: Mapping[Literal["pca", "tsne"], str],
    seed: int = 42,
) -> list[go.Figure]:
    """Samples of every cell of a grid of probes, coloured by class: a figure for each method.

    Args:
        grid: Probes of the same blocks and cells; what it leaves undefined is a note.
        blocks: (name, activations) one after another, so a store can stream.
        cells: Rows that are drawn of each cell.
        classes: Class of each row.
        titles: Title of the figure of each method, `pca` or `tsne`.
        seed: Of the projections.
    """
    panels: dict[str, dict[tuple[int, int], np.ndarray]] = {method: {} for method in titles}
    named, notes = {}, {}
    for depth, (_, activations) in enumerate(blocks):
        for column, rows in enumerate(cells.values()):
            at = (depth, column)
            if grid.status[at] != "ok":
                notes[at] = str(grid.status[at])
                continue
            named[at] = classes[rows]
            for method in titles:
                panels[method][at] = project(activations[rows], method=method, seed=seed).points
    return [
        scatter_grid(
            panels[method],
            named,
            row_labels=grid.blocks,
            column_labels=grid.cells,
            title=title,
            notes=notes,
        )
        for method, title in titles.items()
    ]
