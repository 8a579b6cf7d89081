"""Are speakers told apart by words that do not name them, and where? Probes, nulls, baselines.

1. A probe for every depth and role, on groups held out, with its null and baselines (`probes`).
2. The difference of means as a direction, with the same rows and folds (`directions`).
3. The best cell of a role that does not name the speaker is what is claimed, described and framed
   (`told_apart`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from interp.claims import Claim, description, finding
from interp.plots import Scale, probe_map
from interp.probes import (
    Direction,
    Probe,
    ProbeGrid,
    concept_direction,
    means_coincide,
    probe_grid,
)
from interp.report import Figure, Section, Table
from interp.study import Part, Subject
from studies.speaker_role.data import Sources
from studies.speaker_role.tokens import Tokens, labelled_tokens

WHERE = "Where are the speakers kept apart?"
SURVIVES = "Does it survive?"

NEAR = 0.05
"""Balanced accuracy within which two probes count as equally good."""

FEWEST_GROUPS = 5
"""Groups (transcripts) below which flips of their signs reach no p of .05."""

SEVERAL = "5 transcripts or more (there is 1)"
"""What a claim about transcripts needs: with four, no sign flip could reach p .05."""


@dataclass(frozen=True)
class Probes:
    """Probes of depths x roles, and their best cell."""

    tokens: Tokens
    """The rows."""
    grid: ProbeGrid
    """Scores of every depth and role, with their null."""

    @property
    def best(self) -> tuple[int, int]:
        """Depth and role of the highest score of a role that does not name the speaker."""
        return self.grid.highest(without=("tag",))

    @property
    def role(self) -> str:
        """Name of the best cell's role."""
        return self.grid.cells[self.best[1]]

    @property
    def where(self) -> str:
        """The best cell in words."""
        return self.grid.where(self.best)

    @property
    def score(self) -> float:
        """Score of the best cell."""
        return float(self.grid.score[self.best])

    @property
    def surface(self) -> float | None:
        """Score of the best cell's embedding; chance where all its tokens are one token."""
        grid, role = self.grid, self.best[1]
        if grid.surface is None or grid.surface_status is None:
            return None
        if grid.surface_status[role] == "constant":
            return grid.chance
        return float(grid.surface[role]) if grid.surface_status[role] == "ok" else None


def probes(subject: Subject, sources: Sources) -> Probes:
    """A probe for the speaker at every depth and role."""
    rows, shared = subject.ask(labelled_tokens), subject.options
    grid = probe_grid(
        rows.blocks(),
        rows.speaker,
        groups=rows.group,
        units=rows.turn,
        cells=rows.cells(),
        types=rows.type,
        surface=rows.read(0),
        probe=Probe(C=subject.config.C),
        resampling=replace(shared["resampling"], **folds(subject)),
        workers=shared["workers"].named(f"{subject.name}: probes"),
    )
    return Probes(rows, grid)


def folds(subject: Subject) -> dict[str, Any]:
    """Number and seed of folds, no more of them than there are groups."""
    n_splits = min(subject.config.folds, subject.ask(labelled_tokens).n_groups)
    return {"n_splits": n_splits, "seed": subject.config.seed}


Directions = dict[tuple[int, int], Direction]
"""Difference of means by depth and role."""


def directions(subject: Subject, sources: Sources) -> Directions:
    """The direction between two speakers, wherever a probe is defined and their means differ."""
    rows, status = subject.ask(labelled_tokens), subject.ask(probes).grid.status
    if len(rows.classes) != 2:
        return {}
    fitted = {}
    for depth, (_, activations) in enumerate(rows.blocks()):
        for role, cell in enumerate(rows.cells().values()):
            speaker = rows.speaker[cell]
            if status[depth, role] == "ok" and not means_coincide(activations[cell], speaker):
                fitted[depth, role] = concept_direction(
                    activations[cell],
                    speaker,
                    groups=rows.group[cell],
                    units=rows.turn[cell],
                    n_permutations=subject.config.permutations,
                    **folds(subject),
                )
    return fitted


def of_directions(subject: Subject, field: str) -> Float[np.ndarray, "depths roles"]:
    """One number of every direction."""
    values = np.full(subject.ask(probes).grid.score.shape, np.nan)
    for cell, direction in subject.ask(directions).items():
        values[cell] = getattr(direction, field)
    return values


# --- where they are told apart ------------------------------------------------------------------


def told_apart(subject: Subject, sources: Sources) -> Part:
    """At which depths and roles do words that do not name the speaker tell who speaks?"""
    probed = subject.ask(probes)
    table = probed.grid.table()
    table["direction_accuracy"] = of_directions(subject, "accuracy").ravel()
    table["direction_stability"] = of_directions(subject, "stability").ravel()
    table.insert(0, "model", subject.name)
    claims = [_present(probed), _unseen(probed), _beyond_surface(probed)]
    claims += [_localised(probed), _late(probed)]
    where, rivals = "where speakers are told apart", "what else could explain it"
    return Part(
        claims=[claim for claim in claims if claim is not None],
        sections=[
            Section(f"{subject.name}: {where}", [_scores(probed), _by_role(table)]),
            Section(f"{subject.name}: {rivals}", [_selectivity(probed), _leaky(probed)]),
        ],
        tables={"cells": table},
        row=_row(probed),
        words=_words(subject.name, probed.grid, probed.where),
    )


def _present(probed: Probes) -> Claim:
    grid, best, rows = probed.grid, probed.best, probed.tokens
    return finding(
        WHERE,
        f"Words that do not name the speaker tell who speaks, in {rows.units} that were never "
        "fitted.",
        primary=True,
        estimate=probed.score,
        unit=f"balanced accuracy at {probed.where}, the best cell, {rows.held_out}",
        null=f"{len(grid.null)} permutations of speakers among turns: mean "
        f"{grid.test.mean[best]:.3f}",
        exchange=f"turn ({len(np.unique(rows.turn))}), within its {rows.unit}",
        selection="depth and role: p is corrected over the whole grid (max-T); the estimate is "
        "that of the best cell and so too large",
        controls=_controls(probed),
        tests={"speakers permuted among turns": (float(grid.test.p_family[best]), grid.test.floor)},
    )


def _controls(probed: Probes) -> dict[str, float]:
    grid, best = probed.grid, probed.best
    controls: dict[str, float] = {"chance": grid.chance}
    if grid.majority is not None:
        controls["plain accuracy of the majority"] = float(grid.majority[best[1]])
    if probed.surface is not None:
        controls["same probe on the embedding"] = probed.surface
    if grid.selectivity is not None:
        controls["selectivity"] = float(grid.selectivity[best])
    controls["AUROC"] = float(grid.auroc[best])
    return {name: value for name, value in controls.items() if np.isfinite(value)}


def _unseen(probed: Probes) -> Claim | None:
    """Of one transcript nothing can be said about others; of several the first finding says it."""
    if not probed.tokens.single:
        return None
    return finding(
        SURVIVES,
        "It survives on transcripts that were never fitted.",
        estimate=probed.score,
        unit=f"balanced accuracy at {probed.where}, {probed.tokens.held_out}",
        tests={},
        exchange="transcript (1)",
        needs=SEVERAL,
    )


def _beyond_surface(probed: Probes) -> Claim:
    surface = probed.surface
    return description(
        WHERE,
        "What the blocks add to what the words themselves give away.",
        estimate=None if surface is None else probed.score - surface,
        unit=f"balanced accuracy at {probed.where} minus that of the embedding",
        selection="depth and role, for their score: the difference is too large by what that gives",
        controls={} if surface is None else {"the embedding": surface},
        needs="the same probe on the embedding" if surface is None else "",
    )


def _localised(probed: Probes) -> Claim:
    role = probed.best[1]
    near = probed.grid.score[:, role] >= probed.score - NEAR
    return description(
        "Localised or spread?",
        "Depths that come near the best.",
        estimate=100 * near.mean(),
        unit=f"% of {len(near)} depths within {NEAR} of the best, {probed.role}",
        controls={"surviving depths (%)": 100 * probed.grid.survives()[:, role].mean()},
    )


def _late(probed: Probes) -> Claim:
    return description(
        "Early or late?",
        "The depth at which it is clearest.",
        estimate=float(probed.tokens.percent[probed.best[0]]),
        unit=f"% of the depth, {probed.where}",
        selection="the largest of all depths: of equal ones chance names one",
    )


def _row(probed: Probes) -> dict[str, object]:
    """Entries of the table of models, each at its best cell."""
    grid, (depth, role) = probed.grid, probed.best
    return {
        "best depth": f"{grid.blocks[depth]} ({probed.tokens.percent[depth]:.0f} %)",
        "role": probed.role,
        "balanced accuracy": probed.score,
        "low": grid.interval[probed.best][0],
        "high": grid.interval[probed.best][1],
        "family-wise p": grid.test.p_family[probed.best],
        "embedding": np.nan if grid.surface is None else grid.surface[role],
        "majority": np.nan if grid.majority is None else grid.majority[role],
    }


def _words(model: str, grid: ProbeGrid, where: str) -> list[str]:
    tag = [
        f"Of the tags themselves {np.nanmax(grid.score[:, column]):.2f} are told apart, which is "
        "no finding: they name the speaker."
        for column, role in enumerate(grid.cells)
        if role == "tag" and np.isfinite(grid.score[:, column]).any()
    ]
    survivors, defined = int(grid.survives().sum()), int((grid.status == "ok").sum())
    return [
        f"In {model} {survivors} of {defined} cells survive correction; the speakers are clearest "
        f"at {where}.",
        *tag,
    ]


def role_map(
    probed: Probes, values: Float[np.ndarray, "depths roles"], title: str, scale: Scale, **options
) -> go.Figure:
    """A heatmap of depths by roles, the best cell framed."""
    return probe_map(
        probed.grid,
        values,
        title=title,
        scale=scale,
        column_title="role of the token",
        boxed=(probed.best,),
        **options,
    )


def _scores(probed: Probes) -> Figure:
    grid = probed.grid
    low = min(grid.chance, float(np.nanmin(grid.score)))
    figure = role_map(
        probed,
        grid.score,
        "Who speaks? Balanced accuracy on what was never fitted",
        Scale("balanced accuracy", low, 1, reference={"chance": grid.chance}),
        survivors=grid.survives(),
        survivors_label="survives max-T correction at 5 %",
    )
    return Figure(
        figure,
        "A tag is the name itself and shows only that the probe works; the question is about the "
        "other columns. A dot marks a score above permuted speakers after correction over the "
        "whole grid; the best cell is framed. The embedding row is what words alone give away.",
    )


def _by_role(table: pd.DataFrame) -> Table:
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


def _selectivity(probed: Probes) -> Figure:
    values = probed.grid.selectivity
    assert values is not None  # as token types were given
    title = "Selectivity: score minus score on labels drawn at random per token type"
    return Figure(
        role_map(probed, values, title, Scale("selectivity", midpoint=0)),
        "The same probe on labels that depend on the word alone (Hewitt & Liang 2019). Below 0 the "
        "probe has room to remember words and finds them easier to tell than speakers; with names "
        "exchanged, no word belongs to one speaker, so that memory cannot have made the score.",
    )


def _leaky(probed: Probes) -> Figure:
    grid = probed.grid
    title = "What folds that split turns would have added"
    scale = Scale("leaky minus held out", midpoint=0)
    return Figure(
        role_map(probed, grid.leaky - grid.score, title, scale),
        "The same probes with tokens dealt to folds one by one: neighbours in a turn stand on both "
        "sides, and what is red would have been claimed and does not hold. Where names were "
        "exchanged, the same token is also trained on under the other name, which misleads (blue).",
    )


# --- models side by side ------------------------------------------------------------------------


def peaks(subjects: Sequence[Subject], sources: Sources) -> Part:
    """Do the models differ in the depth where speakers are clearest?"""
    probed = {subject.name: subject.ask(probes) for subject in subjects}
    depths = {name: float(p.tokens.percent[p.best[0]]) for name, p in probed.items()}
    claim = description(
        "Do the models differ in where it peaks?",
        "How far apart the models' clearest depths lie.",
        estimate=max(depths.values()) - min(depths.values()),
        unit="percentage points of depth between the earliest and the latest peak",
        controls={f"{model} (%)": depth for model, depth in depths.items()},
    )
    return Part(claims=[claim])
