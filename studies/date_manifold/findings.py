"""What experiment 1 establishes about a model: claims, each with its null, controls and rule."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp.claims import Claim, control, description, finding
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import Detection
from studies.date_manifold.scoring import (
    ALPHA,
    UNIFORM_NULL,
    Settings,
    exchanged,
    family_null,
    ideal,
    noun,
    predictions,
    r2,
)

FEWEST_LABELS = 10
"""Labels below which those that are left do not say where one lies that was held out."""


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
    by_label: Float[np.ndarray, "n k"] | None
    """Predictions with all texts of one label held out together; None where that is no question."""


def landmark(
    cell: Float[np.ndarray, "n d"], word: str, row: int, data: Dataset, settings: Settings
) -> Landmark:
    """Held-out predictions at one cell."""
    kfold, left_out = (predictions(cell, data, settings, leave_out=out) for out in (False, True))
    by_label = predictions(cell, data, settings, groups=data.label) if recurring(data) else None
    return Landmark(word, row, kfold, left_out, by_label)


def recurring(data: Dataset) -> bool:
    """Whether a file of one's own has labels that recur in several groups, and many labels: texts
    of one label may then be tellings of one fact, which the file does not say."""
    labels = len(np.unique(data.label))
    return data.task == "data" and FEWEST_LABELS <= labels < len(np.unique(data.group))


def claims(
    found: Detection,
    places: dict[str, Landmark],
    embedding: Landmark,
    data: Dataset,
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
        *(_present(found, places[word], data, tests.get(word)) for word in words),
        _beyond_embedding(found, places[data.source], embedding, data),
    ]
    made += [_not_by_copies(found, places[word], data) for word in words]
    if data.distractor is not None:
        made.append(_smeared(found, data.distractor, data))
    return [claim for claim in made if claim is not None]


def _survivors(found: Detection, data: Dataset) -> Claim:
    survives = found.survives
    defined = found.grid.status == "ok"
    controls = {"median null score": np.nanmedian(found.grid.test.mean)}
    if data.period is not None:
        controls |= {"null of a uniform circle": UNIFORM_NULL}
    return description(
        f"Where is the {data.quantity}?",
        f"Cells that carry the {data.quantity}.",
        subject=found.layout.model,
        estimate=survives.sum(),
        unit=f"surviving cells of {defined.sum()} defined ({defined.size} in all)",
        null=f"{len(found.grid.null)} permutations of the labels, max-T over the grid at {ALPHA}",
        exchange=exchanged(data),
        controls=controls,
    )


def _present(found: Detection, place: Landmark, data: Dataset, causal_test: str | None) -> Claim:
    cell = (place.row, data.words.index(place.word))
    p, null = family_null(found.grid, cell)
    floor, surface = found.grid.test.floor, found.kfold_r2[0, cell[1]]
    return finding(
        f"Where is the {data.quantity}?",
        f"The word {place.word} carries the {data.quantity}, be it only its {data.category_noun}.",
        subject=found.layout.model,
        primary=data.period is None and place.word == data.source,
        estimate=r2(place.kfold, ideal(data)),
        unit=f"held-out R2 at {found.layout.rows[place.row]}",
        null=null,
        exchange=exchanged(data),
        selection="the depth, of those from 25 to 75 %: p is corrected over the whole grid (max-T)",
        controls={
            f"score of a one-hot {data.category_noun}": found.lookup,
            f"R2 of knowing the {data.category_noun} alone": r2(category_means(data), ideal(data)),
            "R2 of the embedding, before any block": "0: one token in all texts"
            if np.isnan(surface)
            else surface,
        },
        tests={"permuted labels": (p, floor)},
        causal_test=causal_test,
    )


def _not_by_copies(found: Detection, place: Landmark, data: Dataset) -> Claim | None:
    """Forty facts in six wordings each are forty units: told apart, they carry any label."""
    if place.by_label is None:
        return None
    cell = (place.row, data.words.index(place.word))
    there, apart = family_null(found.grid, cell)[0] <= ALPHA, r2(place.by_label, ideal(data))
    return control(
        "Are the texts units of their own?",
        f"What {place.word} carries is not texts of one label told by their likeness.",
        subject=found.layout.model,
        passed=apart > 0 if there else None,
        fails_on="facts that stand in several texts each, without a group column that says so",
        estimate=apart,
        unit=f"held-out R2 at {found.layout.rows[place.row]} with all texts of a label held out "
        "together; a control passes above 0",
        controls={"with folds by group": r2(place.kfold, ideal(data))},
    )


def category_means(data: Dataset) -> Float[np.ndarray, "n k"]:
    """What one predicts who knows only the category."""
    truth = ideal(data)
    own = np.eye(len(data.categories))[data.category]
    return own @ (own.T @ truth / np.maximum(own.sum(axis=0), 1)[:, None])


def _beyond_embedding(
    found: Detection, place: Landmark, embedding: Landmark, data: Dataset
) -> Claim:
    truth, category = ideal(data), data.category_noun
    return description(
        f"Is it a {noun(data)} or a lookup table?",
        f"What the blocks add to the {noun(data)} at {place.word}.",
        subject=found.layout.model,
        estimate=r2(place.left_out, truth) - r2(embedding.left_out, truth),
        unit=f"leave-one-{category}-out R2 at {found.layout.rows[place.row]} minus that of the "
        "embedding",
        selection="the depth, for its R2: the difference is too large by what that choice gives",
        controls={"R2 at the embedding": r2(embedding.left_out, truth)},
    )


def _smeared(found: Detection, distractor: str, data: Dataset) -> Claim:
    column = data.words.index(distractor)
    middle = list(found.layout.middle)
    share, p = found.survives[middle, column].mean(), found.grid.test.p_family[middle, column, 0]
    at_destination = found.survives[middle, data.words.index(data.destination)].mean()
    return description(
        "Does context smear over the sentence?",
        f"Depths at which the unrelated word {distractor} carries the {data.quantity} too.",
        subject=found.layout.model,
        estimate=100 * share,
        unit="% of the depths from 25 to 75 % survive",
        null="permuted labels, family-wise over the grid",
        exchange=exchanged(data),
        controls={
            f"at {data.destination} (%)": 100 * at_destination,
            "best K-fold R2 at the word": np.nanmax(found.kfold_r2[middle, column]),
            "least p over those depths, family-wise": float(np.nanmin(p))
            if np.isfinite(p).any()
            else "undefined",
        },
    )


def summary(found: Detection, made: list[Claim]) -> list[str]:
    """The claims of one model in words: which cells survive, and what geometry they have."""
    words = found.layout.words
    carrying = [w for c, w in enumerate(words) if found.survives[:, c].any()]
    silent = [w for w in words if w not in carrying]
    cells = f"In {found.layout.model} {int(found.survives.sum())} cells survive correction."
    places = f"Some depth of {_listed(carrying)} survives; no depth of {_listed(silent)} does."
    return [
        f"{cells} {places}",
        *(claim.sentence() for claim in made),
    ]


def _listed(words: list[str]) -> str:
    if len(words) < 2:
        return words[0] if words else "no word"
    return f"{', '.join(words[:-1])} and {words[-1]}"
