"""Attention from weights alone: which directions attend to which, and what flows when they do.

fold(weights)                                      one block's attention as forms, norm folded in
logits(forms, X_query, X_key, distance=...)        attention logits at a distance or averaged
queries, keys, values, turned, per_query_head      their parts
vo(forms, y, probes)                               what attending to y writes along each probe
output, post_norm                                  attention output for given probabilities
null, query_null, difference_null                  moments of logits on unrelated vectors
"""

from interp.affinity.flow import Flow, output, post_norm, vo
from interp.affinity.forms import (
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
from interp.affinity.moments import Null, difference_null, null, query_null

__all__ = [
    "Flow",
    "Forms",
    "Null",
    "difference_null",
    "fold",
    "keys",
    "logits",
    "normalised",
    "null",
    "output",
    "per_query_head",
    "post_norm",
    "queries",
    "query_null",
    "turned",
    "values",
    "vo",
]
