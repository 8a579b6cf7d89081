"""Held-out coordinates: of a cycle in their plane, of a line against the truth."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.colors import cyclical

from interp.plots._style import INK, QUIET, SERIES, Number, escape, finish


def circle(
    points: Float[np.ndarray, "samples 2"],
    values: Float[np.ndarray, " samples"],
    *,
    period: Number,
    title: str,
    categories: Sequence[str] | None = None,
    value_title: str = "",
) -> go.Figure:
    """A scatter in the plane with equal axes and a cyclic colour scale.

    `values` are labels in units of which `period` make one turn, e.g. day of the year with 365.
    `categories` gives each sample a name, e.g. its month: every name stands at its centroid, and
    the centroids are joined in the order of their mean label, so that an ordered circle closes
    without crossing itself and an unordered one does not. Raises ValueError for a period that is
    not positive, and for categories of another number than samples.
    """
    if not period > 0:
        raise ValueError(f"period is {period}; it must be positive")
    if categories is not None and len(categories) != len(points):
        raise ValueError(f"{len(categories)} categories for {len(points)} samples")
    names = [""] * len(points) if categories is None else categories
    figure = go.Figure(
        go.Scatter(
            x=points[:, 0],
            y=points[:, 1],
            mode="markers",
            showlegend=False,
            hovertext=[
                f"{escape(name)} {value:.4g}".strip()
                for name, value in zip(names, values, strict=True)
            ],
            hoverinfo="text",
            marker={
                "color": values % period,
                "cmin": 0,
                "cmax": period,
                # Of even lightness, so that no part of the turn looks emphasised.
                "colorscale": cyclical.Phase,
                "size": 6,
                "opacity": 0.65,
                "colorbar": {
                    "title": {"text": escape(value_title), "side": "right"},
                    "thickness": 14,
                    "outlinewidth": 0,
                },
            },
        )
    )
    if categories is not None:
        _join_centroids(figure, points, values / period, np.asarray(categories))
    finish(figure, title, height=560)
    # The plane's units are arbitrary, so only its shape is shown.
    figure.update_yaxes(scaleanchor="x", showticklabels=False, showgrid=False)
    figure.update_xaxes(showticklabels=False, showgrid=False)
    return figure


def agreement(
    predicted: Float[np.ndarray, " samples"],
    truth: Float[np.ndarray, " samples"],
    *,
    title: str,
    x_title: str,
    y_title: str,
    categories: Sequence[str] | None = None,
) -> go.Figure:
    """Predicted against true coordinates, with the line on which both are equal.

    `categories` names each sample on hover. Raises ValueError for categories of another number
    than samples.
    """
    if categories is not None and len(categories) != len(truth):
        raise ValueError(f"{len(categories)} categories for {len(truth)} samples")
    ends = [float(truth.min()), float(truth.max())]
    figure = go.Figure(
        [
            go.Scatter(
                x=ends,
                y=ends,
                mode="lines",
                line={"color": QUIET, "dash": "dash", "width": 1},
                name="predicted = true",
                hoverinfo="skip",
            ),
            go.Scatter(
                x=truth,
                y=predicted,
                mode="markers",
                marker={"color": SERIES[0], "size": 6, "opacity": 0.5},
                hovertext=None if categories is None else [escape(name) for name in categories],
                showlegend=False,
            ),
        ]
    )
    finish(figure, title, height=480)
    figure.update_xaxes(title=escape(x_title))
    figure.update_yaxes(title=escape(y_title))
    return figure


def _join_centroids(
    figure: go.Figure, points: np.ndarray, turns: np.ndarray, categories: np.ndarray
) -> None:
    names = np.unique(categories)
    # The mean of a cyclic label is the angle of its mean unit vector: December and January average
    # to the turn of the year and not to June.
    angles = [np.angle(np.exp(2j * np.pi * turns[categories == name]).mean()) for name in names]
    names = names[np.argsort(np.mod(angles, 2 * np.pi))]
    centroids = np.array([points[categories == name].mean(axis=0) for name in names])
    closed = np.vstack([centroids, centroids[:1]])
    figure.add_scatter(
        x=closed[:, 0],
        y=closed[:, 1],
        mode="lines+markers",
        line={"color": INK, "width": 1},
        marker={"size": 7, "color": "white", "line": {"color": INK, "width": 1.5}},
        hoverinfo="skip",
        showlegend=False,
    )
    outward = centroids - centroids.mean(axis=0)
    # A centroid in the very middle has no outward side; any small number keeps its label there.
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-12)
    for name, (x, y), (right, up) in zip(names, centroids, outward, strict=True):
        figure.add_annotation(
            text=escape(name),
            x=x,
            y=y,
            showarrow=False,
            # Towards the outside, from the edge of the word so that a long one spares its mark.
            xanchor="left" if right > 0.3 else "right" if right < -0.3 else "center",
            xshift=8 * right,
            yshift=14 * up,
            font={"size": 12},
            # Without a ground the name drowns in the points about it.
            bgcolor="rgba(255,255,255,0.8)",
            borderpad=1,
        )
