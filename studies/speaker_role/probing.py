"""What is measured: probes, directions, their transfer, and what naive designs would have said.

1. A probe for every depth and role, on whole transcripts held out, with its null and baselines.
2. The difference of means as a direction, with the same rows and folds.
3. At the best cell: the probe across the exchange of names, the direction at other depths and, per
   turn, at other roles.
4. The number that one transcript as written and token-wise folds would have given.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from interp.probes import (
    Direction,
    ProbeGrid,
    Transfer,
    concept_direction,
    probe_grid,
    transfer_matrix,
)
from interp.stats import bootstrap_interval
from interp.tasks import Backend
from studies.speaker_role.activations import Tokens

ALPHA = 0.05
"""Family-wise level of every verdict."""


FEWEST_TURNS = 10
"""Turns of a single transcript, or of the piece that fits a context, below which five folds of
whole turns would hold one or none."""


@dataclass(frozen=True)
class Settings:
    """How probes are run."""

    n_splits: int
    """Folds."""
    n_permutations: int
    """Permutations of speakers among turns."""
    C: float
    """Inverse strength of the L2 penalty."""
    seed: int
    """Of folds, permutations, samples and layouts."""
    jobs: int | None
    """Worker processes; None for every core."""
    cache: Path | None = None
    """Directory of probes' scores, by which an interrupted run goes on; None keeps none."""
    backend: Backend = "loky"
    """Who scores cells: processes of this machine, or of a Ray cluster."""


@dataclass(frozen=True)
class Exchange:
    """A probe of texts with one assignment of names, on unseen texts with the names exchanged."""

    accuracy: float
    """Balanced accuracy."""
    interval: tuple[float, float]
    """Bootstrap interval over transcripts."""


@dataclass(frozen=True)
class Naive:
    """One transcript as written, scikit-learn's default penalty, at the last depth."""

    where: str
    """Depth and role, the commonest that does not name the speaker."""
    token_wise: float
    """Balanced accuracy with tokens dealt to folds one by one."""
    turn_wise: float
    """The same with whole turns held out."""
    holds: float
    """The study's own score of this depth and role, on unseen transcripts."""


@dataclass(frozen=True)
class Probing:
    """All that is measured in one model."""

    model: str
    """The model's name."""
    tokens: Tokens
    """The rows."""
    grid: ProbeGrid
    """Probes of depths x roles."""
    directions: dict[tuple[int, int], Direction]
    """Difference of means, by depth and role, where both speakers occur."""
    best: tuple[int, int]
    """Depth and role of the highest score of a role that does not name the speaker."""
    exchange: Exchange | None
    """The best cell across the exchange of names; None where none were exchanged."""
    over_depths: Transfer | None
    """The direction of the best role at one depth applied at others."""
    over_roles: Transfer | None
    """The direction of one role applied at others, at the best depth, means per turn."""
    naive: Naive | None
    """What one transcript as written would have given; None for a short one, and for texts of
    one's own."""

    @property
    def survives(self) -> Bool[np.ndarray, "depths roles"]:
        """Cells whose score survives correction over the grid."""
        return self.grid.test.survives()

    @property
    def where(self) -> str:
        """The best cell in words."""
        depth, role = self.best
        return f"{self.grid.blocks[depth]}, {self.grid.cells[role]}"

    def of_directions(self, field: str) -> Float[np.ndarray, "depths roles"]:
        """One number of every direction."""
        values = np.full(self.grid.score.shape, np.nan)
        for cell, direction in self.directions.items():
            values[cell] = getattr(direction, field)
        return values

    def table(self) -> pd.DataFrame:
        """One row per cell."""
        table = self.grid.table()
        table["direction_accuracy"] = self.of_directions("accuracy").ravel()
        table["direction_stability"] = self.of_directions("stability").ravel()
        table.insert(0, "model", self.model)
        return table


def probe(model: str, tokens: Tokens, naive: Tokens | None, settings: Settings) -> Probing:
    """Measure one model; `naive` holds the tokens of one transcript as written."""
    grid = probe_grid(
        tokens.blocks(),
        tokens.speaker,
        groups=tokens.group,
        units=tokens.turn,
        cells=tokens.cells(),
        types=tokens.type,
        surface=tokens.read(0),
        n_splits=settings.n_splits,
        seed=settings.seed,
        C=settings.C,
        n_permutations=settings.n_permutations,
        n_jobs=settings.jobs,
        cache=settings.cache,
        backend=settings.backend,
        progress=f"{model}: probes",
    )
    best = _best(grid)
    directions = {}
    if len(tokens.classes) == 2:
        directions = _directions(tokens, grid, settings)
    two = len(tokens.classes) == 2
    return Probing(
        model=model,
        tokens=tokens,
        grid=grid,
        directions=directions,
        best=best,
        exchange=_across_exchange(tokens, best, settings) if tokens.rotation.any() else None,
        over_depths=_over_depths(tokens, best, settings) if two else None,
        over_roles=_over_roles(tokens, best, settings) if two else None,
        naive=None if naive is None else _naive(naive, grid, settings),
    )


def _best(grid: ProbeGrid) -> tuple[int, int]:
    spoken = [number for number, role in enumerate(grid.cells) if role != "tag"]
    scores = np.where(np.isnan(grid.score), -np.inf, grid.score)[:, spoken]
    depth, column = np.unravel_index(scores.argmax(), scores.shape)
    return int(depth), spoken[int(column)]


def _directions(
    tokens: Tokens, grid: ProbeGrid, settings: Settings
) -> dict[tuple[int, int], Direction]:
    found = {}
    for depth, (_, activations) in enumerate(tokens.blocks()):
        for number, rows in enumerate(tokens.cells().values()):
            if grid.status[depth, number] != "ok" or _same_mean(
                activations[rows], tokens.speaker[rows]
            ):
                continue
            found[depth, number] = concept_direction(
                activations[rows],
                tokens.speaker[rows],
                groups=tokens.group[rows],
                units=tokens.turn[rows],
                n_splits=settings.n_splits,
                seed=settings.seed,
                n_permutations=settings.n_permutations,
            )
    return found


def _same_mean(activations: np.ndarray, speaker: np.ndarray) -> bool:
    """Whether the classes have one mean, as embeddings do where the exchange of names gives every
    word to both speakers: there is no direction then."""
    means = [activations[speaker == number].mean(axis=0) for number in np.unique(speaker)]
    # float32 means of some thousand rows differ by rounding of this size
    return bool(np.abs(means[0] - means[1]).max() <= 1e-5 * np.abs(activations).max())


def _across_exchange(tokens: Tokens, cell: tuple[int, int], settings: Settings) -> Exchange:
    """Fitted on the first assignment of names in the other transcripts, scored on the exchanged."""
    depth, role = cell
    rows = list(tokens.cells().values())[role]
    X, y, group = tokens.read(depth)[rows], tokens.speaker[rows], tokens.group[rows]
    exchanged = tokens.rotation[rows] > 0
    predicted = np.full(len(rows), -1)
    for held_out in np.unique(group):
        train, test = (group != held_out) & ~exchanged, (group == held_out) & exchanged
        probe = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=settings.C, class_weight="balanced", max_iter=2000),
        )
        predicted[test] = probe.fit(X[train], y[train]).predict(X[test])
    scored = np.flatnonzero(predicted >= 0)

    def accuracy(chosen: np.ndarray) -> float:
        return float(balanced_accuracy_score(y[scored][chosen], predicted[scored][chosen]))

    interval = bootstrap_interval(accuracy, group[scored], rng=np.random.default_rng(settings.seed))
    return Exchange(accuracy(np.arange(len(scored))), interval)


def _over_depths(tokens: Tokens, cell: tuple[int, int], settings: Settings) -> Transfer | None:
    rows = list(tokens.cells().values())[cell[1]]
    speaker = tokens.speaker[rows]
    read = {name: activations[rows] for name, activations in tokens.blocks()}
    places = {name: cells for name, cells in read.items() if not _same_mean(cells, speaker)}
    if len(places) < 2:
        return None
    return transfer_matrix(
        places,
        speaker,
        groups=tokens.group[rows],
        n_splits=settings.n_splits,
        seed=settings.seed,
    )


def _over_roles(tokens: Tokens, cell: tuple[int, int], settings: Settings) -> Transfer | None:
    """Roles have different tokens, so their means per turn are compared, in turns that have all."""
    activations, cells = tokens.read(cell[0]), tokens.cells()
    shared = set.intersection(*(set(tokens.turn[rows]) for rows in cells.values()))
    turns = np.array(sorted(shared))
    if len(turns) < 4:
        return None
    means = {}
    for name, rows in cells.items():
        rows = rows[np.isin(tokens.turn[rows], turns)]
        place = np.searchsorted(turns, tokens.turn[rows])
        total = np.zeros((len(turns), activations.shape[1]))
        np.add.at(total, place, activations[rows])
        means[name] = total / np.bincount(place, minlength=len(turns))[:, None]
    first = np.array([np.flatnonzero(tokens.turn == turn)[0] for turn in turns])
    return transfer_matrix(
        means,
        tokens.speaker[first],
        groups=tokens.group[first],
        n_splits=settings.n_splits,
        seed=settings.seed,
    )


def _naive(naive: Tokens, grid: ProbeGrid, settings: Settings) -> Naive | None:
    """Token-wise folds on a single transcript: neighbours in a turn stand on both sides."""
    if len(np.unique(naive.turn)) < FEWEST_TURNS:
        return None
    cells = naive.cells()
    role = max((name for name in cells if name != "tag"), key=lambda name: len(cells[name]))
    rows, depth = cells[role], len(naive.depths) - 1
    activations, speaker = naive.read(depth)[rows], naive.speaker[rows]

    def score(groups: np.ndarray) -> float:
        found = probe_grid(
            [("naive", activations)],
            speaker,
            groups=groups,
            n_splits=5,
            seed=settings.seed,
            n_permutations=1,
            n_boot=0,
            n_jobs=1,
            progress=False,
        )
        return float(found.score[0, 0])

    return Naive(
        where=f"{naive.depths[depth]}, {role}",
        token_wise=score(np.arange(len(rows))),
        turn_wise=score(naive.turn[rows]),
        holds=float(grid.score[depth, grid.cells.index(role)]),
    )
