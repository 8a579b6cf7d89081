"""Experiment 3: does the map that reads the label at its source read it at other words?

At every depth a map is fitted at the source word on training rows and scored at every word on
held-out ones. Each word is centred and scaled by its own training rows; the map stays the source's.
"""

import numpy as np

from interp.claims import Claim
from interp.plots import lines
from interp.report import Figure, Section
from interp.smds import SMDSGrid
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import Detection
from studies.date_manifold.figures import cells
from studies.date_manifold.scoring import (
    ALPHA,
    Part,
    Read,
    Settings,
    family_null,
    lookup_score,
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
    lookup = lookup_score(data, settings, source=0, standardise=settings.in_geometry)
    layout, survives = found.layout, grid.test.survives()[..., 0]
    cell = (layout.at(settings.depth), data.words.index(data.destination))
    table = layout.table(
        {
            "status": grid.status,
            "score": grid.score[..., 0],
            "null_mean": grid.test.mean[..., 0],
            "z": grid.test.z[..., 0],
            "p_family": grid.test.p_family[..., 0],
            "survives": survives,
            "kfold_r2": grid.kfold_r2,
        }
    )
    return Part(
        [_claim(found, grid, cell, lookup, data)],
        [
            Section(
                f"{layout.model}: is the map of {data.source} reused?",
                [_heatmap(found, grid, survives, lookup, data), _curves(found, grid, data)],
            )
        ],
        {f"map of {data.source} at {data.destination}: score": grid.score[*cell, 0]},
        {"reuse": table},
    )


def _claim(
    found: Detection, grid: SMDSGrid, cell: tuple[int, int], lookup: float, data: Dataset
) -> Claim:
    layout = found.layout
    p, null = family_null(grid, cell)
    assert grid.kfold_r2 is not None
    controls = {
        f"its own map at {data.destination}": found.grid.score[*cell, 0],
        f"R2 of the map of {data.source}": grid.kfold_r2[cell],
        f"one-hot {data.category_noun}": lookup,
    }
    if data.distractor is not None:
        other = (cell[0], data.words.index(data.distractor))
        controls |= {f"map of {data.source} at {data.distractor}": grid.score[*other, 0]}
    return Claim.decide(
        "Is it one representation?",
        f"The map fitted at {data.source} reads the {data.quantity} at {data.destination}.",
        subject=layout.model,
        estimate=grid.score[*cell, 0],
        unit=f"held-out score at {layout.rows[cell[0]]}",
        null=null,
        controls=controls,
        conditions={f"family-wise p of the score <= {ALPHA}": bool(p <= ALPHA)},
    )


def _heatmap(
    found: Detection, grid: SMDSGrid, survives: np.ndarray, lookup: float, data: Dataset
) -> Figure:
    figure = cells(
        found.layout,
        data,
        grid.score[..., 0],
        f"Score of the map fitted at {data.source}",
        "held-out score",
        status=grid.status,
        reference={
            "null": float(np.nanmedian(grid.test.mean)),
            f"one-hot {data.category_noun}": lookup,
        },
        survivors=survives,
        survivors_label="survives max-T correction at 5 %",
    )
    return Figure(
        figure,
        f"Every word is scored by the map of {data.source} at the same depth, on held-out rows: "
        "where the score stands above its null, the word holds the label in directions that map "
        "reads.",
    )


def _curves(found: Detection, grid: SMDSGrid, data: Dataset) -> Figure:
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
        references={"null": float(np.nanmedian(grid.test.mean))},
    )
    figure.update_xaxes(tickangle=-60)
    return Figure(
        figure,
        f"The distance of the two {data.destination} curves is what {data.destination} holds but "
        f"the map of {data.source} does not read.",
    )
