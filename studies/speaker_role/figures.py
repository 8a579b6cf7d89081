"""The figures of one model, each with a sentence on how to read it."""

from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.plots import AttentionView, heatmap, scatter, scatter_grid
from interp.probes import Transfer, project
from interp.report import Figure, Section, Table
from studies.speaker_role.activations import Tokens
from studies.speaker_role.data import Design
from studies.speaker_role.probing import Probing

SHOWN = 300
"""Tokens of a panel; more would cover one another."""


def sections(found: Probing, view: AttentionView | None, seed: int) -> list[Section]:
    """The part of the report that belongs to one model."""
    model = found.model
    made = [
        Section(f"{model}: where speakers are told apart", [_score(found), _by_role(found)]),
        Section(f"{model}: what else could explain it", [_selectivity(found), _leaky(found)]),
    ]
    if found.directions:
        made.append(Section(f"{model}: one direction", _directions(found)))
    made.append(Section(f"{model}: pictures", _pictures(found, seed)))
    if view is not None:
        caption = (
            f"Attention of the first turns in block {view.block}, which holds the head that looks "
            "most from the last token back to the speakers' tags; heads in the order of that."
        )
        made.append(Section(f"{model}: attention to the tags", [Figure(view, caption)]))
    return made


def comparison(every: list[Probing]) -> Table:
    """The models side by side, each at its best cell."""
    rows = []
    for found in every:
        grid, (depth, role) = found.grid, found.best
        direction = found.directions.get(found.best)
        rows.append(
            {
                "model": found.model,
                "best depth": f"{grid.blocks[depth]} ({found.tokens.percent[depth]:.0f} %)",
                "role": grid.cells[role],
                "balanced accuracy": grid.score[found.best],
                "low": grid.interval[found.best][0],
                "high": grid.interval[found.best][1],
                "family-wise p": grid.test.p_family[found.best],
                "embedding": np.nan if grid.surface is None else grid.surface[role],
                "names exchanged": np.nan if found.exchange is None else found.exchange.accuracy,
                "one direction": np.nan if direction is None else direction.accuracy,
                "naive": np.nan if found.naive is None else found.naive.token_wise,
                "majority": np.nan if grid.majority is None else grid.majority[role],
            }
        )
    caption = (
        "Each model at its best cell of a role that does not name the speaker. Naive: one "
        "transcript as written, its commonest role at the last depth, folds that split turns. "
        "Majority: plain accuracy of always "
        "answering the commoner speaker."
    )
    return Table(pd.DataFrame(rows), caption)


def _map(
    found: Probing, values: Float[np.ndarray, "depths roles"], title: str, label: str, **options
):
    grid = found.grid
    return heatmap(
        values,
        row_labels=grid.blocks,
        column_labels=grid.cells,
        title=title,
        colour_label=label,
        row_title="depth",
        column_title="role of the token",
        status=grid.status,
        boxed=(found.best,),
        **options,
    )


def _score(found: Probing) -> Figure:
    figure = _map(
        found,
        found.grid.score,
        "Who speaks? Balanced accuracy on transcripts that were never fitted",
        "balanced accuracy",
        reference={"chance": found.grid.chance},
        zmin=min(found.grid.chance, float(np.nanmin(found.grid.score))),
        zmax=1,
        survivors=found.survives,
        survivors_label="survives max-T correction at 5 %",
    )
    return Figure(
        figure,
        "A tag is the name itself and shows only that the probe works; the question is about the "
        "other columns. A dot marks a score above permuted speakers after correction over the "
        "whole grid; the best cell is framed. The embedding row is what words alone give away.",
    )


def _by_role(found: Probing) -> Table:
    table = found.table()
    best = table.loc[table.groupby("cell", sort=False)["score"].idxmax().dropna()]
    named = {
        "cell": "role",
        "block": "best depth",
        "rows": "tokens",
        "score": "balanced accuracy",
        "score_low": "low",
        "score_high": "high",
        "auroc": "AUROC",
        "null_mean": "null",
        "p_family": "family-wise p",
        "surface": "embedding",
        "selectivity": "selectivity",
        "leaky": "folds split turns",
        "direction_accuracy": "one direction",
    }
    shown = best[list(named)].rename(columns=named).reset_index(drop=True)
    return Table(shown, "Every role at its best depth.")


def _selectivity(found: Probing) -> Figure:
    values = found.grid.selectivity
    assert values is not None
    return Figure(
        _map(
            found,
            values,
            "Selectivity: score minus score on labels drawn at random per token type",
            "selectivity",
            midpoint=0,
        ),
        "The same probe on labels that depend on the word alone (Hewitt & Liang 2019). Below 0 the "
        "probe has room to remember words and finds them easier to tell than speakers; with names "
        "exchanged, no word belongs to one speaker, so that memory cannot have made the score.",
    )


def _leaky(found: Probing) -> Figure:
    return Figure(
        _map(
            found,
            found.grid.leaky - found.grid.score,
            "What folds that split turns would have added",
            "leaky minus held out",
            midpoint=0,
        ),
        "The same probes with tokens dealt to folds one by one: neighbours in a turn stand on both "
        "sides, and what is red would have been claimed and does not hold. Where names were "
        "exchanged, the same token is also trained on under the other name, which misleads (blue).",
    )


def _directions(found: Probing) -> list[Figure]:
    figures = [
        Figure(
            _map(
                found,
                found.of_directions("accuracy"),
                "One direction: difference of means, held-out balanced accuracy",
                "balanced accuracy",
                reference={"chance": found.grid.chance},
                zmax=1,
            ),
            "Direction and threshold come from the training transcripts. Where this equals the "
            "probe, one direction suffices; where it falls short, the probe combines several.",
        ),
        Figure(
            _map(
                found,
                found.of_directions("stability"),
                "Stability of the direction: mean cosine between folds",
                "cosine",
                zmin=0,
                zmax=1,
            ),
            "Directions of different folds share most of their transcripts, so even noise does "
            "not stand at 0; a low value says that there is no direction to speak of.",
        ),
    ]
    role = found.grid.cells[found.best[1]]
    depth = found.grid.blocks[found.best[0]]
    if found.over_depths is not None:
        figures.append(_transfer(found.over_depths, f"The direction of {role} at other depths"))
    if found.over_roles is not None:
        title = f"The direction of one role at others, {depth}, means per turn"
        figures.append(_transfer(found.over_roles, title))
    return figures


def _transfer(transfer: Transfer, title: str) -> Figure:
    figure = heatmap(
        transfer.accuracy,
        row_labels=transfer.names,
        column_labels=transfer.names,
        title=title,
        colour_label="balanced accuracy",
        row_title="fitted at",
        column_title="applied at",
        zmin=0,
        zmax=1,
        midpoint=0.5,
    )
    return Figure(
        figure,
        "Fitted on training transcripts at the row's place, applied to held-out ones at the "
        "column's; .5 is chance, below it the direction is turned round.",
    )


def _pictures(found: Probing, seed: int) -> list[Figure]:
    methods: tuple[Literal["pca", "tsne"], ...] = ("pca", "tsne")
    panels: dict[str, dict[tuple[int, int], np.ndarray]] = {method: {} for method in methods}
    classes: dict[tuple[int, int], np.ndarray] = {}
    notes: dict[tuple[int, int], str] = {}
    rng = np.random.default_rng(seed)
    names = np.array(found.tokens.classes)
    cells = list(found.tokens.cells().values())
    shown = [np.sort(rng.permutation(rows)[:SHOWN]) for rows in cells]
    large = None
    for depth, (_, activations) in enumerate(found.tokens.blocks()):
        for role, rows in enumerate(shown):
            at = (depth, role)
            if found.grid.status[at] != "ok":
                notes[at] = str(found.grid.status[at])
                continue
            classes[at] = names[found.tokens.speaker[rows]]
            for method in methods:
                panels[method][at] = project(activations[rows], method=method, seed=seed).points
            if at == found.best:
                large = _large(found, activations[rows], classes[at], seed)
    labels = {"row_labels": found.grid.blocks, "column_labels": found.grid.cells, "notes": notes}
    model = found.model
    figures = [] if large is None else [large]
    for method, title in (("pca", "principal components"), ("tsne", "t-SNE")):
        figure = scatter_grid(
            panels[method], classes, title=f"{model}: every depth and role by {title}", **labels
        )
        caption = (
            "Up to 300 tokens a panel, coloured by speaker. The first two components are the "
            "largest, not the ones that tell speakers apart."
            if method == "pca"
            else "t-SNE at a perplexity of 30, less for few tokens. It shows neighbourhoods of "
            "training and test tokens alike: clusters here prove nothing, and their absence "
            "neither."
        )
        figures.append(Figure(figure, caption))
    return figures


def _large(found: Probing, rows: np.ndarray, classes: np.ndarray, seed: int) -> Figure:
    direction = found.directions.get(found.best)
    picture = project(rows, direction=None if direction is None else direction.direction, seed=seed)
    assert picture.explained is not None
    axes = [f"component {n + 1} ({100 * share:.0f} %)" for n, share in enumerate(picture.explained)]
    figure = scatter(
        picture.points,
        classes,
        title=f"The best cell, {found.where}, by principal components",
        x_title=axes[0],
        y_title=axes[1],
        arrow=picture.arrow,
        arrow_label="from one speaker's mean to the other's",
    )
    shown = 0.0 if picture.arrow is None else float(np.linalg.norm(picture.arrow))
    caption = "The two largest components, which are not those that tell speakers apart."
    if picture.arrow is not None:
        caption += (
            f" Of the difference of means {100 * shown:.0f} % of the length lies in this plane; "
            "the arrow shows where it points, not how long it is."
        )
    return Figure(figure, caption)


def _made_of(tokens: Tokens) -> str:
    """What was held out, with its number."""
    number = len(np.unique(tokens.group))
    if tokens.unit == "stretch of turns":
        return f"{number} stretches of turns of one transcript"
    return f"{number} {tokens.unit}s"


def method(design: Design, every: list[Probing]) -> Section:
    """What was done, in words, and the models side by side."""
    found = every[0]
    tokens = found.tokens
    arranged = (
        f"utterances and speakers dealt at random, {design.copies} times each"
        if design.arrangement == "random" and tokens.unit == "transcript"
        else "as they were written"
    )
    exchanged = ", every text once more with the names exchanged" if tokens.rotation.any() else ""
    return Section(
        "What was done, and the models side by side",
        [
            f"{_made_of(tokens)} of {' and '.join(tokens.classes)}, "
            f"{arranged}{exchanged}: {len(tokens.role)} tokens ({found.model}), each with a role "
            "and a speaker found by character spans. For every depth and role a logistic "
            "regression learns who speaks from some of them and is scored on others. Held "
            "against it: speakers permuted among turns (max-T over the grid), the same probe on "
            "the embedding, labels drawn at random per word, and folds that ignore turns.",
            comparison(every),
        ],
    )
