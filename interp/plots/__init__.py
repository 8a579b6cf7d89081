"""Pictures of results: plotly figures in one style, and attention patterns as a circuitsvis view.

heatmap(values, ...)       a grid of scores, its rows and columns an `Axis`, its colours a `Scale`
lines(series, x, ...)      curves over blocks with their intervals
depth_map(values, ...)     depths by positions
depth_lines(series, ...)   curves over the depths of a model, by their names
score_map(grid, ...)       scores of an SMDS grid, with what survives
score_lines(grid, ...)     its scores against the position, at some depths
order_map(grid, ...)       its scores against shuffled orders of categories
left_out_map(grid, ...)    its R2 on categories that were left out
reuse_map(grid, ...)       agreement of another position's map
similarity_maps(...)       planes of all positions, compared
roundness_lines(rings)     axis ratio of rings of categories over depths
moved_lines(shares, ...)   how far patching moves a label, by depth
circle(points, ...)        a predicted plane, coloured by a cyclic label
agreement(predicted, ...)  predicted against true coordinates
scatter(points, ...)       projected samples by class, with a direction
scatter_grid(panels, ...)  the same for blocks by roles
probe_map(grid, ...)       a number of every cell of a grid of probes
projection_grids(grid)     samples of every cell of a grid of probes
attention(model, ...)      attention patterns of one block
attention_between(...)     those of the block that attends most from one token to others
can_be_shown(model, text)  whether a text is short enough for them
"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.plots._curves import lines
    from interp.plots._depths import depth_lines, depth_map
    from interp.plots._grid import Axis, Scale, heatmap
    from interp.plots._plane import agreement, circle
    from interp.plots._points import scatter, scatter_grid
    from interp.plots._probes import probe_map, projection_grids
    from interp.plots._smds import (
        left_out_map,
        moved_lines,
        order_map,
        reuse_map,
        roundness_lines,
        score_lines,
        score_map,
        similarity_maps,
    )
    from interp.plots._views import AttentionView, attention, attention_between, can_be_shown
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = [
    "AttentionView",
    "Axis",
    "Scale",
    "agreement",
    "attention",
    "attention_between",
    "can_be_shown",
    "circle",
    "depth_lines",
    "depth_map",
    "heatmap",
    "left_out_map",
    "lines",
    "moved_lines",
    "order_map",
    "probe_map",
    "projection_grids",
    "reuse_map",
    "roundness_lines",
    "scatter",
    "scatter_grid",
    "score_lines",
    "score_map",
    "similarity_maps",
]
