"""Pictures over the depths of a model, as studies draw them: a map of positions, and curves.

Depths are named as `Subject.depths` names them: embedding, block 0, ..., final norm.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from interp.plots.curves import lines
from interp.plots.grid import heatmap
from interp.plots.style import Number


def depth_map(
    values: Float[np.ndarray, "depths positions"],
    depths: Sequence[str],
    positions: Sequence[str],
    *,
    title: str,
    colour_label: str,
    position_title: str = "position",
    **options: Any,
) -> go.Figure:
    """A heatmap of depths by positions, with a quarter, a half and three quarters of the blocks
    marked.

    Further options are those of `heatmap`, which raises for what does not fit.
    """
    n_blocks = len(depths) - 2
    return heatmap(
        values,
        row_labels=depths,
        column_labels=positions,
        title=title,
        colour_label=colour_label,
        row_title="depth",
        column_title=position_title,
        row_lines={f"{share} %": share / 100 * n_blocks for share in (25, 50, 75)},
        **options,
    )


def depth_lines(
    series: Mapping[str, Float[np.ndarray, " depths"]],
    depths: Sequence[str],
    *,
    title: str,
    y_title: str,
    y_range: tuple[Number, Number] | None = None,
    **options: Any,
) -> go.Figure:
    """Curves over all depths; blocks are shown by their number.

    Further options are those of `lines`, which raises for what does not fit.
    """
    figure = lines(
        series,
        [depth.removeprefix("block ") for depth in depths],
        title=title,
        x_title="depth (block)",
        y_title=y_title,
        **options,
    )
    figure.update_xaxes(tickangle=-60)
    if y_range is not None:
        figure.update_yaxes(range=list(y_range))
    return figure
