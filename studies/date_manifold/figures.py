"""The figures of one model, each with a sentence on how to read it."""

import numpy as np
import pandas as pd

from interp.plots import AttentionView, circle, heatmap, lines
from interp.report import Figure, Section, Table
from studies.date_manifold.data import (
    DESTINATION,
    DISTRACTOR,
    PERIOD,
    SOURCE,
    Dates,
    month_names,
)
from studies.date_manifold.detection import UNIFORM_NULL, Detection
from studies.date_manifold.findings import ALPHA, Landmark

MARKS = {SOURCE: "source", DESTINATION: "destination", DISTRACTOR: "distractor"}


def sections(
    found: Detection, places: dict[str, Landmark], dates: Dates, view: AttentionView
) -> list[Section]:
    """The part of the report that belongs to one model."""
    return [
        Section(f"{found.model}: which cells carry the date", [_score(found), _by_word(found)]),
        Section(
            f"{found.model}: circle or lookup table",
            [_order(found), _left_out(found), _curves(found)],
        ),
        Section(
            f"{found.model}: held-out dates in the plane",
            [
                _plane(found, p, dates, left_out=out)
                for p in places.values()
                for out in (False, True)
            ],
        ),
        Section(f"{found.model}: attention of block {view.block}", [_attention(view)]),
    ]


def comparison(detections: list[Detection]) -> Section:
    """The models side by side, best middle depth of each landmark."""
    rows = []
    for found in detections:
        table = found.table().set_index(["depth", "word"])
        for word in (SOURCE, DESTINATION):
            depth = found.rows[found.best(word)]
            cell = table.loc[(depth, word)]
            rows.append(
                {"model": found.model, "word": word, "best middle depth": depth}
                | {shown: cell[name] for name, shown in _COLUMNS.items()}
            )
    caption = (
        "Each model at the depth between 25 and 75 % with the best leave-one-month-out R2; a "
        "family-wise p cannot fall below 1 over the number of permutations plus 1."
    )
    return Section("Models side by side", [Table(pd.DataFrame(rows), caption)])


_COLUMNS = {
    "score": "score",
    "z": "z",
    "p_family": "family-wise p",
    "order_z": "z against shuffled orders",
    "kfold_r2": "R2",
    "kfold_error_days": "error (days)",
    "left_out_r2": "R2, month left out",
    "left_out_error_days": "error, month left out",
}


def _grid(found: Detection, values: np.ndarray, title: str, colour_label: str, **options):
    quarters = {f"{share} %": share / 100 * found.n_blocks for share in (25, 50, 75)}
    return heatmap(
        values,
        row_labels=found.rows,
        column_labels=found.words,
        title=title,
        colour_label=colour_label,
        row_title="depth",
        column_title="word of the sentence",
        marks=MARKS,
        row_lines=quarters,
        status=found.grid.status,
        **options,
    )


def _score(found: Detection) -> Figure:
    figure = _grid(
        found,
        found.grid.score[..., 0],
        "Circular SMDS score, folds grouped by date",
        "held-out score",
        reference={"null": UNIFORM_NULL, "one-hot month": found.lookup},
        survivors=found.survives,
        survivors_label="survives max-T correction at 5 %",
    )
    return Figure(
        figure,
        "Every cell is scored on dates it was not fitted on; a dot marks a score that survives "
        "correction over the whole grid. The null is .40, not 0, and a lookup table of months "
        "reaches the level marked one-hot month. Hatched cells hold one constant vector, so they "
        "have no score.",
    )


def _by_word(found: Detection) -> Table:
    rows = []
    for column, word in enumerate(found.words):
        score, defined = found.grid.score[:, column, 0], found.grid.status[:, column] == "ok"
        best = int(np.nanargmax(score)) if defined.any() else 0
        left = found.months
        rows.append(
            {
                "word": word,
                "surviving depths": f"{found.survives[:, column].sum()} of {defined.sum()}",
                "best depth": found.rows[best],
                "score": score[best],
                "z": found.grid.test.z[best, column, 0],
                "family-wise p": found.grid.test.p_family[best, column, 0],
                "error (days)": found.grid.kfold_error[best, column],  # pyright: ignore[reportOptionalSubscript]
                "error, month left out": left.error[best, column],
            }
        )
    return Table(pd.DataFrame(rows), "Every word at the depth where its score is highest.")


def _order(found: Detection) -> Figure:
    n_orders = len(found.grid.controls["month order"])
    figure = _grid(
        found,
        found.order.z,
        "Does the order of the months matter?",
        f"z against {n_orders} shuffled orders",
        midpoint=0,
        survivors=found.order.p <= ALPHA,
        survivors_label="beats shuffled orders, p <= .05 per cell, uncorrected",
    )
    return Figure(
        figure,
        "The score under the calendar's order of the months, in standard deviations of the score "
        "under shuffled orders: a lookup table fits every order alike and stays near 0.",
    )


def _left_out(found: Detection) -> Figure:
    left = found.months
    figure = _grid(
        found,
        np.clip(left.r2, -1, 1),
        "A month that was never fitted: leave-one-month-out R2",
        "R2 (below -1 drawn as -1)",
        midpoint=0,
        zmin=-1,
        zmax=1,
        survivors=found.left_out.survives() & (left.r2 > 0),
        survivors_label="above 0, and survives max-T correction at 5 %",
    )
    return Figure(
        figure,
        "Each month is placed by a map fitted on the other eleven: above 0 the date is "
        "interpolated along a circle, at or below 0 months are looked up.",
    )


def _curves(found: Detection) -> Figure:
    left = found.months
    columns = {word: found.words.index(word) for word in MARKS}
    figure = lines(
        {f"{word} ({MARKS[word]})": left.r2[:, c] for word, c in columns.items()},
        [row.removeprefix("block ") for row in found.rows],
        title="Leave-one-month-out R2 over the depth",
        x_title="depth (block)",
        y_title="R2",
        references={"no better than the mean": 0},
    )
    figure.update_yaxes(range=[-1, 1])
    figure.update_xaxes(tickangle=-60)
    return Figure(figure, "The three landmarks; below -1 a curve leaves the picture.")


def _plane(found: Detection, place: Landmark, dates: Dates, *, left_out: bool) -> Figure:
    how = "months placed by the other eleven" if left_out else "dates placed by other dates"
    figure = circle(
        place.left_out if left_out else place.kfold,
        dates.label,
        period=PERIOD,
        title=f"{place.word} at {found.rows[place.row]}: {how}",
        categories=list(month_names(dates)),
        value_title="day of the year",
    )
    seen = (
        "that never saw its month, which is what a circle must allow"
        if left_out
        else "that saw its month on other days, which a lookup table would do as well"
    )
    return Figure(
        figure,
        f"Every point is a sentence, placed by a map {seen}; month names stand at their centroids, "
        "joined in the calendar's order.",
    )


def _attention(view: AttentionView) -> Figure:
    return Figure(
        view,
        f"Attention patterns of one sentence in block {view.block}, which holds the head that "
        f"attends most from {DESTINATION} to {SOURCE}; heads stand in the order of that attention.",
    )
