"""Which shape fits best at the source and at the destination?

Each shape is held to its own null on the same folds, and the best is compared with every other,
fitted anew on resampled groups (`interp.smds.discover`).
"""

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.claims import Claim, description
from interp.report import Section, Table
from interp.smds import Discovery, Shape, discover
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import Detection
from studies.date_manifold.scoring import NOUNS, Layout, Part, Settings, exchanged, geometry


def shapes(data: Dataset) -> list[str | Shape]:
    """The shape asked for first and its rivals: lines, open and closed curves, a lookup table."""
    rivals: list[str | Shape] = ["linear", "semicircular", "spiral"]
    if data.label.min() >= 0:
        rivals.append("log_linear")
    first = geometry(data)
    return [first, *(name for name in rivals if name != first.name), _clusters(data)]


def _clusters(data: Dataset) -> Shape:
    """Every category as far from every other: what a lookup table looks like."""

    def distances(y: np.ndarray) -> np.ndarray:
        category = np.searchsorted(data.edges[1:-1], y, side="right")
        return (category[:, None] != category).astype(float)

    # as far from one another as all others: a simplex, of one dimension fewer than categories
    return Shape(f"{data.category_noun} clusters", distances=distances, columns=(1,))


def investigate(
    found: Detection, cells: Float[np.ndarray, "word n d"], data: Dataset, settings: Settings
) -> Part:
    """Shape discovery at source and destination of one depth; `found` is experiment 1."""
    layout, row = found.layout, found.layout.at(settings.depth)
    depth = layout.rows[row]
    claims, frames, columns = [], [], {}
    for word in dict.fromkeys((data.source, data.destination)):
        column = data.words.index(word)
        status = str(found.grid.status[row, column])
        if status != "ok":
            claims.append(_untestable(layout, word, status))
            continue
        ranked = discover(
            cells[column],
            data.label,
            groups=data.group,
            shapes=shapes(data),
            period=data.period,
            n_splits=settings.n_splits,
            seed=settings.seed,
            alpha=settings.alpha,
            n_permutations=settings.n_permutations,
        )
        claims.append(_claim(layout, ranked, word, depth, data))
        frames.append(_frame(ranked, word))
        columns[f"best shape at {word}"] = ranked.shapes[0]
    if not frames:
        return Part(claims, [])
    table = pd.concat(frames, ignore_index=True)
    caption = (
        f"Shapes at {depth}, ordered by gain, the share of the way from each shape's own null of "
        "permuted labels to a perfect score; raw scores of different shapes are not comparable. z "
        "says how sure it is that a shape gains anything, and does not order shapes. The limits of "
        "the first one's leads hold for all of them at once."
    )
    section = Section(f"{layout.model}: which shape fits best?", [Table(table, caption)])
    return Part(claims, [section], columns, {"shapes": table.assign(model=layout.model)})


def _statement(word: str) -> str:
    return f"The shape that gains most at {word}, and its lead."


def _untestable(layout: Layout, word: str, status: str) -> Claim:
    return description(
        "Which shape fits best?",
        _statement(word),
        subject=layout.model,
        needs=f"a cell with a score (it is {status})",
    )


def _frame(found: Discovery, word: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "word": word,
            "shape": found.shapes,
            "gain": found.gain,
            "lead of the first": [np.nan, *found.leads],
            "lead, low": [np.nan, *found.lead_intervals[:, 0]],
            "lead, high": [np.nan, *found.lead_intervals[:, 1]],
            "z": found.z,
            "p": found.p,
            "score": found.score,
            "null": found.null_mean,
        }
    )


def _claim(layout: Layout, found: Discovery, word: str, depth: str, data: Dataset) -> Claim:
    best, second = found.shapes[:2]
    return description(
        "Which shape fits best?",
        _statement(word),
        subject=layout.model,
        estimate=found.leads[0],
        unit=f"gain of {NOUNS.get(best, best)} less that of {NOUNS.get(second, second)} at {depth}",
        interval=tuple(found.lead_intervals[0].tolist()),
        null="each shape's own permutations on the same folds; groups drawn anew, with new fits",
        exchange=exchanged(data),
        selection=f"best and second of {len(found.shapes)}: limits hold against every other",
        controls={
            "leads every other beyond its limits": "yes" if found.decided else "no",
            "in order of gain": ", ".join(found.shapes),
        },
    )
