"""A survey of one block: named directions through every head, calibrated by unrelated ones.

1. Score the named directions together with unrelated ones: logits at every distance, then what
   attending writes. One null serves both.
2. Keep the scores of the named directions, and count those of the unrelated ones by sets.
3. `Survey.joined` puts the blocks of a model together, so that no two blocks' weights need be in
   memory at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.affinity._forms import Distance, Forms
from interp.affinity._head_scores import HeadScores, Kind
from interp.affinity._pairs import PairScores, TogetherScores, qk_pairs, vo_pairs
from interp.affinity._scores import effective_rank
from interp.affinity._unrelated import BinnedP, Unrelated, UnrelatedScores

FIELDS = ("raw", "z", "p", "mean", "sd")
"""Arrays of `PairScores`."""


@dataclass(frozen=True)
class Survey:
    """Named directions in every head of some blocks, of one model or of a difference of two."""

    qk: HeadScores
    """Attention logits, at every distance."""
    vo: HeadScores
    """Cosines of what is written."""
    effective_rank: Float[np.ndarray, "blocks heads"] | None
    """Effective rank of the query-key form at the first distance; None for a difference."""

    @classmethod
    def joined(cls, surveys: Sequence["Survey"]) -> "Survey":
        """The blocks of all surveys, of the same directions and options, in order."""
        ranks = [one.effective_rank for one in surveys if one.effective_rank is not None]
        return cls(
            HeadScores.joined([one.qk for one in surveys]),
            HeadScores.joined([one.vo for one in surveys]),
            np.concatenate(ranks) if ranks else None,
        )

    def of(self, kind: Kind) -> HeadScores:
        """Scores of a kind."""
        return self.qk if kind == "QK" else self.vo

    def table(self) -> pd.DataFrame:
        """`HeadScores.table` of QK and VO, block by block, with the effective rank of the head's
        query-key form in the survey of one model."""
        table = pd.concat([self.qk.table(), self.vo.table()], ignore_index=True)
        table = table.sort_values("block", kind="stable", ignore_index=True)
        if self.effective_rank is not None:
            at = np.searchsorted(self.qk.blocks, table["block"].to_numpy())
            rank = self.effective_rank[at, table["head"].fillna(0).to_numpy(dtype=int)]
            table["effective_rank"] = np.where(table["head"].isna(), np.nan, rank)
        return table


def survey(
    forms: Forms,
    X: Float[Tensor, "n d"],
    *,
    other: Forms | None = None,
    distances: Sequence[Distance] = (0,),
    residuals: Float[np.ndarray, "samples d"] | None = None,
    unrelated: Unrelated | None = None,
    names: Sequence[str] | None = None,
    block: int = 0,
    seed: int = 0,
) -> Survey:
    """Which of the given directions attend to which in every head, and what is then written.

    Args:
        forms: One block's attention.
        X: Directions, one a row.
        other: The same block of a second model, for a survey of the difference, other minus
            `forms`.
        distances: Key position - query position; a distance may be several to average over. The
            first is the one that rates, effects and curves are about.
        residuals: Deviations of residuals before the block for the covariance null, each with both
            signs (`Deviations.fitted`); by default all directions are alike.
        unrelated: Directions that show whether the null holds, and their sets; isotropic ones by
            default. Its sets must hold as many directions as X.
        names: Names of the directions; by default their numbers.
        block: Number of the block, for tables.
        seed: Seed of all draws.

    Raises:
        ValueError: as `qk` and `vo_cross`, no distance, names or sets that do not fit X.
    """
    beside = _beside(X, unrelated, seed)
    labels = {"names": _names(X, names), "block": block}
    options = {"other": other, "residuals": residuals, "seed": seed}
    rank = None
    logits = survey_logits(forms, X, distances=distances, unrelated=beside, **options, **labels)
    if other is None:
        rank = effective_rank(forms, distance=distances[0]).numpy()[None]
    return Survey(logits, _survey_written(forms, X, beside, **options, **labels), rank)


def survey_logits(
    forms: Forms,
    X: Float[Tensor, "n d"],
    *,
    other: Forms | None = None,
    distances: Sequence[Distance] = (0,),
    residuals: Float[np.ndarray, "samples d"] | None = None,
    unrelated: Unrelated | None = None,
    names: Sequence[str] | None = None,
    block: int = 0,
    seed: int = 0,
) -> HeadScores:
    """The logits of `survey` alone. Arguments and errors as there."""
    if not len(distances):
        raise ValueError("distances are empty; give at least one key position - query position")
    beside = _beside(X, unrelated, seed)
    both, null = _stacked(X, beside), None if residuals is None else _tensor(residuals)
    named, counts, scores = [], [], None
    for distance in distances:
        pairs = qk_pairs(forms, both, distance=distance, other=other, residuals=null, seed=seed)
        named.append(_part(pairs, slice(len(X))))
        apart = _part(pairs, slice(len(X), None))
        counts.append(_counts(named[-1], apart, beside))
        scores = scores or UnrelatedScores.of(apart, beside)
    assert scores is not None
    stacked = (np.stack([vars(part)[name] for part in named], axis=-1)[None] for name in FIELDS)
    return HeadScores(
        "QK",
        _names(X, names),
        (block,),
        tuple(distances),
        PairScores(*stacked),
        None,
        *_joined(counts),
        scores,
    )


def _survey_written(
    forms: Forms,
    X: Tensor,
    unrelated: Unrelated,
    *,
    other: Forms | None,
    residuals: np.ndarray | None,
    names: tuple[str, ...],
    block: int,
    seed: int,
) -> HeadScores:
    n, null = len(X), None if residuals is None else _tensor(residuals)
    pairs, together = vo_pairs(
        forms, _stacked(X, unrelated), other=other, residuals=null, seed=seed
    )
    named, apart = _part(pairs, slice(n)), _part(pairs, slice(n, None))
    return HeadScores(
        "VO",
        names,
        (block,),
        (),
        PairScores(*(vars(named)[name][None, ..., None] for name in FIELDS)),
        TogetherScores(together.raw[None, :n, :n], together.z[None, :n, :n]),
        *_counts(named, apart, unrelated),
        UnrelatedScores.of(apart, unrelated),
    )


def _part(pairs: PairScores, rows: slice) -> PairScores:
    return PairScores(*(vars(pairs)[name][:, rows, rows] for name in FIELDS))


def _counts(
    named: PairScores, apart: PairScores, unrelated: Unrelated
) -> tuple[BinnedP, BinnedP | None]:
    """p values of self pairs and of cross pairs: of the named directions, then of every set."""
    sets = unrelated.sets
    own = np.eye(sets.shape[1], dtype=bool)
    of_sets = apart.p[:, sets[:, :, None], sets[:, None, :]]  # [heads, sets, n, n]
    binned = []
    for mask in (own, ~own):
        by_set = of_sets[..., mask].swapaxes(0, 1).reshape(len(sets), -1)
        rows = np.concatenate([named.p[:, mask].reshape(1, -1), by_set])
        binned.append(BinnedP.of(rows) if mask.any() else None)
    return binned[0], binned[1]


def _joined(counts: list[tuple[BinnedP, BinnedP | None]]) -> tuple[BinnedP, BinnedP | None]:
    cross = [part for _, part in counts if part is not None]
    return BinnedP.joined([own for own, _ in counts]), BinnedP.joined(cross) if cross else None


def _beside(X: Tensor, unrelated: Unrelated | None, seed: int) -> Unrelated:
    if unrelated is None:
        return Unrelated.isotropic(len(X), X.shape[1], seed=seed)
    if unrelated.sets.shape[1] != len(X):
        raise ValueError(
            f"sets hold {unrelated.sets.shape[1]} unrelated directions beside {len(X)} named ones; "
            "draw sets of as many"
        )
    return unrelated


def _names(X: Tensor, names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return tuple(map(str, range(len(X))))
    if len(names) != len(X):
        raise ValueError(f"{len(names)} names for {len(X)} directions")
    return tuple(names)


def _stacked(X: Tensor, unrelated: Unrelated) -> Tensor:
    return torch.cat([X.double(), _tensor(unrelated.vectors)])


def _tensor(rows: np.ndarray) -> Tensor:
    """float64, as scores are computed."""
    return torch.from_numpy(np.ascontiguousarray(rows)).double()
