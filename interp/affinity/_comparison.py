"""One block of one model or of two: surveys of each and of the difference, with their controls.

1. Residuals before the block, where given, make the covariance null, and give unrelated directions
   from texts that the null was not fitted on; without them both are isotropic.
2. With residuals, the base's logits are held against the isotropic null as well, which shows what
   the covariance is needed for.
3. A change between two models is also held to itself, turned at random.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from interp.affinity._forms import Distance, fold
from interp.affinity._head_scores import HeadScores
from interp.affinity._survey import Survey, survey, survey_logits
from interp.affinity._turns import TurnedChange, turned_change
from interp.affinity._unrelated import Deviations, Unrelated
from interp.weights import AttentionWeights

LABELS = ["kind", "pair", "block", "head", "query", "key", "distance"]
"""Columns of a survey's table that all sides share."""


@dataclass(frozen=True)
class Comparison:
    """Named directions in every head of a model, of a second one, and of the difference."""

    base: Survey
    """Scores in the first model."""
    other: Survey | None
    """Scores in the second model; None for one model, as below."""
    difference: Survey | None
    """Scores of the difference, other less base."""
    turned: TurnedChange | None
    """The change of logits beside its random turns."""
    isotropic: HeadScores | None
    """Logits of the base against the isotropic null, where that is not the null."""

    @classmethod
    def joined(cls, parts: Sequence["Comparison"]) -> "Comparison":
        """The blocks of all parts, of the same directions and options, in order."""
        others = [part.other for part in parts if part.other is not None]
        differences = [part.difference for part in parts if part.difference is not None]
        turned = [part.turned for part in parts if part.turned is not None]
        isotropic = [part.isotropic for part in parts if part.isotropic is not None]
        return cls(
            Survey.joined([part.base for part in parts]),
            Survey.joined(others) if others else None,
            Survey.joined(differences) if differences else None,
            TurnedChange.joined(turned) if turned else None,
            HeadScores.joined(isotropic) if isotropic else None,
        )

    @property
    def main(self) -> Survey:
        """What the comparison is about: the difference, or the only model."""
        return self.base if self.difference is None else self.difference

    def growth(self) -> Float[np.ndarray, "blocks heads"]:
        """Spread of the second model's logits on unrelated vectors over that of the first, by head,
        at the first distance. Raises ValueError for one model."""
        if self.other is None:
            raise ValueError("there is no second model whose logits could have grown")
        return self.other.qk.unrelated.spread / self.base.qk.unrelated.spread

    def table(self, *, other: str = "other") -> pd.DataFrame:
        """`Survey.table` of all sides side by side, their columns prefixed with base, `other` and
        difference."""
        surveys = {"base": self.base, other: self.other, "difference": self.difference}
        tables = {side: one.table() for side, one in surveys.items() if one is not None}
        scores = [one.drop(columns=LABELS).add_prefix(f"{side}_") for side, one in tables.items()]
        return pd.concat([tables["base"][LABELS], *scores], axis=1)


def compare(
    base: AttentionWeights,
    other: AttentionWeights | None,
    X: Float[Tensor, "n d"],
    *,
    distances: Sequence[Distance] = (0,),
    residuals: Float[np.ndarray, "texts tokens d"] | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> Comparison:
    """Survey one block of a model, or of two and their difference.

    Args:
        base: The block's attention.
        other: The same block of a second model, such as the tuned one.
        X: Directions, one a row.
        distances: Key position - query position, as for `survey`.
        residuals: Residual stream of the base before the block, at as many tokens of each of some
            texts of ordinary text; by default all directions are alike.
        names: Names of the directions; by default their numbers.
        seed: Seed of all draws.

    Raises:
        ValueError: as `survey`, too few texts, or blocks that differ in shape, scale or kind of
            norm.
    """
    forms = fold(base)
    fitted, unrelated = None, Unrelated.isotropic(len(X), X.shape[1], seed=seed)
    if residuals is not None:
        deviations = Deviations.of(residuals)
        fitted = deviations.fitted
        unrelated = Unrelated.of_texts(len(X), deviations.held_out, seed=seed)
    beside = {"unrelated": unrelated, "names": names, "block": base.block, "seed": seed}
    options = {"distances": distances, "residuals": fitted} | beside
    second, difference, turned, isotropic = None, None, None, None
    if other is not None:
        after = fold(other)
        second = survey(after, X, **options)
        difference = survey(forms, X, other=after, **options)
        turned = turned_change(base, other, X, distances=distances, seed=seed)
    if residuals is not None:
        isotropic = survey_logits(forms, X, distances=distances[:1], **beside)
    return Comparison(survey(forms, X, **options), second, difference, turned, isotropic)
