"""One self-contained HTML page for a run: claims first, then sections of figures and tables.

1. Claims (plain records) are laid out by kind, a row per statement and a column per subject.
2. Every block becomes markup: text is escaped, a plotly figure becomes its own script, a table its
   rows, an interactive view a mount point with its properties.
3. The page is one file that makes no request: plotly.js and circuitsvis are inlined, each at most
   once and only where a block needs it, and every font is the reader's own.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jinja2
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from interp.numerals import numeral

LARGEST_COUNT = 2**53
"""Up to here every whole number is a float of its own."""

KINDS = {
    "finding": "Findings, each tested; p values corrected over all of the run",
    "control": "Controls: where one fails, the findings about its subject do not count",
    "description": "Measured, without a verdict",
}
"""Kinds of claims in the order of the page, with their headings."""

WHITE = {" ": "␣", "\n": "↵", "\r": "↵", "\t": "⇥", "\u3000": "␣", "\xa0": "␣"}
"""What stands for white space at the ends of a cell."""


@runtime_checkable
class View(Protocol):
    """An interactive view that circuitsvis draws in the page."""

    @property
    def element(self) -> str:
        """Name of the circuitsvis component, e.g. "AttentionHeads"."""
        ...

    @property
    def props(self) -> Mapping[str, Any]:
        """The component's properties, JSON-ready."""
        ...


@dataclass(frozen=True)
class Figure:
    """A picture with the sentence that says how to read it."""

    figure: go.Figure | View
    """A plotly figure or an interactive view."""
    caption: str
    """One sentence of reading, plain text."""


@dataclass(frozen=True)
class Table:
    """A table with its caption."""

    frame: pd.DataFrame
    """The rows; a named index is shown as leading columns, a bare row count is not."""
    caption: str = ""
    """What the table holds, plain text."""


Block = str | Figure | Table
"""A string is one paragraph of plain text."""


@dataclass(frozen=True)
class Section:
    """A titled part of the page, with an entry in the table of contents."""

    title: str
    """Heading, plain text."""
    body: Sequence[Block]
    """Paragraphs, figures and tables in reading order."""


def render(
    title: str,
    claims: Sequence[Mapping[str, Any]],
    sections: Sequence[Section],
    *,
    introduction: str = "",
    facts: Mapping[str, str] | None = None,
) -> str:
    """The page as HTML.

    `claims` are JSON-ready records as of `interp.claims.as_records`: findings are shown first, then
    controls, then descriptions. `facts` (model, versions, seed,
    command) stand at the foot. All text is escaped. Raises ValueError for a block of another type,
    and if two claims share question, statement and subject.
    """
    shown = [_section(section, f"section-{n}") for n, section in enumerate(sections, start=1)]
    kinds = {block["kind"] for section in shown for block in section["blocks"]}
    return _template().render(
        title=title,
        introduction=introduction,
        claims=_side_by_side(claims),
        subjects=list(dict.fromkeys(claim["subject"] for claim in claims)),
        sections=shown,
        facts=facts or {},
        plotly_js=_inline(get_plotlyjs()) if "plot" in kinds else "",
        circuitsvis_js=_inline(_circuitsvis()) if "view" in kinds else "",
    )


def _section(section: Section, name: str) -> dict[str, Any]:
    blocks = [_block(block, f"{name}-{n}") for n, block in enumerate(section.body, start=1)]
    return {"title": section.title, "id": name, "blocks": blocks}


def _block(block: Block, name: str) -> dict[str, Any]:
    if isinstance(block, str):
        return {"kind": "text", "text": block}
    if isinstance(block, Table):
        return {"kind": "table", "caption": block.caption, **_cells(block.frame)}
    if not isinstance(block, Figure):
        raise ValueError(
            f"a block of type {type(block).__name__} cannot be shown; give a str, Figure or Table"
        )
    if isinstance(block.figure, go.Figure):
        return {"kind": "plot", "caption": block.caption, "html": _plot(block.figure, name)}
    view = {"element": block.figure.element, "props": block.figure.props, "id": name}
    return {"kind": "view", "caption": block.caption, **view}


def _plot(figure: go.Figure, name: str) -> Markup:
    # Plotly escapes <, > and / in the data it writes, so no text of ours can end the script.
    return Markup(
        plotly.io.to_html(
            figure,
            include_plotlyjs=False,
            full_html=False,
            div_id=name,
            # A percentage height has no parent to refer to here and would collapse.
            default_height=f"{figure.layout.height or 450}px",
            config={"responsive": True, "displaylogo": False},
        )
    )


def _cells(frame: pd.DataFrame) -> dict[str, Any]:
    if not (isinstance(frame.index, pd.RangeIndex) and frame.index.name is None):
        if twice := [name for name in frame.index.names if name in frame.columns]:
            raise ValueError(
                f"the table's index and a column are both called {twice[0]!r}; rename one, or drop "
                "the index"
            )
        frame = frame.reset_index()
    numeric = [
        pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)
        for dtype in frame.dtypes
    ]
    names = [
        " · ".join(str(part) for part in name if part != "")
        if isinstance(name, tuple)
        else str(name)
        for name in frame.columns
    ]
    columns = [_texts(frame.iloc[:, place].tolist()) for place in range(len(names))]
    return {
        "columns": list(zip(names, numeric, strict=True)),
        "rows": list(zip(*columns, strict=True)),
    }


def _texts(cells: list[Any]) -> list[str]:
    """A column's cells: whole numbers in full, others to four significant digits, absent ones as a
    dash. Counts of which one is missing are floats to pandas, and stay counts here."""
    numbers = [cell for cell in cells if isinstance(cell, float) and math.isfinite(cell)]
    counts = all(number.is_integer() and abs(number) < LARGEST_COUNT for number in numbers)
    return [_text(cell, counts) for cell in cells]


def _text(cell: Any, counts: bool) -> str:
    if cell is None or cell is pd.NA or cell is pd.NaT or cell != cell:
        return "–"
    if isinstance(cell, float | np.floating):
        return f"{cell:.0f}" if counts and math.isfinite(cell) else numeral(cell, 4)
    return _visible(cell) if isinstance(cell, str) else str(cell)


def _visible(text: str) -> str:
    """A text whose white space at either end can be seen: a token is often nothing else."""
    kept = text.strip()
    start = text.find(kept) if kept else len(text)
    ends = text[:start], text[start + len(kept) :]
    before, after = ("".join(WHITE.get(mark, mark) for mark in end) for end in ends)
    return before + kept + after


def _side_by_side(claims: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each question and statement, with its claims by subject; the first of each kind
    has the kind's heading."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for claim in sorted(claims, key=lambda claim: list(KINDS).index(claim["kind"])):
        question, statement, subject = claim["question"], claim["statement"], claim["subject"]
        new = {"question": question, "statement": statement, "kind": claim["kind"], "claims": {}}
        row = rows.setdefault((question, statement), new)
        if subject in row["claims"]:
            raise ValueError(f"two claims about {subject!r} state {statement!r}")
        row["claims"][subject] = claim
    ordered, told = list(rows.values()), set()
    for row in ordered:
        row["heading"] = "" if row["kind"] in told else KINDS[row["kind"]]
        told.add(row["kind"])
    return ordered


def _inline(script: str) -> Markup:
    """`script` made safe inside a script element, which its first `</script` would end."""
    return Markup(re.sub("</(script)", r"<\\/\1", script, flags=re.IGNORECASE))


def _circuitsvis() -> str:
    return (files("circuitsvis") / "dist" / "cdn" / "iife.js").read_text(encoding="utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = numeral
    return environment.get_template("report.html.jinja")
