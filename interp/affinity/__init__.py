"""Attention from weights alone: which directions attend to which, and what flows when they do.

fold(weights)                       one block's attention as forms, with the input norm folded in
survey(forms, X, distances=...)     named directions in every head, calibrated by unrelated ones
compare(base, other, X, ...)         surveys of two models and of their difference, with controls
turned_change(before, after, X)     a change of weights, beside the same change turned at random
qk, qk_self, and their differences  logits with z and p under their null
vo_cross, vo_self, and theirs       cosines of what is written, with z and p under their null
qk_pairs, vo_pairs                  both for all pairs of the same vectors, self pairs included
logits, vo                          the numbers without a null
effective_rank(forms, distance=...) of each head's query-key form
null, query_null, difference_null   moments and tails of logits on unrelated vectors
queries, keys, values, turned, per_query_head, normalised, output, post_norm
                                    parts of the computation

`interp.affinity.notebook` holds head-averaged scores as an earlier notebook computed them.
"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.affinity._cells import Effect, HeadPair, Survivors
    from interp.affinity._comparison import Comparison, compare
    from interp.affinity._flow import Flow, output, post_norm, vo
    from interp.affinity._flow_scores import (
        FlowScores,
        vo_cross,
        vo_cross_difference,
        vo_self,
        vo_self_difference,
    )
    from interp.affinity._forms import (
        Distance,
        Forms,
        fold,
        keys,
        logits,
        normalised,
        per_query_head,
        queries,
        turned,
        values,
    )
    from interp.affinity._head_scores import HeadScores, Kind
    from interp.affinity._logit_null import difference_null, null, query_null
    from interp.affinity._null import Null
    from interp.affinity._pairs import PairScores, TogetherScores, qk_pairs, vo_pairs
    from interp.affinity._scores import (
        Scores,
        effective_rank,
        qk,
        qk_difference,
        qk_self,
        qk_self_difference,
    )
    from interp.affinity._survey import Survey, survey, survey_logits
    from interp.affinity._turns import TurnedChange, turned_change
    from interp.affinity._unrelated import Deviations, Unrelated, UnrelatedScores
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = [
    "Comparison",
    "Deviations",
    "Distance",
    "Effect",
    "Flow",
    "FlowScores",
    "Forms",
    "HeadPair",
    "HeadScores",
    "Kind",
    "Null",
    "PairScores",
    "Scores",
    "Survey",
    "Survivors",
    "TogetherScores",
    "TurnedChange",
    "Unrelated",
    "UnrelatedScores",
    "compare",
    "difference_null",
    "effective_rank",
    "fold",
    "keys",
    "logits",
    "normalised",
    "null",
    "output",
    "per_query_head",
    "post_norm",
    "qk",
    "qk_difference",
    "qk_pairs",
    "qk_self",
    "qk_self_difference",
    "queries",
    "query_null",
    "survey",
    "survey_logits",
    "turned",
    "turned_change",
    "values",
    "vo",
    "vo_cross",
    "vo_cross_difference",
    "vo_pairs",
    "vo_self",
    "vo_self_difference",
]
