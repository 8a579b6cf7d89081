"""What experiment 1 establishes about a model: claims, each with its null, controls and rule."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp.claims import Claim
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import Detection
from studies.date_manifold.scoring import (
    ALPHA,
    UNIFORM_NULL,
    Settings,
    family_null,
    ideal,
    noun,
    predictions,
    r2,
    r2_interval,
)


@dataclass(frozen=True)
class Landmark:
    """Held-out predictions at one word and depth."""

    word: str
    """The word."""
    row: int
    """The depth, as a row of the grid."""
    kfold: Float[np.ndarray, "n k"]
    """Predictions with folds by group."""
    left_out: Float[np.ndarray, "n k"]
    """Predictions with one category left out at a time."""


def landmark(
    cell: Float[np.ndarray, "n d"], word: str, row: int, data: Dataset, settings: Settings
) -> Landmark:
    """Held-out predictions at one cell."""
    kfold, left_out = (predictions(cell, data, settings, leave_out=out) for out in (False, True))
    return Landmark(word, row, kfold, left_out)


def claims(
    found: Detection,
    places: dict[str, Landmark],
    embedding: Landmark,
    data: Dataset,
    settings: Settings,
    *,
    causal_test: str | None = None,
) -> list[Claim]:
    """Everything that experiment 1 says about one model.

    `places` holds the best middle depth of the source and of the destination; `embedding` the
    source word before any block; `causal_test` what interventions do to the destination.
    """
    words = tuple(dict.fromkeys((data.source, data.destination)))
    tests = {data.destination: causal_test}
    made = [
        _survivors(found, data),
        *(_present(found, places[word], data, settings, tests.get(word)) for word in words),
        *(_geometric(found, places[word], data, settings) for word in words),
        _beyond_embedding(found, places[data.source], embedding, data, settings),
    ]
    if data.distractor is not None:
        made.append(_smeared(found, data.distractor, data))
    return [*made, _calibrated(found, data)]


def _survivors(found: Detection, data: Dataset) -> Claim:
    survives = found.survives
    defined = found.grid.status == "ok"
    early = int(survives[:, : data.before].sum())
    statement = f"Some cells carry the {data.quantity}"
    conditions = {"at least one cell survives": bool(survives.any())}
    controls = {"median null score": np.nanmedian(found.grid.test.mean)}
    if data.before:
        statement += f", and no word before the {data.quantity} does"
        conditions |= {f"no cell of a word before the {data.quantity} survives": early == 0}
        controls |= {f"surviving cells before the {data.quantity}": early}
    if data.period is not None:
        controls |= {"null of a uniform circle": UNIFORM_NULL}
    return Claim.decide(
        f"Where is the {data.quantity}?",
        f"{statement}.",
        subject=found.layout.model,
        estimate=survives.sum(),
        unit=f"surviving cells of {defined.sum()} defined ({defined.size} in all)",
        null=f"{len(found.grid.null)} permutations of the labels, max-T over the grid at {ALPHA}",
        controls=controls,
        conditions=conditions,
    )


def _present(
    found: Detection,
    place: Landmark,
    data: Dataset,
    settings: Settings,
    causal_test: str | None,
) -> Claim:
    p, null = family_null(found.grid, (place.row, data.words.index(place.word)))
    return Claim.decide(
        f"Where is the {data.quantity}?",
        f"The word {place.word} carries the {data.quantity} in the middle of the depth.",
        subject=found.layout.model,
        estimate=r2(place.kfold, ideal(data)),
        unit=f"held-out R2 at {found.layout.rows[place.row]}",
        interval=r2_interval(place.kfold, data, by_category=False, seed=settings.seed),
        null=null,
        controls={f"score of a one-hot {data.category_noun}": found.lookup},
        conditions={f"family-wise p of the score <= {ALPHA}": bool(p <= ALPHA)},
        causal_test=causal_test,
    )


def _geometric(found: Detection, place: Landmark, data: Dataset, settings: Settings) -> Claim:
    cell = (place.row, data.words.index(place.word))
    interval = r2_interval(place.left_out, data, by_category=True, seed=settings.seed)
    p_left_out, p_order = found.left_out.p_family[cell], found.order.p[cell]
    left, category = found.categories, data.category_noun
    controls = {
        f"same under shuffled {category} orders (mean R2)": left.controls_r2["order"][
            :, *cell
        ].mean()
    }
    if found.grid.kfold_error is not None:
        controls |= {f"median error, {category} left out ({data.unit})": left.error[cell]}
    return Claim.decide(
        f"Is it a {noun(data)} or a lookup table?",
        f"At {place.word} the {data.quantity} is a {noun(data)} and not a lookup table of "
        f"{category}s.",
        subject=found.layout.model,
        estimate=left.r2[cell],
        unit=f"leave-one-{category}-out R2 at {found.layout.rows[place.row]}, the best from 25 to "
        "75 %",
        interval=interval,
        null=(
            f"permuted labels: mean {found.left_out.mean[cell]:.2f}, family-wise p "
            f"{p_left_out:.3f}; {len(found.grid.controls['order'])} shuffled {category} orders: "
            f"score {found.order.mean[cell]:.3f} against {found.order.observed[cell]:.3f}, "
            f"p {p_order:.3f}"
        ),
        controls=controls,
        conditions={
            f"leave-one-{category}-out R2 has family-wise p <= {ALPHA}": bool(p_left_out <= ALPHA),
            f"its interval over {category}s lies above 0": interval[0] > 0,
            f"the true order beats shuffled orders (p <= {ALPHA})": bool(p_order <= ALPHA),
        },
    )


def _beyond_embedding(
    found: Detection, place: Landmark, embedding: Landmark, data: Dataset, settings: Settings
) -> Claim:
    truth, category = ideal(data), data.category_noun
    interval = r2_interval(
        place.left_out, data, by_category=True, seed=settings.seed, minus=embedding.left_out
    )
    return Claim.decide(
        f"Is it a {noun(data)} or a lookup table?",
        f"At {place.word} the blocks make the {noun(data)} truer than the embedding has it.",
        subject=found.layout.model,
        estimate=r2(place.left_out, truth) - r2(embedding.left_out, truth),
        unit=f"leave-one-{category}-out R2 at {found.layout.rows[place.row]} minus that of the "
        "embedding",
        interval=interval,
        null=f"no difference; bootstrap over the {category}s",
        controls={"R2 at the embedding": r2(embedding.left_out, truth)},
        conditions={f"the interval over {category}s lies above 0": interval[0] > 0},
    )


def _smeared(found: Detection, distractor: str, data: Dataset) -> Claim:
    survives, column = found.survives, data.words.index(distractor)
    middle = list(found.layout.middle)
    share = survives[middle, column].mean()
    at_destination = survives[middle, data.words.index(data.destination)].mean()
    return Claim.decide(
        "Does context smear over the sentence?",
        f"The unrelated word {distractor} carries the {data.quantity} too.",
        subject=found.layout.model,
        estimate=100 * share,
        unit="% of the depths from 25 to 75 % survive",
        null="permuted labels, family-wise over the grid",
        controls={
            f"at {data.destination} (%)": 100 * at_destination,
            "best K-fold R2 at the word": np.nanmax(found.kfold_r2[middle, column]),
        },
        conditions={"it survives at half of those depths or more": bool(share >= 0.5)},
    )


def _calibrated(found: Detection, data: Dataset) -> Claim:
    control = found.control
    return Claim.decide(
        "Can the test be trusted here?",
        f"On permuted labels nothing survives but a planted {noun(data)}.",
        subject=found.layout.model,
        estimate=control.survivors,
        unit="surviving cells under permuted labels",
        null=f"{control.n_permutations} further permutations, max-T over the same grid",
        controls={
            f"planted {noun(data)} at {control.cell}: score": control.planted_score,
            f"planted {noun(data)}: family-wise p": control.planted_p,
        },
        conditions={
            "no other cell survives": control.survivors == 0,
            f"the planted {noun(data)} survives": control.planted_p <= ALPHA,
        },
    )


def summary(found: Detection, made: list[Claim]) -> list[str]:
    """The claims of one model in words: which cells survive, and what geometry they have."""
    words = found.layout.words
    carrying = [w for c, w in enumerate(words) if found.survives[:, c].any()]
    silent = [w for w in words if w not in carrying]
    first, *others = made
    cells = f"In {found.layout.model} there are {first.estimate:.0f} {first.unit}."
    places = f"Some depth of {_listed(carrying)} survives; no depth of {_listed(silent)} does."
    return [
        f"{cells} {places}",
        *(f"{c.statement} {c.verdict.capitalize()}: {c.measured()}." for c in others),
    ]


def _listed(words: list[str]) -> str:
    if len(words) < 2:
        return words[0] if words else "no word"
    return f"{', '.join(words[:-1])} and {words[-1]}"
