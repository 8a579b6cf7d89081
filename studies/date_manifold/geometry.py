"""Planes, reuse, shapes and binding: in which plane, as which figure, and whose label.

2. *Planes*: at one depth the pattern of every word (how its activations move with the ideal
   coordinates) is compared with that of every other by principal angles, corrected by how well each
   pattern agrees with itself on independent halves of the data.
3. *Reuse*: at every depth a map is fitted at the source word on training rows and scored at every
   word on held-out ones. Each word is centred and scaled by its own training rows. Reuse is judged
   by the agreement of predictions with the ideal coordinates in the source's own frame, against
   maps fitted to permuted labels. The score does not judge it: it allows any rotation, and a word
   whose plane merely leans towards the noise of the map passes its permutation test.

*Shapes*: each shape is held to its own null, and the best is compared with every other, fitted anew
on resampled groups (`interp.smds.discover`). *Binding*: the text names two people with a label each
and returns to one of them. A bag of labels serves both alike, recall the one that was asked for.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.claims import Claim, description, finding
from interp.plots import depth_lines, reuse_map, similarity_maps
from interp.report import Figure, Section, Table
from interp.smds import (
    Discovery,
    Fit,
    Shape,
    SMDSGrid,
    SubspaceSimilarity,
    discover,
    subspace_similarity,
)
from interp.stats import r_squared
from interp.study import Part, Subject
from studies.date_manifold.data import NOUNS, Dataset
from studies.date_manifold.detection import (
    axes,
    cell_table,
    detection,
    lookup,
    predictions,
    score,
    scores,
)


def at_depth(subject: Subject, _: Dataset) -> Float[np.ndarray, "word n d"]:
    """Activations at the one depth of planes and shapes."""
    return subject.activations_at(subject.row_at(subject.config.depth))


def _depth(subject: Subject) -> str:
    return subject.depths[subject.row_at(subject.config.depth)]


def planes(subject: Subject, texts: Dataset) -> Part:
    """Do two words hold the label along the same directions?"""
    config = subject.config
    similarity = subspace_similarity(
        subject.ask(at_depth),
        **texts.design,
        shape=texts.geometry,
        alpha=config.alpha,
        standardise=config.in_geometry,
        n_permutations=config.permutations,
        seed=config.seed,
    )
    pair = (texts.positions.index(texts.source), texts.positions.index(texts.destination))
    name = f"same plane, {texts.source} and {texts.destination}"
    title = f"{subject.name}: do words share a plane?"
    return Part(
        claims=[_same_plane(subject, texts, similarity, pair)],
        sections=[Section(title, _plane_figures(subject, texts, similarity, pair))],
        tables={"planes": similarity.table(texts.positions).assign(model=subject.name)},
        row={
            f"depth at {config.depth:g} %": _depth(subject),
            name: similarity.corrected[pair],
            f"{name}: p": similarity.p_family[pair],
        },
    )


def _same_plane(
    subject: Subject, texts: Dataset, similarity: SubspaceSimilarity, pair: tuple[int, int]
) -> Claim:
    reliable = similarity.pair_status[pair] == "ok"
    needs = "patterns of both words that agree with themselves on halves of the data"
    controls = {
        "without correction": similarity.similarity[pair],
        "|cosine| of the decoders' weights": similarity.weight_cosine[pair],
    }
    if texts.distractor is not None:
        other = similarity.corrected[pair[0], texts.positions.index(texts.distractor)]
        controls |= {f"{texts.source} and {texts.distractor}, corrected": other}
    p = (similarity.p_family[pair], 1 / (subject.config.permutations + 1))
    return finding(
        "Is it one representation?",
        f"{texts.source} and {texts.destination} hold the {texts.quantity} along shared "
        "directions.",
        estimate=similarity.corrected[pair] if reliable else None,
        unit=f"similarity of planes, corrected for their reliability, at {_depth(subject)}",
        null="labels permuted at the later word, max-T over all pairs of words",
        exchange=texts.exchanged,
        controls=controls,
        tests={"permuted labels": p} if reliable else {},
        needs="" if reliable else needs,
    )


def _plane_figures(
    subject: Subject, texts: Dataset, similarity: SubspaceSimilarity, pair: tuple[int, int]
) -> list[Figure]:
    titles = (
        f"Shared plane of the {texts.quantity} at {_depth(subject)}",
        f"For comparison: |cosine| of the decoders' weights at {_depth(subject)}",
    )
    corrected, cosine = similarity_maps(similarity, texts.positions, titles=titles, pair=pair)
    between = f"{texts.source} and {texts.destination}"
    return [
        Figure(
            corrected,
            f"1 means that two words hold the {texts.quantity} in one plane, 0 in planes at right "
            f"angles; {between} stand in frames, {_number(similarity.corrected[pair])}. Crossed "
            "words carry no pattern that agrees with itself, and a word is not compared with "
            "itself.",
        ),
        Figure(
            cosine,
            "The number that published figures give. It is close to blind: identical planes under "
            f"different noise reach .27, and chance .02. {between} have "
            f"{_number(similarity.weight_cosine[pair])}.",
        ),
    ]


def _number(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.2f}"


def reuse(subject: Subject, texts: Dataset) -> Part:
    """Does the map that reads the label at its source read it at other words?"""
    config, source = subject.config, texts.positions.index(texts.source)
    fit = Fit(config.alpha, standardise=config.in_geometry, source=source)
    grid = score(subject, texts, "reuse", fit=fit)
    level = lookup(subject, texts, fit=replace(fit, source=0)).score.item()
    cell = (subject.row_at(config.depth), texts.positions.index(texts.destination))
    title = f"Score of the map fitted at {texts.source}"
    heat = Figure(
        scores(subject, texts, grid, title, lookup=level),
        "The score of the same predictions, which allows any turn of the plane. Dots mark scores "
        "above permuted labels; where the figure before this one has none, the word holds the "
        f"{texts.quantity} in a plane of its own, a little of which leaks through the map.",
    )
    table = cell_table(subject, texts, grid, without=["null_sd", "survives", "kfold_error"])
    title = f"{subject.name}: is the map of {texts.source} reused?"
    figures = [_agreement(subject, texts, grid), heat, _borrowed(subject, texts, grid, level)]
    assert grid.reuse is not None
    return Part(
        claims=[_reused(subject, texts, grid, cell, level)],
        sections=[Section(title, figures)],
        tables={"reuse": table},
        row={f"map of {texts.source} at {texts.destination}: agreement": grid.reuse.observed[cell]},
    )


def _reused(
    subject: Subject, texts: Dataset, grid: SMDSGrid, cell: tuple[int, int], level: float
) -> Claim:
    agreement = grid.reuse
    assert grid.kfold_r2 is not None and agreement is not None
    controls = {
        "score of the borrowed map": grid.score[*cell, 0],
        f"score of its own map at {texts.destination}": subject.ask(detection).grid.score[*cell, 0],
        "R2 of the borrowed map": grid.kfold_r2[cell],
        f"score of a one-hot {texts.category_noun}": level,
    }
    if texts.distractor is not None:
        other = agreement.observed[cell[0], texts.positions.index(texts.distractor)]
        controls |= {f"agreement at {texts.distractor}": other}
    defined = grid.status[cell] == "ok"
    tests = {"maps of permuted labels": (agreement.p_family[cell], agreement.floor)}
    return finding(
        "Is it one representation?",
        f"The map fitted at {texts.source} reads the {texts.quantity} at {texts.destination}.",
        estimate=agreement.observed[cell] if defined else None,
        unit=f"cosine of its predictions with the truth, in its own frame, at {_depth(subject)}",
        null=f"maps fitted to permuted labels: sd {agreement.sd[cell]:.3f}; max-T over the grid",
        exchange=texts.exchanged,
        controls={name: value for name, value in controls.items() if np.isfinite(value)},
        tests=tests if defined else {},
        needs="" if defined else f"a cell with a score (it is {grid.status[cell]})",
    )


def _agreement(subject: Subject, texts: Dataset, grid: SMDSGrid) -> Figure:
    title = f"Is the map of {texts.source} reused?"
    return Figure(
        reuse_map(grid, title=title, **axes(subject, texts)),
        f"Predictions of the map of {texts.source} at every other word, held out, against the "
        "truth in that map's own frame: 1 is the same map, 0 another plane, below 0 the same plane "
        "turned round.",
    )


def _borrowed(subject: Subject, texts: Dataset, grid: SMDSGrid, level: float) -> Figure:
    source, destination = texts.source, texts.destination
    column = texts.positions.index(destination)
    series = {
        f"own map of {destination}": subject.ask(detection).grid.score[:, column, 0],
        f"map of {source} at {destination}": grid.score[:, column, 0],
    }
    if texts.distractor is not None:
        other = grid.score[:, texts.positions.index(texts.distractor), 0]
        series |= {f"map of {source} at {texts.distractor}": other}
    null = float(np.nanmedian(grid.test.mean))
    figure = depth_lines(
        series,
        subject.depths,
        title=f"Own and borrowed maps at {destination}",
        y_title="held-out score",
        references={"null": null, f"one-hot {texts.category_noun}": level},
    )
    return Figure(
        figure,
        f"The distance of the two {destination} curves is what {destination} holds but the map of "
        f"{source} does not read.",
    )


def shapes(subject: Subject, texts: Dataset) -> Part:
    """Which shape fits best at the source and at the destination?"""
    row, depth = subject.row_at(subject.config.depth), _depth(subject)
    status = subject.ask(detection).grid.status[row]
    claims, tables, best = [], {}, {}
    for word in texts.landmarks:
        column = texts.positions.index(word)
        if status[column] != "ok":
            claims.append(_best_shape(texts, word, depth, None, str(status[column])))
            continue
        ranking = _ranked(subject, texts, column)
        claims.append(_best_shape(texts, word, depth, ranking))
        tables[word] = ranking.table()
        best[f"best shape at {word}"] = ranking.shapes[0]
    if not tables:
        return Part(claims=claims)
    table = pd.concat(tables, names=["word"]).reset_index(level="word").reset_index(drop=True)
    caption = (
        f"Shapes at {depth}, ordered by gain, the share of the way from each shape's own null of "
        "permuted labels to a perfect score; raw scores of different shapes are not comparable. z "
        "says how sure it is that a shape gains anything, and does not order shapes. The limits of "
        "the first one's leads hold for all of them at once."
    )
    section = Section(f"{subject.name}: which shape fits best?", [Table(table, caption)])
    tables = {"shapes": table.assign(model=subject.name)}
    return Part(claims=claims, sections=[section], tables=tables, row=best)


def _ranked(subject: Subject, texts: Dataset, column: int) -> Discovery:
    """The shape asked for first and its rivals: lines, open and closed curves, a lookup table."""
    first = texts.geometry
    rivals: list[str | Shape] = ["linear", "semicircular", "spiral"]
    if texts.labels.min() >= 0:
        rivals.append("log_linear")
    return discover(
        subject.ask(at_depth)[column],
        **texts.design,
        shapes=[first, *(name for name in rivals if name != first.name), _clusters(texts)],
        alpha=subject.config.alpha,
        resampling=subject.options["resampling"],
    )


def _clusters(texts: Dataset) -> Shape:
    """Every category as far from every other: what a lookup table looks like."""

    def distances(y: np.ndarray) -> np.ndarray:
        category = texts.axis.of(y)
        return (category[:, None] != category).astype(float)

    # as far from one another as all others: a simplex, of one dimension fewer than categories
    return Shape(f"{texts.category_noun} clusters", distances=distances, columns=(1,))


def _best_shape(
    texts: Dataset, word: str, depth: str, ranking: Discovery | None, status: str = ""
) -> Claim:
    question = "Which shape fits best?"
    statement = f"The shape that gains most at {word}, and its lead."
    if ranking is None:
        return description(question, statement, needs=f"a cell with a score (it is {status})")
    best, second = (NOUNS.get(name, name) for name in ranking.shapes[:2])
    return description(
        question,
        statement,
        estimate=ranking.leads[0],
        unit=f"gain of {best} less that of {second} at {depth}",
        interval=tuple(ranking.lead_intervals[0].tolist()),
        null="each shape's own permutations on the same folds; groups drawn anew, with new fits",
        exchange=texts.exchanged,
        selection=f"best and second of {len(ranking.shapes)}: limits hold against every other",
        controls={
            "leads every other beyond its limits": "yes" if ranking.decided else "no",
            "in order of gain": ", ".join(ranking.shapes),
        },
    )


def binding(subject: Subject, texts: Dataset) -> Part:
    """Is the asked person's label recalled, or every label that was said?"""
    if texts.other is None:
        return Part()
    fit = Fit(subject.config.alpha, standardise=subject.config.in_detection)
    grid = score(subject, texts, "binding", y=texts.other, fit=fit)
    assert grid.kfold_r2 is not None
    detected = subject.ask(detection)
    asked, other = (cell_table(subject, texts, of) for of in (detected.grid, grid))
    table = other[["model", "depth", "word", "status"]].assign(
        asked_score=asked.score,
        other_score=other.score,
        other_z=other.z,
        other_p_family=other.p_family,
        asked_r2=asked.kfold_r2,
        other_r2=other.kfold_r2,
    )
    column = texts.positions.index(texts.destination)
    r2 = {"asked": detected.kfold_r2[:, column], "other": grid.kfold_r2[:, column]}
    row = subject.row_at(subject.config.depth)
    figures = [
        _whose(subject, texts, detected.grid, "asked"),
        _whose(subject, texts, grid, "other"),
        _both(subject, texts, r2),
    ]
    title = f"{subject.name}: the asked person's {texts.quantity} or both?"
    return Part(
        claims=[_recalled(subject, texts, grid)],
        sections=[Section(title, figures)],
        tables={"binding": table},
        row={
            f"R2 of the {whose} {texts.quantity} at {texts.destination}": of[row]
            for whose, of in r2.items()
        },
    )


def _recalled(subject: Subject, texts: Dataset, grid: SMDSGrid) -> Claim:
    assert texts.other is not None
    cell = (subject.row_at(subject.config.depth), texts.positions.index(texts.destination))
    activations, quantity = subject.ask(at_depth)[cell[1]], texts.quantity
    asked = r_squared(texts.ideal(), predictions(subject, texts, activations))
    predicted = predictions(subject, texts, activations, y=texts.other)
    other = r_squared(texts.ideal(texts.other), predicted)
    p = subject.ask(detection).grid.test.p_family[*cell, 0]
    return description(
        "Is it recalled, or is it a bag of labels?",
        f"How far the asked person's {quantity} stands above the other's at {texts.destination}.",
        estimate=asked - other,
        unit=f"R2 of the asked less R2 of the other {quantity} at {_depth(subject)}",
        null="no difference",
        controls={
            f"R2 of the asked {quantity}": asked,
            f"R2 of the other {quantity}": other,
            f"score of the asked {quantity}, family-wise p": p,
            f"score of the other {quantity}, family-wise p": grid.test.p_family[*cell, 0],
        },
    )


def _whose(subject: Subject, texts: Dataset, grid: SMDSGrid, whose: str) -> Figure:
    title = f"Score for the {whose} person's {texts.quantity}"
    return Figure(
        scores(subject, texts, grid, title, lookup=subject.ask(detection).lookup),
        f"Every cell scored for the {texts.quantity} of the person who is "
        f"{'asked for' if whose == 'asked' else 'not asked for'}; words that state the other's "
        'end in "(other)".',
    )


def _both(subject: Subject, texts: Dataset, r2: dict[str, Float[np.ndarray, " depth"]]) -> Figure:
    figure = depth_lines(
        r2,
        subject.depths,
        title=f"Two people's {texts.quantity}s at {texts.destination}",
        y_title="held-out R2",
        y_range=(-1, 1),
        references={"no better than the mean": 0},
    )
    return Figure(
        figure,
        f"Where the curves lie together, {texts.destination} holds a bag of {texts.quantity}s; "
        "recall lifts the asked person's above the other's.",
    )
