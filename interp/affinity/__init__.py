"""Attention from weights alone: which directions attend to which, and what flows when they do.

fold(weights)                                      one block's attention as forms, norm folded in
logits(forms, X_query, X_key, distance=...)        attention logits at a distance or averaged
queries, keys, values, turned, per_query_head      their parts
qk, qk_self, qk_difference, qk_self_difference     logits with z and p under their null
effective_rank(forms, distance=...)                of each head's query-key form
vo(forms, y, probes)                               what attending to y writes along each probe
vo_cross, vo_self, and their differences           its cosines with z and p under their null
output, post_norm                                  attention output for given probabilities
null, query_null, difference_null                  moments and tails of logits on unrelated vectors
"""

from interp.affinity._flow import Flow, output, post_norm, vo
from interp.affinity._flow_scores import (
    FlowScores,
    vo_cross,
    vo_cross_difference,
    vo_self,
    vo_self_difference,
)
from interp.affinity._forms import (
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
from interp.affinity._logit_null import difference_null, null, query_null
from interp.affinity._null import Null
from interp.affinity._scores import (
    Scores,
    effective_rank,
    qk,
    qk_difference,
    qk_self,
    qk_self_difference,
)

__all__ = [
    "Flow",
    "FlowScores",
    "Forms",
    "Null",
    "Scores",
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
    "qk_self",
    "qk_self_difference",
    "queries",
    "query_null",
    "turned",
    "values",
    "vo",
    "vo_cross",
    "vo_cross_difference",
    "vo_self",
    "vo_self_difference",
]
