"""What experiment 1 establishes about a model: claims, each with its null, controls and rule."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp.claims import Claim
from studies.date_manifold.data import DESTINATION, DISTRACTOR, SOURCE, Dates
from studies.date_manifold.detection import (
    UNIFORM_NULL,
    Detection,
    Settings,
    circle_of,
    predictions,
    r2,
    r2_interval,
)

ALPHA = 0.05
"""Family-wise level of every verdict."""


@dataclass(frozen=True)
class Landmark:
    """Activations and held-out predictions at one word and depth."""

    word: str
    """The word."""
    row: int
    """The depth, as a row of the grid."""
    kfold: Float[np.ndarray, "n 2"]
    """Predictions with folds by date."""
    left_out: Float[np.ndarray, "n 2"]
    """Predictions with one month left out at a time."""


def landmark(
    cell: Float[np.ndarray, "n d"], word: str, row: int, dates: Dates, settings: Settings
) -> Landmark:
    """Held-out predictions at one cell."""
    kfold, left_out = (predictions(cell, dates, settings, leave_out=out) for out in (False, True))
    return Landmark(word, row, kfold, left_out)


def claims(
    found: Detection,
    places: dict[str, Landmark],
    embedding: Landmark,
    dates: Dates,
    settings: Settings,
) -> list[Claim]:
    """Everything that experiment 1 says about one model.

    `places` holds the best middle depth of the source and of the destination; `embedding` the
    source word before any block.
    """
    return [
        _survivors(found),
        *(_present(found, places[word], dates, settings) for word in (SOURCE, DESTINATION)),
        *(_circular(found, places[word], dates, settings) for word in (SOURCE, DESTINATION)),
        _beyond_embedding(found, places[SOURCE], embedding, dates, settings),
        _smeared(found),
        _calibrated(found),
    ]


def _survivors(found: Detection) -> Claim:
    survives, day = found.survives, found.words.index("[day]")
    defined = found.grid.status == "ok"
    before = int(survives[:, :day].sum())
    n = found.grid.null.shape[0]
    return Claim.decide(
        "Where is the date?",
        "Some cells carry the date, and no word before the date does.",
        subject=found.model,
        estimate=survives.sum(),
        unit=f"surviving cells of {defined.sum()} defined ({defined.size} in all)",
        null=f"{n} permutations of the dates among sentences, max-T over the grid at {ALPHA}",
        controls={
            "surviving cells before the date": before,
            "median null score": np.nanmedian(found.grid.test.mean),
            "null of a uniform circle": UNIFORM_NULL,
        },
        conditions={
            "at least one cell survives": bool(survives.any()),
            "no cell of a word before the date survives": before == 0,
        },
    )


def _present(found: Detection, place: Landmark, dates: Dates, settings: Settings) -> Claim:
    cell, test = (place.row, found.words.index(place.word)), found.grid.test
    p = test.p_family[*cell, 0]
    return Claim.decide(
        "Where is the date?",
        f"The word {place.word} carries the date in the middle of the depth.",
        subject=found.model,
        estimate=r2(place.kfold, circle_of(dates.label)),
        unit=f"held-out R2 of (cos, sin) at {found.rows[place.row]}",
        interval=r2_interval(place.kfold, dates, by_month=False, seed=settings.seed),
        null=(
            f"score {test.observed[*cell, 0]:.3f} against {test.mean[*cell, 0]:.3f} "
            f"(sd {test.sd[*cell, 0]:.4f}) under permuted dates; family-wise p {p:.3f}"
        ),
        controls={"score of a one-hot month": found.lookup},
        conditions={f"family-wise p of the score <= {ALPHA}": bool(p <= ALPHA)},
    )


def _circular(found: Detection, place: Landmark, dates: Dates, settings: Settings) -> Claim:
    cell = (place.row, found.words.index(place.word))
    interval = r2_interval(place.left_out, dates, by_month=True, seed=settings.seed)
    p_left_out, p_order = found.left_out.p_family[cell], found.order.p[cell]
    left = found.months
    return Claim.decide(
        "Is it a circle or a lookup table?",
        f"At {place.word} the year is a circle and not a lookup table of months.",
        subject=found.model,
        estimate=left.r2[cell],
        unit=f"leave-one-month-out R2 at {found.rows[place.row]}, the best from 25 to 75 %",
        interval=interval,
        null=(
            f"permuted dates: mean {found.left_out.mean[cell]:.2f}, family-wise p "
            f"{p_left_out:.3f}; {len(found.grid.controls['month order'])} shuffled month orders: "
            f"score {found.order.mean[cell]:.3f} against {found.order.observed[cell]:.3f}, "
            f"p {p_order:.3f}"
        ),
        controls={
            "median error, month left out (days)": left.error[cell],
            "same under shuffled month orders (mean R2)": left.controls_r2["month order"][
                :, *cell
            ].mean(),
        },
        conditions={
            f"leave-one-month-out R2 has family-wise p <= {ALPHA}": bool(p_left_out <= ALPHA),
            "its interval over months lies above 0": interval[0] > 0,
            f"the calendar's order beats shuffled orders (p <= {ALPHA})": bool(p_order <= ALPHA),
        },
    )


def _beyond_embedding(
    found: Detection, place: Landmark, embedding: Landmark, dates: Dates, settings: Settings
) -> Claim:
    truth = circle_of(dates.label)
    gain = r2(place.left_out, truth) - r2(embedding.left_out, truth)
    interval = r2_interval(
        place.left_out, dates, by_month=True, seed=settings.seed, minus=embedding.left_out
    )
    return Claim.decide(
        "Is it a circle or a lookup table?",
        f"At {place.word} the blocks make the circle rounder than the embedding has it.",
        subject=found.model,
        estimate=gain,
        unit=f"leave-one-month-out R2 at {found.rows[place.row]} minus that of the embedding",
        interval=interval,
        null="no difference; bootstrap over the twelve months",
        controls={"R2 at the embedding": r2(embedding.left_out, truth)},
        conditions={"the interval over months lies above 0": interval[0] > 0},
    )


def _smeared(found: Detection) -> Claim:
    survives, column = found.survives, found.words.index(DISTRACTOR)
    middle = list(found.middle)
    share = survives[middle, column].mean()
    return Claim.decide(
        "Does context smear over the sentence?",
        f"The unrelated word {DISTRACTOR} carries the date too.",
        subject=found.model,
        estimate=100 * share,
        unit="% of the depths from 25 to 75 % survive",
        null="permuted dates, family-wise over the grid",
        controls={
            "at the birthday (%)": 100 * survives[middle, found.words.index(DESTINATION)].mean(),
            "best K-fold R2 at the word": np.nanmax(found.grid.kfold_r2[middle, column]),  # pyright: ignore[reportOptionalSubscript]
        },
        conditions={"it survives at half of those depths or more": bool(share >= 0.5)},
    )


def _calibrated(found: Detection) -> Claim:
    control = found.control
    return Claim.decide(
        "Can the test be trusted here?",
        "On permuted dates nothing survives but a planted circle.",
        subject=found.model,
        estimate=control.survivors,
        unit="surviving cells under permuted dates",
        null=f"{control.n_permutations} further permutations, max-T over the same grid",
        controls={
            f"planted circle at {control.cell}: score": control.planted_score,
            "planted circle: family-wise p": control.planted_p,
        },
        conditions={
            "no other cell survives": control.survivors == 0,
            "the planted circle survives": control.planted_p <= ALPHA,
        },
    )


def summary(found: Detection, made: list[Claim]) -> list[str]:
    """The claims of one model in words: which cells survive, and what geometry they have."""
    carrying = [w for c, w in enumerate(found.words) if found.survives[:, c].any()]
    silent = [w for w in found.words if w not in carrying]
    first, *others = made
    cells = f"In {found.model} there are {first.estimate:.0f} {first.unit}."
    words = f"Some depth of {_listed(carrying)} survives; no depth of {_listed(silent)} does."
    return [
        f"{cells} {words}",
        *(f"{c.statement} {c.verdict.capitalize()}: {_measured(c)}." for c in others),
    ]


def _listed(words: list[str]) -> str:
    if len(words) < 2:
        return words[0] if words else "no word"
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _measured(claim: Claim) -> str:
    between = "" if claim.interval is None else " [{:.3g}, {:.3g}]".format(*claim.interval)
    return f"{claim.estimate:.3g}{between} {claim.unit}"
