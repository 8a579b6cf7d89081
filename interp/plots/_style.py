"""The one style of every figure: fonts, colours, margins and escaped labels.

Labels are data (tokens, words), so their markup is escaped: plotly would read `<b>` in a token as a
tag. Title and legend are placed in pixels from the top edge, because plotly's fractions of the plot
would make them collide in a low figure.
"""

import html
from collections.abc import Iterable
from textwrap import wrap

import plotly.graph_objects as go

Number = int | float
"""A level or a position: whole ones are as good."""

INK = "#1b1f24"
QUIET = "#59636e"
LINE = "#d9dee3"
UNDEFINED = "#e6e9ed"
# Okabe and Ito's palette (2008), which stays apart under the common colour blindnesses; its yellow
# is left out because it does not show on white.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#1b1f24")
DASHES = ("solid", "dash", "dot")

# About 90 characters of the title's font fill the narrowest column a report gives a figure.
TITLE_WIDTH = 90
LINE_HEIGHT = 22

_AXIS = {"automargin": True, "gridcolor": LINE, "linecolor": LINE, "zeroline": False}
TEMPLATE = go.layout.Template(
    layout={
        "font": {
            "family": "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif",
            "size": 13,
            "color": INK,
        },
        "title": {"x": 0, "xref": "container", "xanchor": "left", "font": {"size": 16}},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "colorway": SERIES,
        "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"color": INK}},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)


def escape(label: object) -> str:
    """The label as text that plotly shows literally."""
    return html.escape(str(label), quote=False)


def escape_all(labels: Iterable[object]) -> list[str]:
    """`escape` of each label."""
    return [escape(label) for label in labels]


def finish(figure: go.Figure, title: str, *, height: int, above: int = 0) -> None:
    """Sets template, title and size; `above` lines of text are kept free between title and plot."""
    titles = [escape(line) for line in wrap(title, TITLE_WIDTH)]
    top = 12 + LINE_HEIGHT * len(titles)
    # Plotly lowers a title by its capitals' height (.7 of 16 px) only if it has a single line.
    offset = 8 + (11 if len(titles) > 1 else 0)
    figure.update_layout(
        template=TEMPLATE,
        height=height,
        title={"text": "<br>".join(titles), "y": 1 - offset / height, "yanchor": "top"},
        margin={"l": 8, "r": 8, "b": 8, "t": top + LINE_HEIGHT * above + 4},
    )
    if above:
        figure.update_layout(
            legend={
                "orientation": "h",
                "x": 0,
                "y": 1 - top / height,
                "yref": "container",
                "yanchor": "top",
            }
        )
