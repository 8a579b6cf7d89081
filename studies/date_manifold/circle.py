"""What source and destination carry: the label, its circle, and the place within a category.

The category means of a word, at every depth from 25 to 75 %, are held to what else would bring
neighbours together: clusters of seasons or halves, an open chain, one axis, names spelled alike,
and compounds of those (`interp.smds.cycle_test`). Places within a category, such as the day within
the month, are asked for apart (`interp.smds.within_category`): a word that knows its month alone
predicts the date to R2 .98. Quantities that do not return, such as ages, are asked for their order
instead (`interp.smds.chain_test`). Roundness is the axis ratio of the ring of category means beyond
what a table of unrelated directions gives in any plane.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.claims import LEVEL, Claim, beats, control, description, finding
from interp.plots import agreement, circle, roundness_lines
from interp.report import Figure, Section, Table
from interp.smds import (
    CycleTest,
    Roundness,
    chain_test,
    cycle_test,
    roundness,
    within_category,
)
from interp.stats import r_squared
from interp.study import Part, Subject
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import best_depth, detection, predictions
from studies.date_manifold.interventions import outcome

ORDERS, WITHIN = 999, 499
"""Draws of a null over whole orders of the categories, and within clusters of them."""

FEWEST = 4
"""Categories below which there is no order to test."""

FEWEST_ROUND = 5
"""Categories below which the level of a table cannot be told."""

Cells = list[tuple[str, Float[np.ndarray, "n d"]]]

# --- the label at its best depth -----------------------------------------------------------------


@dataclass(frozen=True)
class Landmark:
    """Held-out predictions at one word and depth."""

    word: str
    """The word."""
    row: int
    """The depth, by number."""
    kfold: Float[np.ndarray, "n k"]
    """Predictions with folds by group."""
    left_out: Float[np.ndarray, "n k"]
    """Predictions with one category left out at a time."""
    by_label: Float[np.ndarray, "n k"] | None
    """Predictions with all texts of one label held out together; None where that is no question."""


def landmark(subject: Subject, texts: Dataset, word: str, row: int) -> Landmark:
    """Held-out predictions at one cell."""
    cell = subject.activations_at(row)[texts.positions.index(word)]
    left_out = predictions(
        subject,
        texts,
        cell,
        groups=texts.category,
        n_splits=len(np.unique(texts.category)),
        standardise=False,
    )
    recurring = texts.recurring
    by_label = predictions(subject, texts, cell, groups=texts.labels) if recurring else None
    return Landmark(word, row, predictions(subject, texts, cell), left_out, by_label)


def landmarks(subject: Subject, texts: Dataset) -> Part:
    """Do source and destination carry the label?"""
    places = {
        w: landmark(subject, texts, w, best_depth(subject, texts, w)) for w in texts.landmarks
    }
    copies = [_not_by_copies(subject, texts, place) for place in places.values()]
    title = f"{subject.name}: held out"
    return Part(
        claims=[
            *(_present(subject, texts, place) for place in places.values()),
            _beyond_embedding(subject, texts, places[texts.source]),
            *(claim for claim in copies if claim is not None),
        ],
        sections=[
            Section(
                title,
                [
                    _held_out(subject, texts, place, left_out=out)
                    for place in places.values()
                    for out in (False, True)
                ],
            )
        ],
    )


def _present(subject: Subject, texts: Dataset, place: Landmark) -> Claim:
    detected, cell = subject.ask(detection), (place.row, texts.positions.index(place.word))
    truth, category = texts.ideal(), texts.category_noun
    # what one predicts who knows only the category
    own = texts.one_hot()
    means = own @ (own.T @ truth / np.maximum(own.sum(axis=0), 1)[:, None])
    surface, test = detected.kfold_r2[0, cell[1]], detected.grid.test
    return finding(
        f"Where is the {texts.quantity}?",
        f"The word {place.word} carries the {texts.quantity}, be it only its {category}.",
        primary=texts.period is None and place.word == texts.source,
        estimate=r_squared(truth, place.kfold),
        unit=f"held-out R2 at {subject.depths[place.row]}",
        null=detected.grid.in_words(*cell),
        exchange=texts.exchanged,
        selection="the depth, of those from 25 to 75 %: p is corrected over the whole grid (max-T)",
        controls={
            f"score of a one-hot {category}": detected.lookup,
            f"R2 of knowing the {category} alone": r_squared(truth, means),
            "R2 of the embedding, before any block": "0: one token in all texts"
            if np.isnan(surface)
            else surface,
        },
        tests={"permuted labels": (test.p_family[*cell, 0], test.floor)},
        causal_test=subject.ask(outcome) if place.word == texts.destination else None,
    )


def _not_by_copies(subject: Subject, texts: Dataset, place: Landmark) -> Claim | None:
    """Forty facts in six wordings each are forty units: told apart, they carry any label."""
    if place.by_label is None:
        return None
    cell = (place.row, texts.positions.index(place.word))
    carried = subject.ask(detection).grid.test.p_family[*cell, 0] <= LEVEL
    estimate = float(r_squared(texts.ideal(), place.by_label))
    return control(
        "Are the texts units of their own?",
        f"What {place.word} carries is not texts of one label told by their likeness.",
        passed=estimate > 0 if carried else None,
        fails_on="facts that stand in several texts each, without a group column that says so",
        estimate=estimate,
        unit=f"held-out R2 at {subject.depths[place.row]} with all texts of a label held out "
        "together; a control passes above 0",
        controls={"with folds by group": r_squared(texts.ideal(), place.kfold)},
    )


def _beyond_embedding(subject: Subject, texts: Dataset, place: Landmark) -> Claim:
    embedding, truth = landmark(subject, texts, place.word, 0), texts.ideal()
    return description(
        f"Is it a {texts.noun} or a lookup table?",
        f"What the blocks add to the {texts.noun} at {place.word}.",
        estimate=r_squared(truth, place.left_out) - r_squared(truth, embedding.left_out),
        unit=f"leave-one-{texts.category_noun}-out R2 at {subject.depths[place.row]} minus that of "
        "the embedding",
        selection="the depth, for its R2: the difference is too large by what that choice gives",
        controls={"R2 at the embedding": r_squared(truth, embedding.left_out)},
    )


def _held_out(subject: Subject, texts: Dataset, place: Landmark, *, left_out: bool) -> Figure:
    category = texts.category_noun
    how = f"{category}s placed by the others" if left_out else "rows placed by other rows"
    points = place.left_out if left_out else place.kfold
    names = [texts.categories[number] for number in texts.category]
    title = f"{place.word} at {subject.depths[place.row]}: {how}"
    seen = (
        f"that never saw its {category}, which is what a {texts.noun} must allow"
        if left_out
        else f"that saw its {category} in other texts, which a lookup table would do as well"
    )
    if texts.period is not None:
        figure = circle(
            points,
            texts.labels,
            period=texts.period,
            title=title,
            categories=names,
            value_title=f"{texts.quantity} ({texts.unit})" if texts.unit else texts.quantity,
        )
        drawn = f"{category} names stand at their centroids, joined in their order"
    else:
        figure = agreement(
            points[:, 0],
            texts.ideal()[:, 0],
            title=title,
            x_title=f"ideal coordinate of the {texts.quantity}",
            y_title="predicted coordinate",
            categories=names,
        )
        drawn = "on the dashed line prediction and truth agree"
    return Figure(figure, f"Every point is a text, placed by a map {seen}; {drawn}.")


# --- the cycle, or the order, of category means --------------------------------------------------


def middle_cells(subject: Subject, texts: Dataset) -> dict[str, Cells]:
    """Activations of source and destination at every depth from 25 to 75 %, by name."""
    cells: dict[str, Cells] = {word: [] for word in texts.landmarks}
    for row in subject.middle:
        depth, activations = subject.depths[row], subject.activations_at(row)
        for word in cells:
            rows = np.ascontiguousarray(activations[texts.positions.index(word)])
            cells[word].append((depth, rows))
    return cells


def category_order(subject: Subject, texts: Dataset) -> Part:
    """Do categories lie beside their neighbours, and all of them on a circle or a line?"""
    if texts.period is None:
        return Part(claims=[_in_order(subject, texts, word) for word in texts.landmarks])
    cells, options = subject.ask(middle_cells), _order_test(subject, texts)
    tests = (
        {}
        if texts.lacking
        else {word: cycle_test(cells[word], n_within=WITHIN, **options) for word in texts.landmarks}
    )
    claims = [
        _cyclic(texts, word, tests.get(word), circle=circle)
        for word in texts.landmarks
        for circle in (False, True)
    ]
    if not tests:
        return Part(claims=claims)
    table = pd.concat({word: test.table() for word, test in tests.items()}, names=["word"])
    table = table.reset_index(level="word").reset_index(drop=True)
    caption = (
        f"p of refusing each rival of a circle of {texts.category_noun}s, at every depth from 25 "
        "to 75 %, corrected over those depths. A circle needs all of them at one depth. The share "
        f"is that of the squared distances of the {texts.category_noun} means in the circle's "
        f"plane; unrelated directions have {2 / (len(texts.categories) - 1):.2f}."
    )
    largest = {word: float(test.largest_p().min()) for word, test in tests.items()}
    return Part(
        claims=claims,
        sections=[Section(f"{subject.name}: is it a circle?", [Table(table, caption)])],
        tables={"cycle": table.assign(model=subject.name)},
        row={f"circle at {word}, largest p": p for word, p in largest.items()},
    )


def _order_test(subject: Subject, texts: Dataset) -> dict[str, Any]:
    return {
        "category": texts.category,
        "groups": texts.groups,
        "names": texts.written(texts.source),
        "n_categories": len(texts.categories),
        "n_orders": ORDERS,
        "seed": subject.config.seed,
    }


def _cyclic(texts: Dataset, word: str, test: CycleTest | None, *, circle: bool) -> Claim:
    """One of two findings about a word: neighbours are alike, or all lie on a circle."""
    noun, count = texts.category_noun, len(texts.categories)
    question = f"Do the {noun}s lie on a circle?"
    statement = (
        f"At {word} the {noun}s lie on a circle."
        if circle
        else f"At {word} neighbouring {noun}s are alike, as no single rival explains."
    )
    design: dict[str, Any] = {
        "exchange": f"{noun} ({count}: all there are)",
        "primary": circle and word == texts.source,
    }
    if test is None:
        return finding(question, statement, tests={}, needs=texts.lacking, **design)
    rivals = test if circle else test.neighbours
    return beats(
        question,
        statement,
        rivals,
        unit=f"of the squared distances of {noun} means lie in the circle's plane",
        null=f"a lookup table has {2 / (count - 1):.2f}; each rival by its own orders of the "
        f"{noun}s",
        controls={"p of being open at some break": float(test.closed[test.best()])}
        if circle
        else {},
        **design,
    )


def _in_order(subject: Subject, texts: Dataset, word: str) -> Claim:
    """The one finding about a quantity that does not return."""
    noun, count = texts.category_noun, len(texts.categories)
    question = "Is it a line or a lookup table?"
    statement = f"At {word} the {noun}s lie in their order, as no lookup table or sorts explain."
    exchange = f"{noun} ({count})"
    few = "" if count >= FEWEST else f"{FEWEST} {noun}s"
    if missing := few or texts.lacking:
        return finding(question, statement, tests={}, exchange=exchange, needs=missing)
    test = chain_test(subject.ask(middle_cells)[word], **_order_test(subject, texts))
    return beats(
        question,
        statement,
        test,
        exchange=exchange,
        unit=f"of the squared distances of {noun} means lie along their order",
        null=f"a lookup table has {1 / (count - 1):.2f}; each rival by its own orders of the "
        f"{noun}s",
    )


def within(subject: Subject, texts: Dataset) -> Part:
    """Does a word hold the place within its category, such as the day within the month?"""
    numbers = np.unique(texts.category)
    groups = [len(set(texts.groups[texts.category == number])) for number in numbers]
    values = [len(set(texts.labels[texts.category == number])) for number in numbers]
    # categories that are values have no places
    if texts.period is None or min(groups) < 2 or min(values) < 2:
        return Part()
    return Part(claims=[_within(subject, texts, word) for word in texts.landmarks])


def _within(subject: Subject, texts: Dataset, word: str) -> Claim:
    noun, unit = texts.category_noun, texts.unit.removesuffix("s") or "place"
    question, config = f"Where is the {texts.quantity}?", subject.config
    assert texts.period is not None
    result = within_category(
        subject.ask(middle_cells)[word],
        texts.labels,
        texts.category,
        texts.groups,
        period=texts.period,
        n_splits=config.folds,
        n_permutations=config.permutations,
        seed=config.seed,
    )
    depth, test = result.best("number"), result.test
    if depth is None:
        statement = f"{word}: the {unit} within the {noun}."
        return description(
            question, statement, needs=f"activations of {word} that vary within a {noun}"
        )
    return finding(
        question,
        f"The word {word} tells the {unit} within the {noun} as well.",
        estimate=float(test.observed[depth, 0]),
        unit=f"held-out R2 within {noun}s at {result.depths[depth]}",
        null=f"{config.permutations} exchanges of labels within {noun}s: mean "
        f"{test.mean[depth, 0]:.2f}, since nothing held out is told by noise",
        exchange=texts.exchanged,
        selection=f"the depth, of {len(result.depths)}: p is corrected over them (max-T)",
        tests={f"the {noun} alone": (float(result.p("number")[depth]), test.floor)},
        controls={"p of the place on the circle": float(np.nanmin(result.p("arc")))},
    )


# --- roundness -----------------------------------------------------------------------------------


def ring(subject: Subject, texts: Dataset) -> Part:
    """How round is the ring of categories?"""
    cyclic = texts.geometry.name == "circular" and texts.period is not None
    if not cyclic or len(texts.categories) < FEWEST_ROUND or texts.lacking:
        return Part()
    places = [texts.positions.index(word) for word in texts.landmarks]
    rings = roundness(
        (activations[places] for _, activations in subject.activations()),
        texts.category,
        positions=texts.landmarks,
        n_categories=len(texts.categories),
        seed=subject.config.seed,
    )
    row = subject.row_at(subject.config.depth)
    ratios = dict(zip(texts.landmarks, rings.ratio[row], strict=True))
    table = rings.table(subject.depths).rename(columns={"position": "word"})
    title = f"Roundness of the ring of {texts.category_noun}s"
    figure = Figure(
        roundness_lines(rings, subject.depths, title=title),
        f"Axis ratio of the ring of {texts.category_noun} means, less what a table of unrelated "
        "directions has in any plane. Bands reach down to what it is at least, at 95 %.",
    )
    return Part(
        claims=[_round(texts, word, rings, row, subject.depths[row]) for word in texts.landmarks],
        sections=[Section(f"{subject.name}: is the ring round?", [figure])],
        tables={"roundness": table.assign(model=subject.name)},
        row={f"axis ratio at {word}": ratio for word, ratio in ratios.items()},
    )


def _round(texts: Dataset, word: str, rings: Roundness, row: int, depth: str) -> Claim:
    column = rings.positions.index(word)
    return description(
        "Is the figure rigid, and is it round?",
        f"How round the ring of {texts.category_noun}s is at {word}, beyond what a table would be.",
        estimate=rings.ratio[row, column],
        unit=f"minor over major axis at {depth}, in spreads within {texts.category_noun}s",
        null="unrelated directions, whose level in any plane is taken off: a table has 0",
        exchange=f"none: the {len(texts.categories)} {texts.category_noun}s are all there are",
        controls={"at least (95 %, of the table's scatter)": rings.lower[row, column]},
    )
