"""How far a concept's vector turns when the scenarios are drawn again."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp.arrays import Arraylike, centred_gram
from interp.readout._contrast import OK, contrasts, scenario_codes, taken


@dataclass(frozen=True)
class Stability:
    """Cosine between the vector of all texts and vectors of resampled scenarios."""

    mean: Float[np.ndarray, " concepts"]
    """Mean over resamples; NaN where undefined."""
    low: Float[np.ndarray, " concepts"]
    """5 % quantile over resamples."""
    unrelated: Float[np.ndarray, " concepts"]
    """`mean` for texts that have nothing in common: a resample shares its texts with the whole, so
    that noise gives about 1 / sqrt(2), not 0."""
    status: tuple[str, ...]
    """`ok`, or why it is undefined."""


def stability(
    X: Arraylike,
    positive: Arraylike,
    scenario: Arraylike,
    *,
    n_boot: int = 1000,
    rng: np.random.Generator,
) -> Stability:
    """Bootstrap cosine of every concept's vector at one block, from activations [texts, d].

    A resample without positives of a concept has no vector and is dropped; where more than a tenth
    are, the rest does not stand for the corpus and the concept is undefined. Raises ValueError for
    fewer than three scenarios, activations that are not finite, and lengths that differ.
    """
    X, positive = taken(X, positive)
    member = scenario_codes(scenario, positive)
    n_scenarios = member.max() + 1
    times = rng.multinomial(n_scenarios, np.full(n_scenarios, 1 / n_scenarios), size=n_boot)
    weight = times[:, member].astype(np.float64)
    gram, identity = centred_gram(X, without_constant=True), np.eye(positive.shape[1])
    cells = []
    for label in positive[:, None]:
        whole, drawn = contrasts(label)[0], contrasts(label, weight)[:, 0]
        cosine = _cosines(gram, whole, drawn)
        lost = int(np.isnan(cosine).sum())
        if lost > n_boot / 10:
            cells.append((np.nan, np.nan, np.nan, f"no vector on {lost} of {n_boot} resamples"))
            continue
        alone = float(np.nanmean(_cosines(identity, whole, drawn)))
        cells.append((np.nanmean(cosine), np.nanquantile(cosine, 0.05), alone, OK))
    mean, low, unrelated, status = zip(*cells, strict=True)
    return Stability(np.array(mean), np.array(low), np.array(unrelated), status)


def _cosines(gram: np.ndarray, whole: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Cosine of each drawn contrast with the whole one; NaN where either has no direction."""
    by_drawn = drawn @ gram
    squared = (by_drawn * drawn).sum(axis=1) * (whole @ gram @ whole)
    return np.divide(
        by_drawn @ whole,
        np.sqrt(np.maximum(squared, 0)),
        out=np.full(len(drawn), np.nan),
        where=squared > 0,
    )
