"""The figures of experiment 1, each with a sentence on how to read it, and those over models."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from interp.plots import AttentionView, agreement, circle, lines
from interp.report import Figure, Section, Table
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import Detection
from studies.date_manifold.findings import Landmark
from studies.date_manifold.maps import cells, marks, score_map
from studies.date_manifold.scoring import ALPHA, Settings, ideal, noun


def sections(
    found: Detection, places: dict[str, Landmark], data: Dataset, view: AttentionView
) -> list[Section]:
    """The part of the report that belongs to experiment 1 of one model."""
    model = found.layout.model
    return [
        Section(
            f"{model}: which cells carry the {data.quantity}",
            [_score(found, data), _by_word(found, data)],
        ),
        Section(
            f"{model}: {noun(data)} or lookup table",
            [_order(found, data), _left_out(found, data), _curves(found, data)],
        ),
        Section(
            f"{model}: held out",
            [
                _place(found, p, data, left_out=out)
                for p in places.values()
                for out in (False, True)
            ],
        ),
        Section(f"{model}: attention of block {view.block}", [_attention(view, data)]),
    ]


def comparison(
    detections: Sequence[Detection],
    rows: Sequence[Mapping[str, object]],
    data: Dataset,
    depth: float,
) -> Section:
    """The models side by side: landmarks at their best depth, and the further experiments."""
    caption = (
        f"Each model at the depth between 25 and 75 % with the best leave-one-"
        f"{data.category_noun}-out R2; a family-wise p cannot fall below 1 over the number of "
        "permutations plus 1."
    )
    landmarks = [
        _landmark_row(found, word, data)
        for found in detections
        for word in dict.fromkeys((data.source, data.destination))
    ]
    named = [
        {"model": found.layout.model, "depth": found.layout.rows[found.layout.at(depth)]}
        | dict(row)
        for found, row in zip(detections, rows, strict=True)
    ]
    # A model in each column: the rows are many and their names long.
    turned = pd.DataFrame(named).set_index("model").T.rename_axis("").reset_index()
    return Section(
        "Models side by side",
        [
            Table(pd.DataFrame(landmarks), caption),
            Table(turned, f"The further experiments at {depth:g} % of the depth."),
        ],
    )


def _landmark_row(found: Detection, word: str, data: Dataset) -> dict[str, Any]:
    depth = found.layout.rows[found.best(word)]
    cell = found.table().set_index(["depth", "word"]).loc[(depth, word)]
    named = {"model": found.layout.model, "word": word, "best middle depth": depth}
    shown = {
        "score": "score",
        "z": "z",
        "p_family": "family-wise p",
        "order_z": "z against shuffled orders",
        "kfold_r2": "R2",
        "kfold_error": f"error ({data.unit})",
        "left_out_r2": f"R2, {data.category_noun} left out",
        "left_out_error": f"error, {data.category_noun} left out",
    }
    return named | {title: cell[name] for name, title in shown.items() if name in cell}


def _score(found: Detection, data: Dataset) -> Figure:
    title = f"SMDS score of a {noun(data)}, folds grouped by {data.quantity}"
    category = data.category_noun
    return Figure(
        score_map(found.layout, data, found.grid, title, lookup=found.lookup),
        "Every cell is scored on rows it was not fitted on; a dot marks a score that survives "
        "correction over the whole grid. The null is not 0, and a lookup table of "
        f"{category}s reaches the level marked one-hot {category}. Crossed cells hold one "
        "constant vector, so they have no score.",
    )


def _by_word(found: Detection, data: Dataset) -> Table:
    rows = []
    table = found.table().set_index(["depth", "word"])
    for column, word in enumerate(found.layout.words):
        score, defined = found.grid.score[:, column, 0], found.grid.status[:, column] == "ok"
        best = found.layout.rows[int(np.nanargmax(score)) if defined.any() else 0]
        cell = table.loc[(best, word)]
        row = {
            "word": word,
            "surviving depths": f"{found.survives[:, column].sum()} of {defined.sum()}",
            "best depth": best,
            "score": cell.score,
            "z": cell.z,
            "family-wise p": cell.p_family,
            "R2": cell.kfold_r2,
            f"R2, {data.category_noun} left out": cell.left_out_r2,
        }
        if "kfold_error" in cell:
            row[f"error ({data.unit})"] = cell.kfold_error
        rows.append(row)
    return Table(pd.DataFrame(rows), "Every word at the depth where its score is highest.")


def _order(found: Detection, data: Dataset) -> Figure:
    n_orders = len(found.grid.controls["order"])
    figure = cells(
        found.layout,
        data,
        found.order.z,
        f"Does the order of the {data.category_noun}s matter?",
        f"z against {n_orders} shuffled orders",
        status=found.grid.status,
        midpoint=0,
        survivors=found.order.p <= ALPHA,
        survivors_label="beats shuffled orders, p <= .05 per cell, uncorrected",
    )
    return Figure(
        figure,
        f"The score under the true order of the {data.category_noun}s, in standard deviations of "
        "the score under shuffled orders: a lookup table fits every order alike and stays near 0.",
    )


def _left_out(found: Detection, data: Dataset) -> Figure:
    left, category = found.categories, data.category_noun
    figure = cells(
        found.layout,
        data,
        np.clip(left.r2, -1, 1),
        f"A {category} that was never fitted: leave-one-{category}-out R2",
        "R2 (below -1 drawn as -1)",
        status=found.grid.status,
        midpoint=0,
        zmin=-1,
        zmax=1,
        reference={f"one-hot {category}": max(-1.0, found.lookup_left_out)},
        survivors=found.left_out.survives() & (left.r2 > 0),
        survivors_label="above 0, and survives max-T correction at 5 %",
    )
    return Figure(
        figure,
        f"Each {category} is placed by a map fitted on the others: above 0 the {data.quantity} is "
        f"read off a {noun(data)}, at or below 0 {category}s are looked up.",
    )


def _curves(found: Detection, data: Dataset) -> Figure:
    left = found.categories
    named = marks(data)
    figure = lines(
        {f"{word} ({named[word]})": left.r2[:, data.words.index(word)] for word in named},
        [row.removeprefix("block ") for row in found.layout.rows],
        title=f"Leave-one-{data.category_noun}-out R2 over the depth",
        x_title="depth (block)",
        y_title="R2",
        references={
            "no better than the mean": 0,
            f"one-hot {data.category_noun}": found.lookup_left_out,
        },
    )
    figure.update_yaxes(range=[-1, 1])
    figure.update_xaxes(tickangle=-60)
    return Figure(figure, "The landmarks; below -1 a curve leaves the picture.")


def _place(found: Detection, place: Landmark, data: Dataset, *, left_out: bool) -> Figure:
    category = data.category_noun
    how = f"{category}s placed by the others" if left_out else "rows placed by other rows"
    points = place.left_out if left_out else place.kfold
    names = [data.categories[number] for number in data.category]
    title = f"{place.word} at {found.layout.rows[place.row]}: {how}"
    seen = (
        f"that never saw its {category}, which is what a {noun(data)} must allow"
        if left_out
        else f"that saw its {category} in other texts, which a lookup table would do as well"
    )
    if data.period is not None:
        figure = circle(
            points,
            data.label,
            period=data.period,
            title=title,
            categories=names,
            value_title=f"{data.quantity} ({data.unit})" if data.unit else data.quantity,
        )
        drawn = f"{category} names stand at their centroids, joined in their order"
    else:
        figure = agreement(
            points[:, 0],
            ideal(data)[:, 0],
            title=title,
            x_title=f"ideal coordinate of the {data.quantity}",
            y_title="predicted coordinate",
            categories=names,
        )
        drawn = "on the dashed line prediction and truth agree"
    return Figure(figure, f"Every point is a text, placed by a map {seen}; {drawn}.")


def _attention(view: AttentionView, data: Dataset) -> Figure:
    return Figure(
        view,
        f"Attention patterns of one text in block {view.block}, which holds the head that attends "
        f"most from {data.destination} to {data.source}; heads stand in the order of that "
        "attention.",
    )


def article(data: Dataset) -> str:
    """The quantity with its article."""
    return (
        f"{'an' if data.quantity[0] in 'aeiou' or data.quantity == 'hour' else 'a'} {data.quantity}"
    )


def _cycle(data: Dataset) -> str:
    if data.period is None:
        return ""
    return (
        f"Whether the {data.category_noun}s lie on a circle is asked of their means, against every "
        "rival that would bring neighbours together: clusters, an open chain, one axis, names "
        "spelled alike, and compounds of them. "
    )


def method(data: Dataset, settings: Settings) -> Section:
    """What was done, in words."""
    category, shape, middle = data.category_noun, noun(data), f"{settings.depth:g} %"
    standard = {
        "geometry": "Experiments 2 to 4 standardise every feature by its training rows.",
        "all": f"Every feature is standardised by its training rows, except where a {category} is "
        "left out.",
        "none": "No feature is standardised.",
    }[settings.standardise]
    return Section(
        "What was done",
        [
            f"One of {len(data.samples)} texts: “{data.samples[0].text}” {data.made_of}",
            f"(1) At every depth and word the residual stream is mapped to the {shape} of the "
            f"{data.quantity} by supervised multidimensional scaling, fitted and scored on "
            f"different rows ({settings.n_splits} folds). Three things are held against it: "
            f"{settings.n_permutations} permutations of the labels, {settings.n_orders} shuffled "
            f"orders of the {category}s, and the prediction of {category}s that were left out. "
            f"{_cycle(data)}(2) At {middle} of the depth the planes of any two words are compared. "
            f"(3) The map of {data.source} is scored at every word. (4) An orthonormal projection "
            f"is scored, and the roundness of the ring of {category}s measured, beyond that of a "
            f"table. Other shapes are tried at {middle}. (5) "
            f"Activations of the {data.source} are put in place of those of another text "
            f"(patching), and what a decoder reads at {data.destination} is compared with the text "
            f"they came from. (6) The {data.source} is turned in the plane of its map, and the "
            f"decoder is asked how far {data.destination} turned with it; random planes and planes "
            f"of dealt labels stand beside it. {standard}",
        ],
    )
