"""Experiment 1: at every block and word, is the label there, and has it its geometry?

For each cell of blocks x words:

(a) the held-out SMDS score, folds grouped by date, against the same score under labels permuted
    among dates (max-T over all cells);
(b) the score when the order of the categories (months) is shuffled: a lookup table of months fits
    any order as well;
(c) leave one category out: only a geometry says where a month lies that was never fitted.

Experiment 4 scores a projection with orthonormal rows, which may turn but not stretch. Its score
falls with every nuisance dimension of the activations, so a low one does not make a figure less
round: roundness is measured by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.claims import LEVEL, Claim, description
from interp.numerals import listed
from interp.plots import depth_lines, left_out_map, order_map, score_lines, score_map
from interp.report import Block, Figure, Section, Table
from interp.smds import Fit, LeaveOut, SMDSGrid, heldout_predictions, smds_grid
from interp.study import Part, Subject, of_texts
from interp.tasks import Workers
from studies.date_manifold.data import Dataset

UNIFORM_NULL = 1 - np.sqrt(1 - 2 / np.pi)
"""Score of isotropic predictions for labels uniform on the circle, .397."""


def score(
    subject: Subject,
    texts: Dataset,
    name: str,
    blocks: list[tuple[str, np.ndarray]] | None = None,
    **options: Any,
) -> SMDSGrid:
    """The grid of all cells of a model, or of other blocks, with options of `smds_grid`; `name` is
    that of the progress bar."""
    shared = subject.options
    workers = shared["workers"].named(f"{subject.name}: {name}")
    design = texts.design | shared | {"shapes": [texts.geometry], "workers": workers}
    design |= {"fit": Fit(subject.config.alpha)}
    return smds_grid(subject.activations() if blocks is None else blocks, **design | options)


def rehearsed(config: Any, texts: Dataset, size: float, draw: int) -> Subject:
    """Noise with the dates planted, in which nothing can be intervened on."""
    return of_texts(replace(config, interventions=0), texts, size, draw)


def lookup(subject: Subject, texts: Dataset, **options: Any) -> SMDSGrid:
    """The grid of one cell, a one-hot code of the category: what a lookup table reaches."""
    code, one = [("lookup", texts.one_hot()[None])], Workers(n_jobs=1, progress=False)
    resampling = replace(subject.options["resampling"], n_permutations=1)
    return score(subject, texts, "lookup", code, resampling=resampling, workers=one, **options)


def predictions(
    subject: Subject, texts: Dataset, cell: Float[np.ndarray, "n d"], **options: Any
) -> Float[np.ndarray, "n k"]:
    """Held-out coordinates of one cell, with options of `heldout_predictions`."""
    config = subject.config
    design = texts.design | {
        "shape": texts.geometry,
        "n_splits": config.folds,
        "seed": config.seed,
        "alpha": config.alpha,
        "standardise": config.in_detection,
    }
    return heldout_predictions(cell, **design | options)


def cell_table(
    subject: Subject, texts: Dataset, grid: SMDSGrid, *, without: Sequence[str] = ()
) -> pd.DataFrame:
    """One row per depth and word, without some columns."""
    table = grid.table(texts.positions, depths=subject.depths)
    table.insert(0, "model", subject.name)
    table = table.drop(columns=list(without), errors="ignore")
    return table.rename(columns={"position": "word", "order_mean": "shuffled_order_mean"})


def axes(subject: Subject, texts: Dataset) -> dict[str, Any]:
    """Axes of a heatmap of depths by words, with the landmarks marked."""
    return {
        "depths": subject.depths,
        "positions": texts.positions,
        "position_title": "word of the text",
        "marks": texts.marks,
    }


def levels(texts: Dataset, grid: SMDSGrid, lookup: float) -> dict[str, float]:
    """What scores are held against."""
    null = UNIFORM_NULL if texts.period is not None else float(np.nanmedian(grid.test.mean))
    return {"null": null, f"one-hot {texts.category_noun}": lookup}


def scores(subject: Subject, texts: Dataset, grid: SMDSGrid, title: str, *, lookup: float) -> Any:
    """Heatmap of the scores of a grid, with the levels they are held against."""
    held_against = levels(texts, grid, lookup)
    return score_map(grid, title=title, references=held_against, **axes(subject, texts))


@dataclass(frozen=True)
class Detection:
    """Experiment 1 of one model."""

    grid: SMDSGrid
    """Scores with their nulls and controls."""
    left_out: LeaveOut
    """Leave-one-category-out results."""
    kfold_r2: Float[np.ndarray, "depth word"]
    """R2 of held-out predictions."""
    lookup: float
    """Score of a one-hot code of the category: what a lookup table reaches."""
    lookup_left_out: float
    """Leave-one-category-out R2 of the same."""


def detection(subject: Subject, texts: Dataset) -> Detection:
    """Scores of all cells, with shuffled orders and categories left out."""
    config = subject.config
    controls = {"order": texts.shuffled_orders(config.orders, seed=config.seed)}
    grid = score(subject, texts, "detection", controls=controls, leave_out=texts.category)
    left = grid.leave_out
    if config.in_detection:
        # Left-out categories stay with the activations as they are: standardised by the rows that
        # remain, each would need its own Gram matrix under every permutation.
        name = "detection, standardised"
        fit = Fit(config.alpha, standardise=True)
        again = score(subject, texts, name, controls=controls, fit=fit)
        grid = replace(again, leave_out=left)
    table = lookup(subject, texts, fit=Fit(config.alpha, standardise=config.in_detection))
    table_left_out = lookup(subject, texts, leave_out=texts.category).leave_out
    assert left is not None and table_left_out is not None and grid.kfold_r2 is not None
    return Detection(
        grid, left, grid.kfold_r2, float(table.score.item()), float(table_left_out.r2.item())
    )


def best_depth(subject: Subject, texts: Dataset, word: str) -> int:
    """The depth, by number, between 25 and 75 % at which categories that were left out are told
    best."""
    grid = subject.ask(detection).grid
    return grid.best(texts.positions.index(word), subject.middle)


def cells(subject: Subject, texts: Dataset) -> Part:
    """Which cells carry the label?"""
    if subject.number == 1:
        subject.record("folds", texts.made_of)
    detected = subject.ask(detection)
    table = cell_table(subject, texts, detected.grid)
    title = f"SMDS score of a {texts.noun}, folds grouped by {texts.quantity}"
    category = texts.category_noun
    figure = Figure(
        scores(subject, texts, detected.grid, title, lookup=detected.lookup),
        "Every cell is scored on rows it was not fitted on; a dot marks a score that survives "
        "correction over the whole grid. The null is not 0, and a lookup table of "
        f"{category}s reaches the level marked one-hot {category}. Crossed cells hold one "
        "constant vector, so they have no score.",
    )
    title = f"{subject.name}: which cells carry the {texts.quantity}"
    along = [_along(subject, texts)] if len(texts.positions) > 1 else []
    smeared = [] if texts.distractor is None else [_smeared(subject, texts, texts.distractor)]
    return Part(
        claims=[_survivors(subject, texts), *smeared],
        sections=[Section(title, [figure, *along, _by_word(subject, texts)])],
        tables={"cells": table},
        words=[_carrying(subject, texts)],
    )


def _along(subject: Subject, texts: Dataset) -> Figure:
    """The scores along the text, at a quarter, a half and three quarters of the depth."""
    detected = subject.ask(detection)
    rows = [subject.row_at(percent) for percent in (25, 50, 75)]
    given = {name: entry for name, entry in axes(subject, texts).items() if name != "marks"}
    held_against = levels(texts, detected.grid, detected.lookup)
    title = f"SMDS score along the text, {subject.name}"
    figure = score_lines(detected.grid, rows=rows, title=title, references=held_against, **given)
    return Figure(figure, "At 25, 50 and 75 % of the depth.")


def _by_word(subject: Subject, texts: Dataset) -> Table:
    peaks = subject.ask(detection).grid.peaks(texts.positions, depths=subject.depths)
    count = zip(peaks.survive, peaks.defined, strict=True)
    peaks["surviving depths"] = [f"{survive} of {defined}" for survive, defined in count]
    names = {
        "position": "word",
        "surviving depths": "surviving depths",
        "depth": "best depth",
        "score": "score",
        "z": "z",
        "p_family": "family-wise p",
        "kfold_r2": "R2",
        "left_out_r2": f"R2, {texts.category_noun} left out",
        "kfold_error": f"error ({texts.unit})",
    }
    shown = pd.DataFrame({names[name]: peaks[name] for name in names if name in peaks})
    caption = "Every word at the depth where its score is highest."
    return Table(shown.reset_index(drop=True), caption)


def _survivors(subject: Subject, texts: Dataset) -> Claim:
    grid = subject.ask(detection).grid
    defined = grid.status == "ok"
    uniform = {} if texts.period is None else {"null of a uniform circle": UNIFORM_NULL}
    return description(
        f"Where is the {texts.quantity}?",
        f"Cells that carry the {texts.quantity}.",
        estimate=grid.survives().sum(),
        unit=f"surviving cells of {defined.sum()} defined ({defined.size} in all)",
        null=f"{len(grid.null)} permutations of the labels, max-T over the grid at {LEVEL}",
        exchange=texts.exchanged,
        controls={"median null score": np.nanmedian(grid.test.mean)} | uniform,
    )


def _smeared(subject: Subject, texts: Dataset, distractor: str) -> Claim:
    detected, middle = subject.ask(detection), list(subject.middle)
    survives, column = detected.grid.survives()[middle], texts.positions.index(distractor)
    p = detected.grid.test.p_family[middle, column, 0]
    at_destination = survives[:, texts.positions.index(texts.destination)].mean()
    return description(
        "Does context smear over the sentence?",
        f"Depths at which the unrelated word {distractor} carries the {texts.quantity} too.",
        estimate=100 * survives[:, column].mean(),
        unit="% of the depths from 25 to 75 % survive",
        null="permuted labels, family-wise over the grid",
        exchange=texts.exchanged,
        controls={
            f"at {texts.destination} (%)": 100 * at_destination,
            "best K-fold R2 at the word": np.nanmax(detected.kfold_r2[middle, column]),
            "least p over those depths, family-wise": float(np.nanmin(p))
            if np.isfinite(p).any()
            else "undefined",
        },
    )


def _carrying(subject: Subject, texts: Dataset) -> str:
    survives = subject.ask(detection).grid.survives()
    carrying = [texts.positions[word] for word in np.flatnonzero(survives.any(axis=0))]
    silent = [word for word in texts.positions if word not in carrying]
    return (
        f"In {subject.name} {int(survives.sum())} cells survive correction. Some depth of "
        f"{listed(carrying, none='no word')} survives; no depth of "
        f"{listed(silent, none='no word')} does."
    )


def lookup_table(subject: Subject, texts: Dataset) -> Part:
    """Is it a geometry or a lookup table of categories?"""
    title = f"{subject.name}: {texts.noun} or lookup table"
    figures = [_order(subject, texts), _left_out(subject, texts), _curves(subject, texts)]
    return Part(sections=[Section(title, figures)])


def _order(subject: Subject, texts: Dataset) -> Figure:
    noun = texts.category_noun
    title = f"Does the order of the {noun}s matter?"
    grid = subject.ask(detection).grid
    return Figure(
        order_map(grid, "order", title=title, **axes(subject, texts)),
        f"The score under the true order of the {noun}s, in standard deviations of the score under "
        "shuffled orders: a lookup table fits every order alike and stays near 0.",
    )


def _left_out(subject: Subject, texts: Dataset) -> Figure:
    detected, category = subject.ask(detection), texts.category_noun
    title = f"A {category} that was never fitted: leave-one-{category}-out R2"
    level = {f"one-hot {category}": detected.lookup_left_out}
    return Figure(
        left_out_map(detected.grid, title=title, references=level, **axes(subject, texts)),
        f"Each {category} is placed by a map fitted on the others: above 0 the {texts.quantity} is "
        f"read off a {texts.noun}, at or below 0 {category}s are looked up.",
    )


def _curves(subject: Subject, texts: Dataset) -> Figure:
    detected = subject.ask(detection)
    r2 = {
        f"{word} ({mark})": detected.left_out.r2[:, texts.positions.index(word)]
        for word, mark in texts.marks.items()
    }
    figure = depth_lines(
        r2,
        subject.depths,
        title=f"Leave-one-{texts.category_noun}-out R2 over the depth",
        y_title="R2",
        y_range=(-1, 1),
        references={
            "no better than the mean": 0,
            f"one-hot {texts.category_noun}": detected.lookup_left_out,
        },
    )
    return Figure(figure, "The landmarks; below -1 a curve leaves the picture.")


def rigidity(subject: Subject, texts: Dataset) -> Part:
    """Is the figure rigid?"""
    config = subject.config
    fit = Fit(config.alpha, orthonormal=True, standardise=config.in_geometry)
    grid = score(subject, texts, "rigidity", fit=fit)
    level = lookup(subject, texts, fit=fit).score.item()
    row, source = subject.row_at(config.depth), texts.positions.index(texts.source)
    rigid = description(
        "Is the figure rigid, and is it round?",
        f"What a projection that cannot stretch finds of the {texts.quantity} at {texts.source}.",
        estimate=grid.score[row, source, 0],
        unit=f"orthonormal held-out score at {subject.depths[row]}",
        null=grid.in_words(row, source),
        controls={
            "ridge regression": subject.ask(detection).grid.score[row, source, 0],
            f"one-hot {texts.category_noun}, orthonormal": level,
        },
    )
    heat = Figure(
        scores(subject, texts, grid, "Score of an orthonormal projection", lookup=level),
        "A projection that may turn but not stretch or weigh features against their noise: the "
        "figure must stand out from the activations as they are. Low scores are no sign of an "
        "ellipse; a perfect circle beside twenty nuisance dimensions scores .40 here.",
    )
    table = cell_table(subject, texts, grid, without=["null_sd"])
    return Part(
        claims=[rigid],
        sections=[Section(f"{subject.name}: is the figure rigid?", [heat])],
        tables={"rigidity": table.rename(columns={"score": "orthonormal_score"})},
        row={f"orthonormal score at {texts.source}": grid.score[row, source, 0]},
    )


def method(subjects: Sequence[Subject], texts: Dataset) -> list[Block]:
    """What was done, in words, and the landmarks of all models at their best depth."""
    config = subjects[0].config
    category, middle = texts.category_noun, f"{config.depth:g} %"
    standard = {
        "geometry": "Experiments 2 to 4 standardise every feature by its training rows.",
        "all": f"Every feature is standardised by its training rows, except where a {category} is "
        "left out.",
        "none": "No feature is standardised.",
    }[config.standardise]
    cycle = (
        f"Whether the {category}s lie on a circle is asked of their means, against every rival "
        "that would bring neighbours together: clusters, an open chain, one axis, names spelled "
        "alike, and compounds of them. "
    )
    caption = (
        f"Each model at the depth between 25 and 75 % with the best leave-one-{category}-out R2; a "
        "family-wise p cannot fall below 1 over the number of permutations plus 1."
    )
    rows = [_landmark_row(subject, texts, word) for subject in subjects for word in texts.landmarks]
    return [
        f"One of {len(texts.samples)} texts: “{texts.samples[0].text}” {texts.made_of}",
        f"(1) At every depth and word the residual stream is mapped to the {texts.noun} of the "
        f"{texts.quantity} by supervised multidimensional scaling, fitted and scored on "
        f"different rows ({config.folds} folds). Three things are held against it: "
        f"{config.permutations} permutations of the labels, {config.orders} shuffled "
        f"orders of the {category}s, and the prediction of {category}s that were left out. "
        f"{'' if texts.period is None else cycle}(2) At {middle} of the depth the planes of any "
        f"two words are compared. (3) The map of {texts.source} is scored at every word. (4) An "
        f"orthonormal projection is scored, and the roundness of the ring of {category}s measured, "
        f"beyond that of a table. Other shapes are tried at {middle}. (5) "
        f"Activations of the {texts.source} are put in place of those of another text "
        f"(patching), and what a decoder reads at {texts.destination} is compared with the text "
        f"they came from. (6) The {texts.source} is turned in the plane of its map, and the "
        f"decoder is asked how far {texts.destination} turned with it; random planes and planes "
        f"of dealt labels stand beside it. {standard}",
        Table(pd.DataFrame(rows), caption),
    ]


def _landmark_row(subject: Subject, texts: Dataset, word: str) -> dict[str, Any]:
    depth = subject.depths[best_depth(subject, texts, word)]
    table = cell_table(subject, texts, subject.ask(detection).grid)
    cell = table.set_index(["depth", "word"]).loc[(depth, word)]
    shown = {
        "score": "score",
        "z": "z",
        "p_family": "family-wise p",
        "order_z": "z against shuffled orders",
        "kfold_r2": "R2",
        "kfold_error": f"error ({texts.unit})",
        "left_out_r2": f"R2, {texts.category_noun} left out",
        "left_out_error": f"error, {texts.category_noun} left out",
    }
    named = {"model": subject.name, "word": word, "best middle depth": depth}
    return named | {title: cell[name] for name, title in shown.items() if name in cell}
