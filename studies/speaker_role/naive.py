"""What a naive reading would take for the speaker: wording, neighbours in a turn, clusters.

1. Probes fitted on one assignment of the names are scored on the other, where wording that goes
   with a name misleads them (`exchanged`).
2. One transcript as written and token-wise folds are what a naive design would have had
   (`naive_design`).
3. Projections of all cells are shown, and prove nothing (`pictures`).
"""

from dataclasses import dataclass

import numpy as np

from interp.claims import description, finding
from interp.plots import projection_grids, scatter
from interp.probes import Probe, across_conditions, probe_grid, project
from interp.report import Figure, Section
from interp.selection import Selection, best_of
from interp.stats import Resampling
from interp.study import Part, Subject
from interp.tasks import Workers
from studies.speaker_role.data import Sources
from studies.speaker_role.probing import FEWEST_GROUPS, SEVERAL, SURVIVES, directions, probes
from studies.speaker_role.tokens import Tokens, naive_tokens

FEWEST_TURNS = 10
"""Turns of a single transcript, or of the piece that fits a context, below which five folds of
whole turns would hold one or none."""

SHOWN = 300
"""Tokens of a panel; more would cover one another."""


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


def exchange(subject: Subject, sources: Sources) -> Exchange | None:
    """Fitted on the first assignment of names in the other groups, scored on the exchanged.

    All cells that do not name the speaker are scored, since the best of them is looked for. None
    where no names were exchanged, or no cell has words of all speakers in every group.
    """
    probed = subject.ask(probes)
    rows, grid = probed.tokens, probed.grid
    scores = {}
    for depth, (_, activations) in enumerate(rows.blocks() if rows.rotation.any() else ()):
        for number, (role, cell) in enumerate(rows.cells().items()):
            if role == "tag" or grid.status[depth, number] != "ok":
                continue
            by_group = across_conditions(
                activations[cell],
                rows.speaker[cell],
                rows.group[cell],
                rows.rotation[cell] > 0,
                n_classes=len(rows.classes),
                C=subject.config.C,
            )
            if by_group is not None:
                scores[grid.where((depth, number))] = by_group
    if not scores:
        return None
    where, table = list(scores), np.stack(list(scores.values()), axis=1)
    test = None
    if len(table) >= FEWEST_GROUPS:
        test = best_of(table, baseline=grid.chance, seed=subject.config.seed)
    best = int(table.mean(axis=0).argmax()) if test is None else test.best
    return Exchange(where[best], float(table[:, best].mean()), test)


def exchanged(subject: Subject, sources: Sources) -> Part:
    """Does it survive when the names are exchanged?"""
    probed, swapped = subject.ask(probes), subject.ask(exchange)
    rows, needs = probed.tokens, ""
    test = None if swapped is None else swapped.test
    if swapped is None:
        needs = "texts in which the names are exchanged"
    elif rows.single:
        needs = SEVERAL
    elif test is None:
        needs = f"{FEWEST_GROUPS} {rows.units} with words of both speakers"
    claim = finding(
        SURVIVES,
        "It survives when the names are exchanged, so that topic and wording cannot carry it.",
        estimate=None if swapped is None else swapped.accuracy,
        interval=None if swapped is None or needs else swapped.interval,
        unit=f"balanced accuracy at {probed.where if swapped is None else swapped.where}, fitted "
        f"on one assignment of the names, scored on the other, {rows.held_out}",
        null=f"chance, {probed.grid.chance:.2f}: signs of whole {rows.units} flipped, alike at "
        "every depth",
        exchange=f"{rows.unit} ({rows.n_groups})",
        selection="the depth: p and limits hold for the best of all of them (max-T)",
        tests={} if needs or test is None else {"chance": (test.p[test.best], test.floor)},
        needs=needs,
    )
    accuracy = np.nan if swapped is None else swapped.accuracy
    return Part(claims=[claim], row={"names exchanged": accuracy})


@dataclass(frozen=True)
class OneTranscript:
    """One transcript as written, scikit-learn's default penalty, at the last depth."""

    where: str
    """Depth and role, the commonest that does not name the speaker."""
    token_wise: float
    """Balanced accuracy with tokens dealt to folds one by one."""
    turn_wise: float
    """The same with whole turns held out."""
    unseen: float
    """The study's own score of this depth and role, on unseen transcripts."""


def one_transcript(subject: Subject, sources: Sources) -> OneTranscript | None:
    """Token-wise folds on a single transcript, where neighbours in a turn stand on both sides; None
    for a short one, and for texts of a user's own."""
    rows, grid = subject.ask(naive_tokens), subject.ask(probes).grid
    if rows is None or len(np.unique(rows.turn)) < FEWEST_TURNS:
        return None
    cells, depth = rows.cells(), len(rows.depths) - 1
    role = max((name for name in cells if name != "tag"), key=lambda name: len(cells[name]))
    return OneTranscript(
        where=f"{rows.depths[depth]}, {role}",
        token_wise=_naive_score(rows, cells[role], np.arange(len(cells[role])), subject),
        turn_wise=_naive_score(rows, cells[role], rows.turn[cells[role]], subject),
        unseen=float(grid.score[depth, grid.cells.index(role)]),
    )


def _naive_score(rows: Tokens, cell: np.ndarray, groups: np.ndarray, subject: Subject) -> float:
    grid = probe_grid(
        [("naive", rows.read(len(rows.depths) - 1)[cell])],
        rows.speaker[cell],
        groups=groups,
        probe=Probe(n_boot=0),
        resampling=Resampling(1, seed=subject.config.seed),
        workers=Workers(n_jobs=1, progress=False),
    )
    return float(grid.score[0, 0])


def naive_design(subject: Subject, sources: Sources) -> Part:
    """What would a naive design have claimed?"""
    single = subject.ask(one_transcript)
    controls: dict[str, float] = {}
    if single is not None:
        controls = {
            "same transcript, whole turns held out": single.turn_wise,
            "same role and depth, unseen transcripts": single.unseen,
        }
    claim = description(
        "What would a naive design have claimed?",
        "What token-wise folds on one transcript give for its words.",
        estimate=None if single is None else single.token_wise,
        unit=f"balanced accuracy{'' if single is None else f' at {single.where}'}, one transcript, "
        "folds that split turns",
        controls=controls,
        needs="a transcript as written, of more turns" if single is None else "",
    )
    return Part(claims=[claim], row={"naive": np.nan if single is None else single.token_wise})


def pictures(subject: Subject, sources: Sources) -> Part:
    """What do projections of the tokens show?"""
    probed, seed = subject.ask(probes), subject.config.seed
    rows, rng = probed.tokens, np.random.default_rng(seed)
    shown = {n: np.sort(rng.permutation(cell)[:SHOWN]) for n, cell in rows.cells().items()}
    names = np.array(rows.classes)[rows.speaker]
    pca, tsne = projection_grids(
        probed.grid,
        rows.blocks(),
        shown,
        names,
        titles={
            "pca": f"{subject.name}: every depth and role by principal components",
            "tsne": f"{subject.name}: every depth and role by t-SNE",
        },
        seed=seed,
    )
    figures = [
        Figure(
            pca,
            "Up to 300 tokens a panel, coloured by speaker. The first two components are the "
            "largest, not the ones that tell speakers apart.",
        ),
        Figure(
            tsne,
            "t-SNE at a perplexity of 30, less for few tokens. It shows neighbourhoods of "
            "training and test tokens alike: clusters here prove nothing, and their absence "
            "neither.",
        ),
    ]
    if probed.grid.status[probed.best] == "ok":
        figures = [_large(subject, shown[probed.role], names), *figures]
    return Part(sections=[Section(f"{subject.name}: pictures", figures)])


def _large(subject: Subject, shown: np.ndarray, names: np.ndarray) -> Figure:
    probed, direction = subject.ask(probes), subject.ask(directions).get(subject.ask(probes).best)
    picture = project(
        probed.tokens.read(probed.best[0])[shown],
        direction=None if direction is None else direction.direction,
        seed=subject.config.seed,
    )
    assert picture.explained is not None  # as these are principal components
    axes = [f"component {n + 1} ({100 * share:.0f} %)" for n, share in enumerate(picture.explained)]
    figure = scatter(
        picture.points,
        names[shown],
        title=f"The best cell, {probed.where}, by principal components",
        x_title=axes[0],
        y_title=axes[1],
        arrow=picture.arrow,
        arrow_label="from one speaker's mean to the other's",
    )
    caption = "The two largest components, which are not those that tell speakers apart."
    if picture.arrow is not None:
        caption += (
            f" Of the difference of means {100 * float(np.linalg.norm(picture.arrow)):.0f} % of "
            "the length lies in this plane; the arrow shows where it points, not how long it is."
        )
    return Figure(figure, caption)
