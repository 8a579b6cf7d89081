"""Heatmaps of scores, block by position.

Depth rises: row 0, the embedding, stands at the bottom. A cell that is not defined is crossed out
and says why on hover, so that it cannot pass for a low score. Scores are drawn in viridis and
signed values in a diverging scale about their midpoint; both survive colour blindness, and viridis
grey print as well.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, Shaped

from interp.plots._style import INK, QUIET, UNDEFINED, Number, escape, escape_all, finish

# Beyond this many columns upright labels would touch, at the width a report gives a figure.
LABELLED_COLUMNS = 64

# Up to this many columns a cell holds its own value.
WIDE_COLUMNS = 10

# Pixels that leave room for a row's label; the rest of the height is title, legend and columns.
ROW_HEIGHT = 18


@dataclass(frozen=True)
class Axis:
    """Rows or columns of a heatmap."""

    labels: Sequence[str]
    """A name for each, from below or from the left."""
    title: str = ""
    """What they are."""


@dataclass(frozen=True)
class Scale:
    """What the colours of a heatmap say.

    Raises ValueError if `low` is not below `high`, or lies nearer to the midpoint or farther off.
    """

    label: str
    """What the values measure."""
    low: Number | None = None
    """Lower bound of the colours; by default the data's own."""
    high: Number | None = None
    """Upper bound."""
    midpoint: Number | None = None
    """Makes the scale diverging and symmetric about it."""
    reference: Mapping[str, Number] = field(default_factory=dict)
    """Levels that are named on the colour bar, such as a null."""

    def __post_init__(self) -> None:
        if self.low is None or self.high is None:
            return
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} is not below high = {self.high}")
        middle = self.midpoint
        if middle is not None and not np.isclose(abs(self.low - middle), abs(self.high - middle)):
            raise ValueError(
                f"low = {self.low} and high = {self.high} do not lie as far from the midpoint "
                f"{middle}: its colour stands in the middle; give one of them"
            )

    def limits(self, values: Float[np.ndarray, "rows columns"]) -> tuple[Number, Number]:
        """Ends of the colours for these values."""
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        low, high = low if self.low is None else self.low, high if self.high is None else self.high
        if self.midpoint is not None:
            asked = [abs(b - self.midpoint) for b in (self.low, self.high) if b is not None]
            reach = max(asked or (abs(low - self.midpoint), abs(high - self.midpoint)))
            low, high = self.midpoint - reach, self.midpoint + reach
        if low < high:
            return low, high
        # A bound that was asked for is kept, even where all values lie beyond it.
        if self.high is not None or self.low is not None:
            return (high - 1, high) if self.high is not None else (low, low + 1)
        # A constant grid has no range, and plotly would leave its colour bar bare.
        return low - 0.5, low + 0.5


def heatmap(
    values: Float[np.ndarray, "rows columns"],
    rows: Axis,
    columns: Axis,
    *,
    title: str,
    scale: Scale,
    marks: Mapping[str, str] | None = None,
    row_lines: Mapping[str, Number] | None = None,
    survivors: Bool[np.ndarray, "rows columns"] | None = None,
    survivors_label: str = "survives correction",
    status: Shaped[np.ndarray, "rows columns"] | None = None,
    boxed: Sequence[tuple[int, int]] = (),
) -> go.Figure:
    """A grid of scores; row 0 (the embedding) at the bottom.

    `marks` maps a column's label to a word above it, and `row_lines` a label to a position in rows
    (fractions allowed). Cells in `survivors` carry a dot. Cells that are not finite are crossed out
    and give their `status` on hover. Cells in `boxed`, as (row, column), stand in a frame with
    their value beside it. Raises ValueError if labels and values disagree in number, a mark names
    no column or a boxed cell is outside.
    """
    row_labels, column_labels = rows.labels, columns.labels
    _check_labels(values, row_labels, column_labels)
    shown = np.where(np.isfinite(values), values, np.nan)
    low, high = scale.limits(shown)
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            hovertext=_hover(shown, row_labels, column_labels, scale.label, status),
            hoverinfo="text",
            colorscale="Viridis" if scale.midpoint is None else "RdBu_r",
            zmin=low,
            zmax=high,
            xgap=1,
            ygap=1,
            colorbar=_colour_bar(scale, low, high, row_lines or {}),
        )
    )
    # Lines first: a dot must not vanish under one.
    for label, row in (row_lines or {}).items():
        _row_line(figure, label, row, len(column_labels))
    _dots(figure, np.isnan(shown), "undefined", symbol="x-thin", colour=QUIET)
    if survivors is not None:
        _dots(figure, survivors, survivors_label, symbol="circle", colour="white")
    _mark_columns(figure, column_labels, marks or {})
    _boxes(figure, shown, boxed)
    legend = any(True for _ in figure.select_traces({"showlegend": True}))
    height = max(360, ROW_HEIGHT * len(row_labels) + 200)
    finish(figure, title, height=height, above=int(legend) + bool(marks))
    _axes(figure, rows, columns)
    return figure


def _check_labels(
    values: np.ndarray, row_labels: Sequence[str], column_labels: Sequence[str]
) -> None:
    if (len(row_labels), len(column_labels)) != values.shape:
        raise ValueError(
            f"values have shape {values.shape}, but there are {len(row_labels)} row labels "
            f"and {len(column_labels)} column labels"
        )


def _axes(figure: go.Figure, rows: Axis, columns: Axis) -> None:
    row_labels, column_labels = rows.labels, columns.labels
    step = math.ceil(len(column_labels) / LABELLED_COLUMNS)
    places = range(0, len(column_labels), step)
    # Words side by side stay level only while all of them fit in about a hundred characters.
    level = (max(map(len, column_labels), default=0) + 2) * len(places) <= 100
    plain = {"showgrid": False, "showline": False, "ticks": "", "tickfont": {"size": 11}}
    figure.update_xaxes(
        title={"text": escape(columns.title), "standoff": 12},
        tickvals=list(places),
        ticktext=[escape(column_labels[place]) for place in places],
        tickangle=0 if level else -60,
        range=[-0.5, len(column_labels) - 0.5],
        **plain,
    )
    figure.update_yaxes(
        title={"text": escape(rows.title), "standoff": 12},
        tickvals=list(range(len(row_labels))),
        ticktext=escape_all(row_labels),
        range=[-0.5, len(row_labels) - 0.5],
        **plain,
    )
    # What shows through an undefined cell.
    figure.update_layout(plot_bgcolor=UNDEFINED)


def _hover(
    values: np.ndarray,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    colour_label: str,
    status: np.ndarray | None,
) -> list[list[str]]:
    def text(row: int, column: int) -> str:
        value = values[row, column]
        reason = "undefined" if status is None else f"undefined: {status[row, column]}"
        shown = reason if np.isnan(value) else f"{colour_label} {value:.4g}"
        where = f"{escape(row_labels[row])} · {escape(column_labels[column])}"
        return f"{where}<br>{escape(shown)}"

    return [[text(row, column) for column in range(values.shape[1])] for row in range(len(values))]


def _colour_bar(scale: Scale, low: Number, high: Number, row_lines: Mapping[str, Number]) -> dict:
    reference, near = scale.reference, 0.05 * (high - low)
    ticks = [
        tick
        for tick in _nice_ticks(low, high)
        # A reference would be illegible under a tick of the same height.
        if all(abs(tick - level) > near for level in reference.values())
    ]
    inside = {name: level for name, level in reference.items() if low <= level <= high}
    return {
        "title": {"text": escape(scale.label), "side": "right"},
        "tickvals": [*ticks, *inside.values()],
        "ticktext": [
            *(f"{tick:.4g}" for tick in ticks),
            *(f"<b>{level:.3g} {escape(name)}</b>" for name, level in inside.items()),
        ],
        "ticks": "outside",
        "thickness": 14,
        "outlinewidth": 0,
        # Room between plot and bar for the labels of the row lines, at 7 px a character.
        "xpad": 10 + 7 * max(map(len, row_lines), default=0),
    }


def _nice_ticks(low: Number, high: Number) -> list[float]:
    """Four to eight multiples of 1, 2, 2.5 or 5 times a power of ten."""
    rough = (high - low) / 8
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    # A millionth of a step keeps an end that is a multiple but for rounding.
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [step * number for number in range(first, last + 1)]


def _dots(figure: go.Figure, cells: np.ndarray, name: str, *, symbol: str, colour: str) -> None:
    rows, columns = np.nonzero(cells)
    if rows.size:
        figure.add_scatter(
            x=columns,
            y=rows,
            mode="markers",
            name=escape(name),
            showlegend=True,
            hoverinfo="skip",
            marker={
                "symbol": symbol,
                "size": 6,
                "color": colour,
                # Dark about light shows on every colour of either scale.
                "line": {"width": 1, "color": INK if colour == "white" else colour},
            },
        )


def _row_line(figure: go.Figure, label: str, row: Number, columns: int) -> None:
    # Dark dashes on a light line show on every colour of either scale.
    for style in ({"color": "white", "width": 3}, {"color": INK, "width": 1, "dash": "dash"}):
        figure.add_scatter(
            x=[-0.5, columns - 0.5],
            y=[row, row],
            mode="lines",
            line=style,
            hoverinfo="skip",
            showlegend=False,
        )
    figure.add_annotation(
        text=escape(label),
        x=1,
        xref="x domain",
        xanchor="left",
        y=row,
        showarrow=False,
        font={"size": 11, "color": QUIET},
    )


def _boxes(figure: go.Figure, values: np.ndarray, cells: Sequence[tuple[int, int]]) -> None:
    rows, columns = values.shape
    for row, column in cells:
        if not (0 <= row < rows and 0 <= column < columns):
            raise ValueError(
                f"boxed cell {(row, column)} is outside of {rows} rows x {columns} columns"
            )
        figure.add_shape(
            type="rect",
            x0=column - 0.5,
            x1=column + 0.5,
            y0=row - 0.5,
            y1=row + 0.5,
            line={"color": INK, "width": 2.5},
        )
        value = values[row, column]
        wide = columns <= WIDE_COLUMNS
        left = column > columns / 2  # beside a narrow cell, towards the inside, where there is room
        figure.add_annotation(
            text=f"<b>{'undefined' if np.isnan(value) else f'{round(value, 2) + 0.0:.2f}'}</b>",
            x=column - 0.45 if wide else column - 0.6 if left else column + 0.6,
            y=row,
            xanchor="left" if wide or not left else "right",
            showarrow=False,
            font={"size": 12},
            bgcolor="rgba(255,255,255,0.85)",
            borderpad=1,
        )


def _mark_columns(
    figure: go.Figure, column_labels: Sequence[str], marks: Mapping[str, str]
) -> None:
    if stray := [label for label in marks if label not in column_labels]:
        raise ValueError(f"marks {stray} name no column; columns: {list(column_labels)}")
    for column, label in enumerate(column_labels):
        if label in marks:
            figure.add_vrect(
                x0=column - 0.5,
                x1=column + 0.5,
                line={"color": INK, "width": 1.5},
                fillcolor="rgba(0,0,0,0)",
            )
            figure.add_annotation(
                text=f"{escape(marks[label])} ▾",
                x=column,
                y=1,
                yref="y domain",
                yanchor="bottom",
                showarrow=False,
                font={"size": 12},
            )
