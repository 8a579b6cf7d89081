"""Curves over the depths of a model, with names as short as an axis needs them."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from interp.plots.curves import lines
from interp.plots.style import Number

SHORT = {"embedding": "emb", "final norm": "norm"}
"""What stands on an axis for depths that are no blocks; a block is its number."""

MEANING = {"embedding": "emb: the raw embedding", "final norm": "norm: after the final norm"}
"""What the title of the axis says of them."""


def depth_lines(
    series: Mapping[str, Float[np.ndarray, " depths"]],
    depths: Sequence[str],
    *,
    title: str,
    y_title: str,
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
        bands: Lower and upper limits of curves, by their names.
        references: Horizontal lines by name, such as a null.

    Raises:
        ValueError: a band of no curve, or a curve of another length than `depths`.
    """
    meaning = "; ".join(MEANING[depth] for depth in depths if depth in MEANING)
    return lines(
        series,
        [SHORT.get(depth, depth.removeprefix("block ")) for depth in depths],
        title=title,
        x_title=f"block ({meaning})" if meaning else "block",
        y_title=y_title,
        bands=bands,
        references=references,
    )
