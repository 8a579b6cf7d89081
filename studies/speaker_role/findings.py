"""What a model's probes establish: claims, each with its null, controls and rule."""

import numpy as np

from interp.claims import Claim, description, finding
from studies.speaker_role.probing import FEWEST_GROUPS, Probing

NEAR = 0.05
"""Balanced accuracy within which two probes count as equally good."""

SEVERAL = "5 transcripts or more (there is 1)"
"""What a claim about transcripts needs: with four, no sign flip could reach p .05."""


def claims(found: Probing, *, causal_test: str | None = None) -> list[Claim]:
    """Everything that is claimed of one model; `causal_test` is what the ablation showed."""
    made = [_present(found), _unseen(found), _exchanged(found), _beyond_surface(found)]
    made += [
        _one_direction(found, causal_test),
        _erased(found),
        _localised(found),
        _late(found),
        _overstated(found),
    ]
    return [claim for claim in made if claim is not None]


def _score(found: Probing) -> float:
    return float(found.grid.score[found.best])


def _single(found: Probing) -> bool:
    """Whether all texts are stretches of one transcript."""
    return found.tokens.unit == "stretch of turns"


def _present(found: Probing) -> Claim:
    grid, best = found.grid, found.best
    unit = found.tokens.unit
    return finding(
        "Where are the speakers kept apart?",
        f"Words that do not name the speaker tell who speaks, in {_plural(unit)} that were never "
        "fitted.",
        subject=found.model,
        primary=True,
        estimate=_score(found),
        unit=f"balanced accuracy at {found.where}, the best cell, {_held_out(unit)}",
        null=f"{len(grid.null)} permutations of speakers among turns: mean "
        f"{grid.test.mean[best]:.3f}",
        exchange=f"turn ({len(np.unique(found.tokens.turn))}), within its {unit}",
        selection="depth and role: p is corrected over the whole grid (max-T); the estimate is "
        "that of the best cell and so too large",
        controls=_controls(found),
        tests={"speakers permuted among turns": (float(grid.test.p_family[best]), grid.test.floor)},
    )


def _controls(found: Probing) -> dict[str, float]:
    grid, (depth, role) = found.grid, found.best
    controls: dict[str, float] = {"chance": grid.chance}
    if grid.majority is not None:
        controls["plain accuracy of the majority"] = float(grid.majority[role])
    if (surface := _surface(found)) is not None:
        controls["same probe on the embedding"] = surface
    if grid.selectivity is not None:
        controls["selectivity"] = float(grid.selectivity[depth, role])
    controls["AUROC"] = float(grid.auroc[depth, role])
    return {name: value for name, value in controls.items() if np.isfinite(value)}


def _surface(found: Probing) -> float | None:
    """Score of the best cell's embedding; chance where all its tokens are one token."""
    grid, role = found.grid, found.best[1]
    if grid.surface is None or grid.surface_status is None:
        return None
    if grid.surface_status[role] == "constant":
        return grid.chance
    return float(grid.surface[role]) if grid.surface_status[role] == "ok" else None


def _beyond_surface(found: Probing) -> Claim:
    surface = _surface(found)
    return description(
        "Where are the speakers kept apart?",
        "What the blocks add to what the words themselves give away.",
        subject=found.model,
        estimate=None if surface is None else _score(found) - surface,
        unit=f"balanced accuracy at {found.where} minus that of the embedding",
        selection="depth and role, for their score: the difference is too large by what that gives",
        controls={} if surface is None else {"the embedding": surface},
        needs="the same probe on the embedding" if surface is None else "",
    )


def _unseen(found: Probing) -> Claim | None:
    """Of one transcript nothing can be said about others; of several the first finding says it."""
    if not _single(found):
        return None
    return finding(
        "Does it survive?",
        "It survives on transcripts that were never fitted.",
        subject=found.model,
        estimate=_score(found),
        unit=f"balanced accuracy at {found.where}, {_held_out(found.tokens.unit)}",
        tests={},
        exchange="transcript (1)",
        needs=SEVERAL,
    )


def _plural(unit: str) -> str:
    return "stretches of turns" if unit == "stretch of turns" else f"{unit}s"


def _held_out(unit: str) -> str:
    """What folds held out, in words."""
    return {
        "stretch of turns": "stretches of turns of the one transcript held out",
        "transcript": "whole transcripts held out",
        "group": "whole groups of the file held out",
        "text": "single texts held out, as the file names no groups",
    }[unit]


def _exchanged(found: Probing) -> Claim:
    exchange, chance, unit = found.exchange, found.grid.chance, found.tokens.unit
    needs = ""
    if exchange is None:
        needs = "texts in which the names are exchanged"
    elif _single(found):
        needs = SEVERAL
    elif exchange.test is None:
        needs = f"{FEWEST_GROUPS} {_plural(unit)} with words of both speakers"
    test = None if exchange is None else exchange.test
    return finding(
        "Does it survive?",
        "It survives when the names are exchanged, so that topic and wording cannot carry it.",
        subject=found.model,
        estimate=None if exchange is None else exchange.accuracy,
        interval=None if exchange is None or needs else exchange.interval,
        unit=f"balanced accuracy at {found.where if exchange is None else exchange.where}, fitted "
        f"on one assignment of the names, scored on the other, {_held_out(unit)}",
        null=f"chance, {chance:.2f}: signs of whole {_plural(unit)} flipped, alike at every depth",
        exchange=f"{unit} ({len(np.unique(found.tokens.group))})",
        selection="the depth: p and limits hold for the best of all of them (max-T)",
        tests={} if needs or test is None else {"chance": (test.p[test.best], test.floor)},
        needs=needs,
    )


def _one_direction(found: Probing, causal_test: str | None) -> Claim:
    direction = found.directions.get(found.best)
    return description(
        "Linear or diffuse?",
        "How the difference of means does beside the whole probe.",
        subject=found.model,
        estimate=None if direction is None else direction.accuracy,
        unit=f"balanced accuracy of the direction at {found.where}",
        null=f"the probe's score, {_score(found):.3f}. Both are one direction: the probe weighs "
        "features by their noise, the difference of means does not",
        controls={} if direction is None else {"cosine between folds": direction.stability},
        needs="two speakers whose means differ" if direction is None else "",
        causal_test=causal_test,
    )


def _erased(found: Probing) -> Claim:
    erased = found.erased
    return description(
        "Linear or diffuse?",
        "What a probe tells after the direction that tells speakers in other texts is erased.",
        subject=found.model,
        estimate=None if erased is None else erased.after,
        unit=f"balanced accuracy at {found.where}; eraser (LEACE), probe and score on a third of "
        "the groups each",
        null="0.5 where one direction, the same in all texts, holds all there is, and a third of "
        "them suffices to find it",
        controls={} if erased is None else {"before": erased.before},
        needs="" if erased else "two speakers in three groups of texts",
    )


def _localised(found: Probing) -> Claim:
    role = found.best[1]
    near = found.grid.score[:, role] >= _score(found) - NEAR
    return description(
        "Localised or spread?",
        "Depths that come near the best.",
        subject=found.model,
        estimate=100 * near.mean(),
        unit=f"% of {len(near)} depths within {NEAR} of the best, {found.grid.cells[role]}",
        controls={"surviving depths (%)": 100 * found.survives[:, role].mean()},
    )


def _late(found: Probing) -> Claim:
    return description(
        "Early or late?",
        "The depth at which it is clearest.",
        subject=found.model,
        estimate=float(found.tokens.percent[found.best[0]]),
        unit=f"% of the depth, {found.where}",
        selection="the largest of all depths: of equal ones chance names one",
    )


def _overstated(found: Probing) -> Claim:
    naive = found.naive
    controls: dict[str, float] = {}
    if naive is not None:
        controls = {
            "same transcript, whole turns held out": naive.turn_wise,
            "same role and depth, unseen transcripts": naive.holds,
        }
    return description(
        "What would a naive design have claimed?",
        "What token-wise folds on one transcript give for its words.",
        subject=found.model,
        estimate=None if naive is None else naive.token_wise,
        unit=f"balanced accuracy{'' if naive is None else f' at {naive.where}'}, one transcript, "
        "folds that split turns",
        controls=controls,
        needs="a transcript as written, of more turns" if naive is None else "",
    )


def peaks(every: list[Probing]) -> Claim:
    """Where the speakers are clearest, model beside model."""
    depths = {found.model: float(found.tokens.percent[found.best[0]]) for found in every}
    spread = max(depths.values()) - min(depths.values())
    return description(
        "Do the models differ in where it peaks?",
        "How far apart the models' clearest depths lie.",
        estimate=spread,
        unit="percentage points of depth between the earliest and the latest peak",
        controls={f"{model} (%)": depth for model, depth in depths.items()},
    )


def summary(found: Probing, made: list[Claim]) -> list[str]:
    """The claims of one model in words."""
    grid = found.grid
    tag = [
        f"Of the tags themselves {np.nanmax(grid.score[:, c]):.2f} are told apart, which is no "
        "finding: they name the speaker."
        for c, role in enumerate(grid.cells)
        if role == "tag" and np.isfinite(grid.score[:, c]).any()
    ]
    survivors = int(found.survives.sum())
    defined = int((grid.status == "ok").sum())
    return [
        f"In {found.model} {survivors} of {defined} cells survive correction; the speakers are "
        f"clearest at {found.where}.",
        *tag,
        *(claim.sentence() for claim in made),
    ]
