"""Load a model with one set of hook names that mean the same in every family.

model = load("smollm2-135m")                   # a TransformerBridge, checked at load
model.run_with_cache(ids, names_filter=resid_post(5))
print(*points(model), sep="\\n")               # which hook points exist here, and what they mean
"""

from interp.model.checkpoint import LOCAL_MODELS, fetch
from interp.model.conformance import Check, Conformance, ConformanceError, conformance
from interp.model.load import checkpoint_directory, load
from interp.model.points import (
    VOCABULARY,
    Point,
    PointStatus,
    attn_out,
    attn_scores,
    check_hooks,
    embed,
    final_norm,
    mlp_out,
    pattern,
    points,
    resid_mid,
    resid_post,
    resid_pre,
    residual_stream,
    z,
)
from interp.model.source import Source, source

__all__ = [
    "LOCAL_MODELS",
    "VOCABULARY",
    "Check",
    "Conformance",
    "ConformanceError",
    "Point",
    "PointStatus",
    "Source",
    "attn_out",
    "attn_scores",
    "check_hooks",
    "checkpoint_directory",
    "conformance",
    "embed",
    "fetch",
    "final_norm",
    "load",
    "mlp_out",
    "pattern",
    "points",
    "resid_mid",
    "resid_post",
    "resid_pre",
    "residual_stream",
    "source",
    "z",
]
