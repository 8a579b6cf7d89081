"""Pictures of results: plotly figures in one style, and attention patterns as a circuitsvis view.

heatmap(values, ...)       a grid of scores, block by position
lines(series, x, ...)      curves over blocks with their intervals
circle(points, ...)        a predicted plane, coloured by a cyclic label
agreement(predicted, ...)  predicted against true coordinates
scatter(points, ...)       projected samples by class, with a direction
scatter_grid(panels, ...)  the same for blocks by roles
attention(model, ...)      attention patterns of one block
"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.plots.curves import lines
    from interp.plots.grid import heatmap
    from interp.plots.plane import agreement, circle
    from interp.plots.points import scatter, scatter_grid
    from interp.plots.views import AttentionView, attention
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = [
    "AttentionView",
    "agreement",
    "attention",
    "circle",
    "heatmap",
    "lines",
    "scatter",
    "scatter_grid",
]
