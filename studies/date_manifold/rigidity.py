"""Experiment 4: is the figure rigid, and is it round?

Rigidity: the score of a projection with orthonormal rows, which may turn but not stretch. It falls
with every nuisance dimension of the activations, so a low score does not make a figure less round.
Roundness is therefore measured by itself, as the axis ratio of the figure on independent halves.
"""

from typing import Any

import numpy as np
import pandas as pd

from interp.claims import Claim
from interp.plots import lines
from interp.report import Figure, Section
from interp.smds import Roundness, SMDSGrid, roundness
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import Detection
from studies.date_manifold.maps import score_map
from studies.date_manifold.scoring import (
    ALPHA,
    Part,
    Read,
    Settings,
    family_null,
    geometry,
    lookup,
    score,
)

ROUND = 0.5
"""Axis ratio that a figure called round must exceed with its whole interval."""


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
        words = dict.fromkeys((data.source, data.destination))
        round_at = _roundness(read, tuple(words), data, settings)
        claims += [_round(found, round_at[w][row], w, row, data) for w in words]
        figures.append(_curves(found, round_at, data))
        columns |= {f"axis ratio at {w}": round_at[w][row].ratio for w in words}
        tables["roundness"] = _table(found, round_at)
    section = Section(f"{layout.model}: is the figure rigid, and is it round?", figures)
    return Part(claims, [section], columns, tables)


def _roundness(
    read: Read, words: tuple[str, ...], data: Dataset, settings: Settings
) -> dict[str, list[Roundness]]:
    found: dict[str, list[Roundness]] = {word: [] for word in words}
    for _, activations in read():
        for word, results in found.items():
            assert data.period is not None
            results.append(
                roundness(
                    activations[data.words.index(word)],
                    data.label,
                    groups=data.group,
                    period=data.period,
                    standardise=settings.in_geometry,
                    seed=settings.seed,
                )
            )
    return found


def _rigid(
    found: Detection, grid: SMDSGrid, cell: tuple[int, int], table_score: float, data: Dataset
) -> Claim:
    p, null = family_null(grid, cell)
    return Claim.decide(
        "Is the figure rigid, and is it round?",
        f"A projection that cannot stretch finds the {data.quantity} at {data.source}.",
        subject=found.layout.model,
        estimate=grid.score[*cell, 0],
        unit=f"orthonormal held-out score at {found.layout.rows[cell[0]]}",
        null=null,
        controls={
            "ridge regression": found.grid.score[*cell, 0],
            f"one-hot {data.category_noun}, orthonormal": table_score,
        },
        conditions={f"family-wise p of the score <= {ALPHA}": bool(p <= ALPHA)},
    )


def _round(found: Detection, ratio: Roundness, word: str, row: int, data: Dataset) -> Claim:
    identified = ratio.status == "ok"
    return Claim.decide(
        "Is the figure rigid, and is it round?",
        f"At {word} the circle of the {data.quantity} is round to within 2 : 1.",
        subject=found.layout.model,
        estimate=ratio.ratio if identified else None,
        unit=f"minor over major axis at {found.layout.rows[row]}",
        interval=ratio.interval if identified else None,
        null="none: an ellipse of any ratio is possible without a label; bootstrap over groups",
        conditions={
            f"the axis ratio is identified and its interval lies above {ROUND}": (
                ratio.interval[0] > ROUND if identified else None
            )
        },
    )


def _heatmap(found: Detection, grid: SMDSGrid, table_score: float, data: Dataset) -> Figure:
    title = "Score of an orthonormal projection"
    return Figure(
        score_map(found.layout, data, grid, title, lookup=table_score),
        "A projection that may turn but not stretch or weigh features against their noise: the "
        "figure must stand out from the activations as they are. Low scores are no sign of an "
        "ellipse; a perfect circle beside twenty nuisance dimensions scores .40 here.",
    )


def _curves(found: Detection, round_at: dict[str, list[Roundness]], data: Dataset) -> Figure:
    figure = lines(
        {word: np.array([r.ratio for r in results]) for word, results in round_at.items()},
        [row.removeprefix("block ") for row in found.layout.rows],
        title=f"Roundness of the {data.quantity}'s circle",
        x_title="depth (block)",
        y_title="minor over major axis",
        bands={
            word: (
                np.array([r.interval[0] for r in results]),
                np.array([r.interval[1] for r in results]),
            )
            for word, results in round_at.items()
        },
        references={"circle": 1, "2 : 1": ROUND},
    )
    figure.update_yaxes(range=[0, 1.05])
    figure.update_xaxes(tickangle=-60)
    return Figure(
        figure,
        "Axis ratio of the figure that the labels make in activation space, noise-free by halves, "
        "with 95 % intervals over groups; a gap means that it cannot be identified.",
    )


def _table(found: Detection, round_at: dict[str, list[Roundness]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": found.layout.model,
            "depth": depth,
            "word": word,
            "ratio": ratio.ratio,
            "low": ratio.interval[0],
            "high": ratio.interval[1],
            "status": ratio.status,
        }
        for word, results in round_at.items()
        for depth, ratio in zip(found.layout.rows, results, strict=True)
    )
