"""The binding control: is the asked person's label recalled, or every label that was said?

The text names two people with a label each and returns to one of them. Every word is scored for
both labels: a bag of labels serves both alike, recall serves the one that was asked for.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from interp.claims import Claim, description
from interp.plots import lines
from interp.report import Figure, Section
from interp.smds import SMDSGrid
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import Detection
from studies.date_manifold.maps import score_map
from studies.date_manifold.scoring import (
    Part,
    Read,
    Settings,
    family_null,
    ideal,
    predictions,
    r2,
    score,
)


def investigate(
    found: Detection,
    read: Read,
    at_depth: Float[np.ndarray, "word n d"],
    data: Dataset,
    settings: Settings,
) -> Part:
    """Both labels at every cell of one model; `found` is its experiment 1 on the asked label."""
    assert data.other is not None
    grid = score(
        read(),
        data,
        settings,
        labels=data.other,
        standardise=settings.in_detection,
        progress=f"{found.layout.model}: binding",
    )
    assert grid.kfold_r2 is not None
    layout = found.layout
    table = layout.table(
        {
            "status": grid.status,
            "asked_score": found.grid.score[..., 0],
            "other_score": grid.score[..., 0],
            "other_z": grid.test.z[..., 0],
            "other_p_family": grid.test.p_family[..., 0],
            "asked_r2": found.kfold_r2,
            "other_r2": grid.kfold_r2,
        }
    )
    row, column = layout.at(settings.depth), data.words.index(data.destination)
    section = Section(
        f"{layout.model}: the asked person's {data.quantity} or both?",
        [
            _heatmap(found, found.grid, data, "asked"),
            _heatmap(found, grid, data, "other"),
            _curves(found, grid, data),
        ],
    )
    return Part(
        [_claim(found, grid, at_depth[column], (row, column), data, settings)],
        [section],
        {
            f"R2 of the asked {data.quantity} at {data.destination}": found.kfold_r2[row, column],
            f"R2 of the other {data.quantity} at {data.destination}": grid.kfold_r2[row, column],
        },
        {"binding": table},
    )


def _claim(
    found: Detection,
    grid: SMDSGrid,
    activations: Float[np.ndarray, "n d"],
    cell: tuple[int, int],
    data: Dataset,
    settings: Settings,
) -> Claim:
    assert data.other is not None
    other = ideal(replace(data, label=data.other, category=_categories(data)))
    asked_predicted = predictions(activations, data, settings)
    other_predicted = predictions(activations, data, settings, labels=data.other)
    asked, beside = r2(asked_predicted, ideal(data)), r2(other_predicted, other)
    p, _ = family_null(found.grid, cell)
    return description(
        "Is it recalled, or is it a bag of labels?",
        f"How far the asked person's {data.quantity} stands above the other's at "
        f"{data.destination}.",
        subject=found.layout.model,
        estimate=asked - beside,
        unit=f"R2 of the asked less R2 of the other {data.quantity} at "
        f"{found.layout.rows[cell[0]]}",
        null="no difference",
        controls={
            f"R2 of the asked {data.quantity}": asked,
            f"R2 of the other {data.quantity}": beside,
            f"score of the asked {data.quantity}, family-wise p": p,
            f"score of the other {data.quantity}, family-wise p": grid.test.p_family[*cell, 0],
        },
    )


def _categories(data: Dataset) -> np.ndarray:
    assert data.other is not None
    return np.asarray(np.searchsorted(data.edges[1:-1], data.other, side="right"))


def _heatmap(found: Detection, grid: SMDSGrid, data: Dataset, whose: str) -> Figure:
    title = f"Score for the {whose} person's {data.quantity}"
    return Figure(
        score_map(found.layout, data, grid, title, lookup=found.lookup),
        f"Every cell scored for the {data.quantity} of the person who is "
        f"{'asked for' if whose == 'asked' else 'not asked for'}; words that state the other's "
        'end in "(other)".',
    )


def _curves(found: Detection, grid: SMDSGrid, data: Dataset) -> Figure:
    column = data.words.index(data.destination)
    assert grid.kfold_r2 is not None
    figure = lines(
        {"asked": found.kfold_r2[:, column], "other": grid.kfold_r2[:, column]},
        [row.removeprefix("block ") for row in found.layout.rows],
        title=f"Two people's {data.quantity}s at {data.destination}",
        x_title="depth (block)",
        y_title="held-out R2",
        references={"no better than the mean": 0},
    )
    figure.update_yaxes(range=[-1, 1])
    figure.update_xaxes(tickangle=-60)
    return Figure(
        figure,
        f"Where the curves lie together, {data.destination} holds a bag of {data.quantity}s; "
        "recall lifts the asked person's above the other's.",
    )
