"""Experiment 3: does the map that reads the label at its source read it at other words?

At every depth a map is fitted at the source word on training rows and scored at every word on
held-out ones. Each word is centred and scaled by its own training rows; the map stays the source's.

Reuse is judged by the agreement of predictions with the ideal coordinates in the source's own
frame, against maps fitted to permuted labels. The score does not judge it: it allows any rotation,
and a word whose plane merely leans towards the noise of the map passes its permutation test.
"""

import numpy as np

from interp.claims import Claim, finding
from interp.plots import lines
from interp.report import Figure, Section
from interp.smds import SMDSGrid
from interp.stats import PermutationTest
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import Detection
from studies.date_manifold.maps import cells, score_map
from studies.date_manifold.scoring import (
    Part,
    Read,
    Settings,
    exchanged,
    lookup,
    score,
)


def investigate(found: Detection, read: Read, data: Dataset, settings: Settings) -> Part:
    """Experiment 3 on one model; `found` is its experiment 1."""
    grid = score(
        read(),
        data,
        settings,
        source=data.words.index(data.source),
        standardise=settings.in_geometry,
        progress=f"{found.layout.model}: reuse",
    )
    table_score = lookup(data, settings, source=0, standardise=settings.in_geometry).score.item()
    layout, reuse = found.layout, grid.reuse
    assert reuse is not None
    cell = (layout.at(settings.depth), data.words.index(data.destination))
    table = layout.table(
        {
            "status": grid.status,
            "score": grid.score[..., 0],
            "null_mean": grid.test.mean[..., 0],
            "z": grid.test.z[..., 0],
            "p_family": grid.test.p_family[..., 0],
            "kfold_r2": grid.kfold_r2,
            "agreement": reuse.observed,
            "agreement_null_sd": reuse.sd,
            "agreement_z": reuse.z,
            "agreement_p_family": reuse.p_family,
            "reused": reuse.survives(),
        }
    )
    return Part(
        [_claim(found, grid, cell, table_score, data)],
        [
            Section(
                f"{layout.model}: is the map of {data.source} reused?",
                [
                    _agreement(found, reuse, grid, data),
                    _heatmap(found, grid, table_score, data),
                    _curves(found, grid, table_score, data),
                ],
            )
        ],
        {f"map of {data.source} at {data.destination}: agreement": reuse.observed[cell]},
        {"reuse": table},
    )


def _claim(
    found: Detection, grid: SMDSGrid, cell: tuple[int, int], table_score: float, data: Dataset
) -> Claim:
    layout = found.layout
    reuse = grid.reuse
    assert grid.kfold_r2 is not None and reuse is not None
    p = reuse.p_family[cell]
    controls = {
        "score of the borrowed map": grid.score[*cell, 0],
        f"score of its own map at {data.destination}": found.grid.score[*cell, 0],
        "R2 of the borrowed map": grid.kfold_r2[cell],
        f"score of a one-hot {data.category_noun}": table_score,
    }
    if data.distractor is not None:
        other = (cell[0], data.words.index(data.distractor))
        controls |= {f"agreement at {data.distractor}": reuse.observed[other]}
    defined = grid.status[cell] == "ok"
    return finding(
        "Is it one representation?",
        f"The map fitted at {data.source} reads the {data.quantity} at {data.destination}.",
        subject=layout.model,
        estimate=reuse.observed[cell] if defined else None,
        unit="cosine of its predictions with the truth, in its own frame, at "
        f"{layout.rows[cell[0]]}",
        null=f"maps fitted to permuted labels: sd {reuse.sd[cell]:.3f}; max-T over the grid",
        exchange=exchanged(data),
        controls={name: value for name, value in controls.items() if np.isfinite(value)},
        tests={"maps of permuted labels": (p, reuse.floor)} if defined else {},
        needs="" if defined else f"a cell with a score (it is {grid.status[cell]})",
    )


def _agreement(found: Detection, reuse: PermutationTest, grid: SMDSGrid, data: Dataset) -> Figure:
    figure = cells(
        found.layout,
        data,
        reuse.observed,
        f"Is the map of {data.source} reused?",
        "cosine with the truth",
        status=grid.status,
        midpoint=0,
        zmin=-1,
        zmax=1,
        survivors=reuse.survives(),
        survivors_label="above maps of permuted labels, max-T at 5 %",
    )
    return Figure(
        figure,
        f"Predictions of the map of {data.source} at every other word, held out, against the truth "
        "in that map's own frame: 1 is the same map, 0 another plane, below 0 the same plane "
        "turned round.",
    )


def _heatmap(found: Detection, grid: SMDSGrid, table_score: float, data: Dataset) -> Figure:
    title = f"Score of the map fitted at {data.source}"
    return Figure(
        score_map(found.layout, data, grid, title, lookup=table_score),
        f"The score of the same predictions, which allows any turn of the plane. Dots mark scores "
        "above permuted labels; where the figure before this one has none, the word holds the "
        f"{data.quantity} in a plane of its own, a little of which leaks through the map.",
    )


def _curves(found: Detection, grid: SMDSGrid, table_score: float, data: Dataset) -> Figure:
    layout, column = found.layout, data.words.index(data.destination)
    series = {
        f"own map of {data.destination}": found.grid.score[:, column, 0],
        f"map of {data.source} at {data.destination}": grid.score[:, column, 0],
    }
    if data.distractor is not None:
        other = data.words.index(data.distractor)
        series |= {f"map of {data.source} at {data.distractor}": grid.score[:, other, 0]}
    figure = lines(
        series,
        [row.removeprefix("block ") for row in layout.rows],
        title=f"Own and borrowed maps at {data.destination}",
        x_title="depth (block)",
        y_title="held-out score",
        references={
            "null": float(np.nanmedian(grid.test.mean)),
            f"one-hot {data.category_noun}": table_score,
        },
    )
    figure.update_xaxes(tickangle=-60)
    return Figure(
        figure,
        f"The distance of the two {data.destination} curves is what {data.destination} holds but "
        f"the map of {data.source} does not read.",
    )
