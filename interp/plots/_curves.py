"""Curves over blocks or positions, with their intervals and the levels they are held against."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.colors import hex_to_rgb

from interp.plots._style import DASHES, QUIET, SERIES, Number, escape, escape_all, finish


def lines(
    series: Mapping[str, Float[np.ndarray, " points"]],
    x: Sequence[str | Number],
    *,
    title: str,
    x_title: str,
    y_title: str,
    bands: Mapping[str, tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]]
    | None = None,
    references: Mapping[str, Number] | None = None,
) -> go.Figure:
    """Curves in one panel, against reference levels.

    `bands` holds the lower and upper limit of the series of the same name; `references` names
    horizontal lines, such as a null. Points that are NaN leave a gap. Raises ValueError for a band
    that belongs to no series, and for a series whose length is not that of `x`.
    """
    bands = bands or {}
    if stray := sorted(set(bands) - set(series)):
        raise ValueError(f"bands {stray} belong to no series; series: {sorted(series)}")
    words = any(isinstance(value, str) for value in x)
    places = list(range(len(x))) if words else list(x)
    figure = go.Figure()
    for number, (name, curve) in enumerate(series.items()):
        if len(curve) != len(places):
            raise ValueError(f"series {name!r} has {len(curve)} points for {len(places)} of x")
        colour = SERIES[number % len(SERIES)]
        dash = DASHES[number // len(SERIES) % len(DASHES)]
        if name in bands:
            _band(figure, places, *bands[name], colour=colour, group=name)
        _curve(figure, places, curve, name=name, colour=colour, dash=dash)
    for label, level in (references or {}).items():
        _reference(figure, label, level)
    finish(figure, title, height=420)
    if words:
        figure.update_xaxes(tickvals=places, ticktext=escape_all(x))
    figure.update_layout(hovermode="x unified", showlegend=len(series) > 1)
    figure.update_xaxes(title=escape(x_title))
    figure.update_yaxes(title=escape(y_title))
    return figure


def _curve(
    figure: go.Figure, places: list, curve: np.ndarray, *, name: str, colour: str, dash: str
) -> None:
    figure.add_scatter(
        x=places,
        y=curve,
        name=escape(name),
        legendgroup=name,
        mode="lines+markers",
        line={"width": 2, "color": colour, "dash": dash},
        marker={"size": 5},
        hovertemplate="%{y:.4g}",
    )


def _band(
    figure: go.Figure, places: list, low: np.ndarray, high: np.ndarray, *, colour: str, group: str
) -> None:
    # A band broken by an undefined point would be filled across the gap, hence a bar per point.
    whole = np.isfinite(low) & np.isfinite(high)
    if whole.all():
        figure.add_scatter(
            x=[*places, *reversed(places)],
            y=[*high, *low[::-1]],
            mode="lines",
            fill="toself",
            fillcolor=f"rgba{(*hex_to_rgb(colour), 0.16)}",
            line={"width": 0},
            legendgroup=group,
            showlegend=False,
            hoverinfo="skip",
        )
        return
    middle = (low + high) / 2
    figure.add_scatter(
        x=places,
        y=middle,
        error_y={"array": high - middle, "color": colour, "thickness": 1, "width": 3},
        mode="markers",
        marker={"size": 0.1, "color": colour},
        legendgroup=group,
        showlegend=False,
        hoverinfo="skip",
    )


def _reference(figure: go.Figure, label: str, level: Number) -> None:
    figure.add_hline(
        y=level,
        line={"color": QUIET, "dash": "dash", "width": 1},
        annotation={"text": escape(label), "font": {"color": QUIET, "size": 12}},
        annotation_position="top left",
    )
