"""Pictures of results: plotly figures in one style, and attention patterns as a circuitsvis view.

heatmap(values, ...)       a grid of scores, block by position
lines(series, x, ...)      curves over blocks with their intervals
depth_map(values, ...)     depths by positions
score_map(grid, ...)       the same of an SMDS grid, with what survives
depth_lines(series, ...)   curves over all depths
circle(points, ...)        a predicted plane, coloured by a cyclic label
agreement(predicted, ...)  predicted against true coordinates
scatter(points, ...)       projected samples by class, with a direction
scatter_grid(panels, ...)  the same for blocks by roles
attention(model, ...)      attention patterns of one block
"""

from interp.plots.curves import lines
from interp.plots.depths import depth_lines, depth_map, score_map
from interp.plots.grid import heatmap
from interp.plots.plane import agreement, circle
from interp.plots.points import scatter, scatter_grid
from interp.plots.views import AttentionView, attention

__all__ = [
    "AttentionView",
    "agreement",
    "attention",
    "circle",
    "depth_lines",
    "depth_map",
    "heatmap",
    "lines",
    "scatter",
    "scatter_grid",
    "score_map",
]
