"""Projected samples coloured by their class: one panel, or a grid of blocks by roles."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int, Shaped
from plotly.subplots import make_subplots

from interp.plots._style import INK, QUIET, SERIES, escape, finish

SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star", "circle-open")
"""One for each round of the colours, so that no two of 56 classes look alike."""

PANEL_HEIGHT = 150
"""Height of a panel of the grid in pixels."""

Panel = Float[np.ndarray, "_ 2"]  # panels differ in their number of samples


def scatter(
    points: Float[np.ndarray, "samples 2"],
    classes: Shaped[np.ndarray, " samples"],
    *,
    title: str,
    x_title: str = "",
    y_title: str = "",
    arrow: Float[np.ndarray, "2"] | None = None,
    arrow_label: str = "direction",
    hover: Sequence[str] | None = None,
    joined: Int[np.ndarray, "pairs 2"] | None = None,
) -> go.Figure:
    """Samples in a plane, a colour for each class, with a direction drawn from their mean.

    The arrow is scaled to a third of the picture: in a plane a direction has no length. `joined`
    holds numbers of samples to connect by a line, two a row. Raises ValueError when points and
    classes disagree in number.
    """
    figure = go.Figure()
    if joined is not None:
        _join(figure, points, joined)
    _classes(figure, points, classes, looks=_looks([classes]), size=6, hover=hover)
    if arrow is not None and np.linalg.norm(arrow) > 0:
        start = points.mean(axis=0)
        end = start + arrow / np.linalg.norm(arrow) * np.ptp(points, axis=0).max() / 3
        figure.add_annotation(
            x=end[0],
            y=end[1],
            ax=start[0],
            ay=start[1],
            axref="x",
            ayref="y",
            text="",
            showarrow=True,
            arrowhead=2,
            arrowwidth=2,
            arrowcolor=INK,
        )
        figure.add_annotation(
            x=end[0],
            y=end[1],
            text=escape(arrow_label),
            showarrow=False,
            yshift=12,
            bgcolor="rgba(255,255,255,0.8)",
        )
    finish(figure, title, height=520, above=1)
    figure.update_xaxes(title=escape(x_title), showticklabels=False)
    figure.update_yaxes(title=escape(y_title), showticklabels=False, scaleanchor="x")
    return figure


def scatter_grid(
    panels: Mapping[tuple[int, int], Panel],
    classes: Mapping[tuple[int, int], Shaped[np.ndarray, " _"]],
    *,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str,
    notes: Mapping[tuple[int, int], str] | None = None,
) -> go.Figure:
    """Panels by (row, column), row 0 at the bottom; a missing panel stays empty but for its note.

    A class looks the same in every panel and in the legend. Raises ValueError for a panel outside
    of the labels.
    """
    rows, columns = len(row_labels), len(column_labels)
    if stray := [at for at in panels if not (0 <= at[0] < rows and 0 <= at[1] < columns)]:
        raise ValueError(f"panels {stray} are outside of {rows} rows x {columns} columns")
    figure = make_subplots(
        rows=rows,
        cols=columns,
        row_titles=[escape(label) for label in reversed(row_labels)],
        column_titles=[escape(label) for label in column_labels],
        horizontal_spacing=0.01,
        vertical_spacing=0.012,
    )
    shown: set[str] = set()
    looks = _looks([classes[at] for at in panels])
    for (row, column), points in panels.items():
        names, at = classes[row, column], (rows - row, column + 1)
        _classes(figure, points, names, looks=looks, size=3, shown=shown, at=at)
    for (row, column), note in (notes or {}).items():
        number = (rows - 1 - row) * columns + column + 1  # as plotly counts the panels' axes
        axis = "" if number == 1 else number
        # plotly draws no panel without a trace, and would put its note into another one
        figure.add_scatter(x=[None], y=[None], showlegend=False, row=rows - row, col=column + 1)
        figure.add_annotation(
            text=escape(note),
            x=0.5,
            y=0.5,
            xref=f"x{axis} domain",
            yref=f"y{axis} domain",
            showarrow=False,
            font={"size": 11, "color": QUIET},
        )
    finish(figure, title, height=PANEL_HEIGHT * rows + 100, above=2)
    figure.update_layout(legend_itemsizing="constant")  # the panels' points are too small for it
    figure.update_xaxes(showticklabels=False, showgrid=False, mirror=True, showline=True)
    figure.update_yaxes(showticklabels=False, showgrid=False, mirror=True, showline=True)
    return figure


def _join(figure: go.Figure, points: np.ndarray, joined: np.ndarray) -> None:
    """One trace of all lines, with a gap after each."""
    ends = np.full((len(joined), 3, 2), np.nan)
    ends[:, :2] = points[joined]
    x, y = ends.reshape(-1, 2).T
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        line={"width": 0.6, "color": QUIET},
        opacity=0.5,
        hoverinfo="skip",
        showlegend=False,
    )


def _looks(classes: Sequence[np.ndarray]) -> dict[str, dict[str, str]]:
    """Colour and symbol of every class of all panels, in the order of the classes."""
    values = {str(name): name for names in classes for name in np.unique(np.asarray(names))}
    try:
        every = sorted(values, key=lambda name: values[name])
    except TypeError:  # numbers in one panel and names in another
        every = sorted(values)
    if len(every) > len(SERIES) * len(SYMBOLS):
        raise ValueError(
            f"{len(every)} classes, and colours and symbols tell {len(SERIES) * len(SYMBOLS)} "
            "apart: leave some out, or join them"
        )
    return {
        name: {
            "color": SERIES[number % len(SERIES)],
            "symbol": SYMBOLS[number // len(SERIES) % len(SYMBOLS)],
        }
        for number, name in enumerate(every)
    }


def _classes(
    figure: go.Figure,
    points: np.ndarray,
    classes: np.ndarray,
    *,
    looks: Mapping[str, Mapping[str, str]],
    size: int,
    shown: set[str] | None = None,
    hover: Sequence[str] | None = None,
    at: tuple[int, int] | tuple[None, None] = (None, None),
) -> None:
    if len(points) != len(classes):
        raise ValueError(f"{len(points)} points for {len(classes)} classes")
    named = np.asarray(classes).astype(str)
    for name in (name for name in looks if name in named):
        mine = np.flatnonzero(named == name)
        first = shown is None or name not in shown
        if shown is not None:
            shown.add(name)
        figure.add_trace(
            go.Scatter(
                x=points[mine, 0],
                y=points[mine, 1],
                mode="markers",
                name=escape(name),
                legendgroup=name,
                showlegend=first,
                marker={"size": size, "opacity": 0.55, **looks[name]},
                hoverinfo="name" if hover is None else "text",
                hovertext=None if hover is None else [escape(hover[i]) for i in mine.tolist()],
            ),
            row=at[0],
            col=at[1],
        )
