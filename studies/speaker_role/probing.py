"""What is measured: probes, directions, their transfer, and what naive designs would have said.

1. A probe for every depth and role, on whole transcripts held out, with its null and baselines.
2. The difference of means as a direction, with the same rows and folds.
3. Probes across the exchange of names at every cell; at the best one the direction at other depths
   and, per turn, at other roles.
4. The number that one transcript as written and token-wise folds would have given.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from sklearn.metrics import balanced_accuracy_score

from interp.arrays import group_means
from interp.probes import (
    Direction,
    ProbeGrid,
    Transfer,
    concept_direction,
    leace,
    probe_grid,
    transfer_matrix,
)
from interp.probes.logistic import fit_logistic
from interp.selection import Selection, best_of
from interp.stats import grouped_folds
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


THIRDS = 3
"""Parts of the groups for an eraser, a probe and its score."""

FEWEST_GROUPS = 5
"""Groups (transcripts) below which flips of their signs reach no p of .05."""


@dataclass(frozen=True)
class Exchange:
    """Probes of texts with one assignment of names, on unseen texts with the names exchanged."""

    where: str
    """The depth and role where it goes best, of all that do not name the speaker."""
    accuracy: float
    """Balanced accuracy there, mean over groups."""
    test: Selection | None
    """Every such cell against chance, by groups; None for fewer than `FEWEST_GROUPS`."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Limits of the accuracy, its choice among cells included."""
        if self.test is None:
            return None
        low, high = self.test.interval
        shift = self.accuracy - float(self.test.mean[self.test.best])
        return low + shift, high + shift


@dataclass(frozen=True)
class Erased:
    """Balanced accuracy of probes, before and after the best direction of other texts is erased."""

    before: float
    """Fitted on one third of the groups, scored on another."""
    after: float
    """The same after the direction that tells speakers in the last third is taken out (LEACE)."""


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
    erased: Erased | None
    """At the best cell; None for more than two speakers, or too few groups of both."""
    exchange: Exchange | None
    """Probes across the exchange of names; None where none were exchanged."""
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
        erased=_erased(tokens, best, settings) if two else None,
        exchange=_across_exchange(tokens, grid, settings) if tokens.rotation.any() else None,
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


def _across_exchange(tokens: Tokens, grid: ProbeGrid, settings: Settings) -> Exchange | None:
    """Fitted on the first assignment of names in the other groups, scored on the exchanged; at
    every cell that does not name the speaker, since the best of them is looked for."""
    where, scores = [], []
    for depth, (_, activations) in enumerate(tokens.blocks()):
        for number, (role, rows) in enumerate(tokens.cells().items()):
            if role == "tag" or grid.status[depth, number] != "ok":
                continue
            each = _by_group(
                activations[rows], tokens.speaker[rows], tokens.group[rows],
                tokens.rotation[rows] > 0, len(tokens.classes), settings.C,
            )  # fmt: skip
            if each is not None:
                where.append(f"{grid.blocks[depth]}, {role}")
                scores.append(each)
    if not scores:
        return None
    table = np.stack(scores, axis=1)
    if len(table) < FEWEST_GROUPS:
        best = int(table.mean(axis=0).argmax())
        return Exchange(where[best], float(table[:, best].mean()), None)
    test = best_of(table, baseline=grid.chance, seed=settings.seed)
    return Exchange(where[test.best], float(table[:, test.best].mean()), test)


def _erased(tokens: Tokens, cell: tuple[int, int], settings: Settings) -> Erased | None:
    """A probe of the rows that an eraser was fitted on has nothing left by construction, so that
    eraser, probe and score take a third of the groups each, in turn."""
    rows = list(tokens.cells().values())[cell[1]]
    X, speaker = tokens.read(cell[0])[rows], tokens.speaker[rows]
    groups = tokens.group[rows]
    if len(np.unique(groups)) < THIRDS or _same_mean(X, speaker):
        return None
    parts = [test for _, test in grouped_folds(groups, THIRDS, settings.seed)]
    if any(len(set(speaker[part])) < 2 for part in parts):
        return None
    scores = []
    for turn in range(THIRDS):
        own, train, test = (parts[(turn + step) % THIRDS] for step in range(THIRDS))
        for values in (X.astype(np.float64), leace(X[own], speaker[own]).apply(X)):
            scores.append(_score(values, speaker, train, test, 2, settings.C))
    before, after = np.reshape(scores, (THIRDS, 2)).mean(axis=0)
    return Erased(float(before), float(after))


def _score(
    X: Float[np.ndarray, "n d"],
    speaker: Int[np.ndarray, " n"],
    train: np.ndarray,
    test: np.ndarray,
    n_classes: int,
    C: float,
) -> float:
    """Balanced accuracy on test rows of a probe fitted on standardised training rows."""
    rows = X[train].astype(np.float64)
    spread = rows.std(axis=0)
    spread[spread == 0] = 1.0
    standard = (X - rows.mean(axis=0)) / spread
    fit = fit_logistic(standard[train], speaker[train][None], n_classes, C=C)
    decisions = fit.decisions(standard[test])[0]
    two = decisions.shape[1] == 1
    predicted = (decisions[:, 0] > 0).astype(int) if two else decisions.argmax(axis=1)
    return float(balanced_accuracy_score(speaker[test], predicted))


def _by_group(
    X: Float[np.ndarray, "n d"],
    speaker: Int[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
    exchanged: Bool[np.ndarray, " n"],
    n_classes: int,
    C: float,
) -> Float[np.ndarray, " group"] | None:
    """Balanced accuracy of each group; None where one lacks a speaker or a fit does."""
    scores = []
    for held_out in np.unique(group):
        train, test = (group != held_out) & ~exchanged, (group == held_out) & exchanged
        if len(set(speaker[train])) < n_classes or len(set(speaker[test])) < n_classes:
            return None
        scores.append(_score(X, speaker, train, test, n_classes, C))
    return np.array(scores)


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
        means[name] = group_means(activations[rows], place)
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
