"""Pictures of results: plotly figures in one style, and attention patterns as a circuitsvis view.

heatmap(values, ...)       a grid of scores, block by position
lines(series, x, ...)      curves over blocks with their intervals
depth_lines(series, ...)   curves over the depths of a model, by their names
circle(points, ...)        a predicted plane, coloured by a cyclic label
agreement(predicted, ...)  predicted against true coordinates
scatter(points, ...)       projected samples by class, with a direction
scatter_grid(panels, ...)  the same for blocks by roles
probe_map(grid, ...)       a number of every cell of a grid of probes
projection_grids(grid)     samples of every cell of a grid of probes
attention(model, ...)      attention patterns of one block
attention_between(...)     those of the block that attends most from one token to others
"""

from interp.plots.curves import lines
from interp.plots.depths import depth_lines
from interp.plots.grid import heatmap
from interp.plots.plane import agreement, circle
from interp.plots.points import scatter, scatter_grid
from interp.plots.probes import probe_map, projection_grids
from interp.plots.views import AttentionView, attention, attention_between

__all__ = [
    "AttentionView",
    "agreement",
    "attention",
    "attention_between",
    "circle",
    "depth_lines",
    "heatmap",
    "lines",
    "probe_map",
    "projection_grids",
    "scatter",
    "scatter_grid",
]
