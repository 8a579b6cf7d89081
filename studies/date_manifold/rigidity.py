"""Experiment 4: is the figure rigid, and is it round?

Rigidity: the score of a projection with orthonormal rows, which may turn but not stretch. It falls
with every nuisance dimension of the activations, so a low score does not make a figure less round.
Roundness is therefore measured by itself, as the axis ratio of the ring of category means beyond
what a table of unrelated directions gives in any plane.
"""

from typing import Any

import numpy as np
import pandas as pd

from interp.claims import Claim, description
from interp.plots import lines
from interp.report import Figure, Section
from interp.smds import Ellipse, SMDSGrid, ellipse
from interp.smds.category_gram import category_gram
from studies.date_manifold.cycle import lacking
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import Detection
from studies.date_manifold.maps import score_map
from studies.date_manifold.scoring import (
    Part,
    Read,
    Settings,
    family_null,
    geometry,
    lookup,
    score,
)

FEWEST = 5
"""Categories below which the level of a table cannot be told."""


def investigate(found: Detection, read: Read, data: Dataset, settings: Settings) -> Part:
    """Experiment 4 on one model; `found` is its experiment 1."""
    fit: dict[str, Any] = {"orthonormal": True, "standardise": settings.in_geometry}
    grid = score(read(), data, settings, progress=f"{found.layout.model}: rigidity", **fit)
    table_score = lookup(data, settings, **fit).score.item()
    layout = found.layout
    row, source = layout.at(settings.depth), data.words.index(data.source)
    claims = [_rigid(found, grid, (row, source), table_score, data)]
    figures = [_heatmap(found, grid, table_score, data)]
    columns = {f"orthonormal score at {data.source}": grid.score[row, source, 0]}
    table = layout.table(
        {
            "status": grid.status,
            "orthonormal_score": grid.score[..., 0],
            "null_mean": grid.test.mean[..., 0],
            "z": grid.test.z[..., 0],
            "p_family": grid.test.p_family[..., 0],
            "survives": grid.test.survives()[..., 0],
        }
    )
    tables = {"rigidity": table}
    if geometry(data).name == "circular" and data.period is not None:
        words = tuple(dict.fromkeys((data.source, data.destination)))
        if len(data.categories) >= FEWEST and not lacking(data):
            rings = _rings(read, words, data, settings)
            claims += [_round(found, rings[w][row], w, row, data) for w in words]
            figures.append(_curves(found, rings, data))
            columns |= {f"axis ratio at {w}": rings[w][row].ratio for w in words}
            tables["roundness"] = _table(found, rings)
    section = Section(f"{layout.model}: is the figure rigid, and is it round?", figures)
    return Part(claims, [section], columns, tables)


def _rings(
    read: Read, words: tuple[str, ...], data: Dataset, settings: Settings
) -> dict[str, list[Ellipse]]:
    """The ring of category means of each word at every depth."""
    rings: dict[str, list[Ellipse]] = {word: [] for word in words}
    for _, activations in read():
        for word, of in rings.items():
            cell = activations[data.words.index(word)]
            gram = category_gram(cell, data.category, len(data.categories)).distances
            of.append(ellipse(gram, seed=settings.seed))
    return rings


def _rigid(
    found: Detection, grid: SMDSGrid, cell: tuple[int, int], table_score: float, data: Dataset
) -> Claim:
    _, null = family_null(grid, cell)
    return description(
        "Is the figure rigid, and is it round?",
        f"What a projection that cannot stretch finds of the {data.quantity} at {data.source}.",
        subject=found.layout.model,
        estimate=grid.score[*cell, 0],
        unit=f"orthonormal held-out score at {found.layout.rows[cell[0]]}",
        null=null,
        controls={
            "ridge regression": found.grid.score[*cell, 0],
            f"one-hot {data.category_noun}, orthonormal": table_score,
        },
    )


def _round(found: Detection, ring: Ellipse, word: str, row: int, data: Dataset) -> Claim:
    return description(
        "Is the figure rigid, and is it round?",
        f"How round the ring of {data.category_noun}s is at {word}, beyond what a table would be.",
        subject=found.layout.model,
        estimate=ring.ratio,
        unit=f"minor over major axis at {found.layout.rows[row]}",
        null="unrelated directions, whose level in any plane is taken off: a table has 0",
        exchange=f"none: the {len(data.categories)} {data.category_noun}s are all there are",
        controls={"at least (95 %, of the table's scatter)": ring.lower},
    )


def _heatmap(found: Detection, grid: SMDSGrid, table_score: float, data: Dataset) -> Figure:
    title = "Score of an orthonormal projection"
    return Figure(
        score_map(found.layout, data, grid, title, lookup=table_score),
        "A projection that may turn but not stretch or weigh features against their noise: the "
        "figure must stand out from the activations as they are. Low scores are no sign of an "
        "ellipse; a perfect circle beside twenty nuisance dimensions scores .40 here.",
    )


def _curves(found: Detection, rings: dict[str, list[Ellipse]], data: Dataset) -> Figure:
    figure = lines(
        {word: np.array([ring.ratio for ring in of]) for word, of in rings.items()},
        [row.removeprefix("block ") for row in found.layout.rows],
        title=f"Roundness of the ring of {data.category_noun}s",
        x_title="depth (block)",
        y_title="minor over major axis",
        bands={
            word: (np.array([r.lower for r in of]), np.array([r.ratio for r in of]))
            for word, of in rings.items()
        },
        references={"circle": 1, "a line, or no ring": 0},
    )
    figure.update_yaxes(range=[0, 1.05])
    figure.update_xaxes(tickangle=-60)
    return Figure(
        figure,
        f"Axis ratio of the ring of {data.category_noun} means, less what a table of unrelated "
        "directions has in any plane. Bands reach down to what it is at least, at 95 %.",
    )


def _table(found: Detection, rings: dict[str, list[Ellipse]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": found.layout.model,
            "depth": depth,
            "word": word,
            "ratio": ring.ratio,
            "at_least": ring.lower,
        }
        for word, of in rings.items()
        for depth, ring in zip(found.layout.rows, of, strict=True)
    )
