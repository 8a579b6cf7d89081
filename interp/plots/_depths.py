"""Pictures over the depths of a model: a map of positions, and curves.

Depths are named as `Subject.depths` names them: embedding, block 0, ..., final norm. On the axis of
curves their names are as short as it needs them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from interp.plots._curves import lines
from interp.plots._grid import Axis, Scale, heatmap
from interp.plots._style import Number

SHORT = {"embedding": "emb", "final norm": "norm"}
"""What stands on an axis for depths that are no blocks; a block is its number."""

MEANING = {"embedding": "emb: the raw embedding", "final norm": "norm: after the final norm"}
"""What the title of the axis says of them."""


def depth_map(
    values: Float[np.ndarray, "depths positions"],
    depths: Sequence[str],
    positions: Sequence[str],
    *,
    title: str,
    scale: Scale,
    position_title: str = "position",
    **options: Any,
) -> go.Figure:
    """Draw a heatmap of depths by positions, with a quarter, a half and three quarters of the
    blocks marked.

    Args:
        values: A number for every depth and position.
        depths: Names of all depths of the residual stream.
        positions: Names of the positions.
        title: Title of the figure.
        scale: What the colours say.
        position_title: What the positions are.
        **options: Further options of `heatmap`.

    Raises:
        ValueError: as `heatmap`.
    """
    n_blocks = len(depths) - 2
    return heatmap(
        values,
        Axis(depths, "depth"),
        Axis(positions, position_title),
        title=title,
        scale=scale,
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
    bands: Mapping[str, tuple[Float[np.ndarray, " depths"], Float[np.ndarray, " depths"]]]
    | None = None,
    references: Mapping[str, Number] | None = None,
) -> go.Figure:
    """Draw curves over depths, such as all blocks or the whole residual stream.

    Args:
        series: Curves by name.
        depths: Names such as "embedding", "block 0" and "final norm".
        title: Title of the figure.
        y_title: What the curves measure.
        y_range: Lower and upper end of their axis; by default what the curves need.
        bands: Lower and upper limits of curves, by their names.
        references: Horizontal lines by name, such as a null.

    Raises:
        ValueError: a band of no curve, or a curve of another length than `depths`.
    """
    meaning = "; ".join(MEANING[depth] for depth in depths if depth in MEANING)
    figure = lines(
        series,
        [SHORT.get(depth, depth.removeprefix("block ")) for depth in depths],
        title=title,
        x_title=f"block ({meaning})" if meaning else "block",
        y_title=y_title,
        bands=bands,
        references=references,
    )
    if y_range is not None:
        figure.update_yaxes(range=list(y_range))
    return figure
