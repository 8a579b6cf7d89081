"""What a model's probes establish: claims, each with its null, controls and rule."""

import numpy as np

from interp.claims import Claim
from studies.speaker_role.probing import ALPHA, Probing

NEAR = 0.05
"""Balanced accuracy within which two probes count as equally good."""

FEWEST_TRANSCRIPTS = 5
"""Transcripts that a claim about transcripts needs: fewer leave an interval less than four degrees
of freedom."""

LATE = 50.0
"""Depth in % beyond which a peak counts as late."""


def claims(found: Probing, *, causal_test: str | None = None) -> list[Claim]:
    """Everything that is claimed of one model; `causal_test` is what the ablation showed."""
    made = [_present(found), _beyond_surface(found), _unseen(found), _exchanged(found)]
    made += [
        _one_direction(found, causal_test),
        _localised(found),
        _late(found),
        _overstated(found),
    ]
    return made


def _score(found: Probing) -> float:
    return float(found.grid.score[found.best])


def _present(found: Probing) -> Claim:
    grid, best = found.grid, found.best
    p = grid.test.p_family[best]
    return Claim.decide(
        "Where are the speakers kept apart?",
        "Words that do not name the speaker tell who speaks.",
        subject=found.model,
        estimate=_score(found),
        unit=f"balanced accuracy at {found.where}, the best cell",
        interval=_interval(found),
        null=f"{len(grid.null)} permutations of speakers among turns: mean "
        f"{grid.test.mean[best]:.3f}; max-T over all depths and roles, p {p:.3f}",
        controls=_controls(found),
        conditions={f"family-wise p of the best such cell <= {ALPHA}": bool(p <= ALPHA)},
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


def _interval(found: Probing) -> tuple[float, float] | None:
    low, high = found.grid.interval[found.best]
    return None if np.isnan(low) else (float(low), float(high))


def _surface(found: Probing) -> float | None:
    """Score of the best cell's embedding; chance where all its tokens are one token."""
    grid, role = found.grid, found.best[1]
    if grid.surface is None or grid.surface_status is None:
        return None
    if grid.surface_status[role] == "constant":
        return grid.chance
    return float(grid.surface[role]) if grid.surface_status[role] == "ok" else None


def _beyond_surface(found: Probing) -> Claim:
    surface, interval = _surface(found), _interval(found)
    return Claim.decide(
        "Where are the speakers kept apart?",
        "The blocks add to what the words themselves give away.",
        subject=found.model,
        estimate=None if surface is None else _score(found) - surface,
        unit=f"balanced accuracy at {found.where} minus that of the embedding",
        null="the same probe on the embedding of the same tokens; chance where they are one token",
        controls={} if surface is None else {"the embedding": surface},
        conditions={
            "the interval of the score lies above the embedding's score": (
                None if interval is None or surface is None else interval[0] > surface
            ),
            **_several(found),
        },
    )


def _several(found: Probing) -> dict[str, bool | None]:
    """What a claim about transcripts needs: met, or untested where there is one transcript."""
    if found.tokens.unit != "stretch of turns":
        return {}
    return {f"there are {FEWEST_TRANSCRIPTS} transcripts or more (there is 1)": None}


def _unseen(found: Probing) -> Claim:
    interval, chance, unit = _interval(found), found.grid.chance, found.tokens.unit
    several = len(np.unique(found.tokens.group)) > 1
    what = "transcript" if unit == "stretch of turns" else unit
    return Claim.decide(
        "Does it survive?",
        f"It survives on {what}s that were never fitted.",
        subject=found.model,
        estimate=_score(found),
        unit=f"balanced accuracy at {found.where}, {_held_out(unit)}",
        interval=interval,
        null=f"chance, {chance:.2f}; probes fitted anew with other weights of the {_plural(unit)}",
        conditions={
            f"the interval over {_plural(unit)} lies above chance": (
                interval[0] > chance if several and interval is not None else None
            ),
            **_several(found),
        },
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
    exchange, chance = found.exchange, found.grid.chance
    return Claim.decide(
        "Does it survive?",
        "It survives when the names are exchanged, so that topic and wording cannot carry it.",
        subject=found.model,
        estimate=None if exchange is None else exchange.accuracy,
        unit=f"balanced accuracy at {found.where}, fitted on one assignment of the names, scored "
        f"on the other, {_held_out(found.tokens.unit)}",
        interval=None if exchange is None else exchange.interval,
        null=f"chance, {chance:.2f}; bootstrap over {_plural(found.tokens.unit)}",
        conditions={
            "its interval lies above chance": (
                None if exchange is None else exchange.interval[0] > chance
            ),
            **_several(found),
        },
    )


def _one_direction(found: Probing, causal_test: str | None) -> Claim:
    direction = found.directions.get(found.best)
    return Claim.decide(
        "Linear or diffuse?",
        "One direction, the difference of means, does as well as the whole probe.",
        subject=found.model,
        estimate=None if direction is None else direction.accuracy,
        unit=f"balanced accuracy of the direction at {found.where}",
        interval=None if direction is None else direction.interval,
        null=f"the probe's score, {_score(found):.3f}",
        controls={} if direction is None else {"cosine between folds": direction.stability},
        conditions={
            "the probe finds the speaker there": _there(found),
            f"the direction is within {NEAR} of the probe": (
                None if direction is None else direction.accuracy >= _score(found) - NEAR
            ),
        },
        causal_test=causal_test,
    )


def _there(found: Probing) -> bool | None:
    """Whether there is anything to ask about; None makes a question untestable."""
    return True if found.survives[found.best] else None


def _localised(found: Probing) -> Claim:
    role = found.best[1]
    near = found.grid.score[:, role] >= _score(found) - NEAR
    return Claim.decide(
        "Localised or spread?",
        "It is localised: fewer than half of the depths come near the best.",
        subject=found.model,
        estimate=100 * near.mean(),
        unit=f"% of {len(near)} depths within {NEAR} of the best, {found.grid.cells[role]}",
        null="none: a description of the curve over the depth",
        controls={"surviving depths (%)": 100 * found.survives[:, role].mean()},
        conditions={
            "the probe finds the speaker there": _there(found),
            "fewer than half of the depths": bool(near.mean() < 0.5),
        },
    )


def _late(found: Probing) -> Claim:
    depth = float(found.tokens.percent[found.best[0]])
    return Claim.decide(
        "Early or late?",
        f"It is clearest late, beyond {LATE:g} % of the depth.",
        subject=found.model,
        estimate=depth,
        unit=f"% of the depth, {found.where}",
        null="none: a description of the curve over the depth",
        conditions={
            "the probe finds the speaker there": _there(found),
            f"the best depth lies beyond {LATE:g} %": depth > LATE,
        },
    )


def _overstated(found: Probing) -> Claim:
    naive = found.naive
    controls: dict[str, float] = {}
    if naive is not None:
        controls = {
            "same transcript, whole turns held out": naive.turn_wise,
            "same role and depth, unseen transcripts": naive.holds,
        }
    return Claim.decide(
        "What would a naive design have claimed?",
        "Token-wise folds on one transcript overstate what holds for its words.",
        subject=found.model,
        estimate=None if naive is None else naive.token_wise,
        unit=f"balanced accuracy{'' if naive is None else f' at {naive.where}'}, one transcript, "
        "folds that split turns",
        null="the same transcript with whole turns held out",
        controls=controls,
        conditions={
            f"it exceeds whole turns by more than {NEAR}": (
                None if naive is None else naive.token_wise > naive.turn_wise + NEAR
            )
        },
    )


def peaks(every: list[Probing]) -> Claim:
    """Whether the models agree on where the speakers are clearest."""
    depths = {found.model: float(found.tokens.percent[found.best[0]]) for found in every}
    spread = max(depths.values()) - min(depths.values())
    there = all(found.survives[found.best] for found in every)
    return Claim.decide(
        "Do the models differ in where it peaks?",
        "All models are clearest at about the same depth.",
        estimate=spread,
        unit="percentage points of depth between the earliest and the latest peak",
        null="none: a comparison of the best depths that were read",
        controls={f"{model} (%)": depth for model, depth in depths.items()},
        conditions={
            "every model tells the speakers apart": there or None,
            "the peaks lie within 25 points": spread <= 25,
        },
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
        *(f"{c.statement} {c.verdict.capitalize()}: {c.measured()}." for c in made),
    ]
