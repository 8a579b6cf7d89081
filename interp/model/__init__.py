"""Load a model with one set of hook names that mean the same in every family.

model = load("smollm2-135m-instruct-q4")                 # a TransformerBridge, checked at load
model.run_with_cache(ids, names_filter=resid_post(5))
print(*points(model), sep="\\n")               # which hook points exist here, and what they mean
"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.model._attached import dropout, foreign
    from interp.model._checkpoint import LOCAL_MODELS, OLD_NAMES, fetch
    from interp.model._company import company, padding_id
    from interp.model._conformance import Check, Conformance, ConformanceError, conformance
    from interp.model._given import check_device, check_models, check_name, true_name, untrained
    from interp.model._load import checkpoint_directory, load
    from interp.model._points import (
        VOCABULARY,
        Point,
        PointStatus,
        attn_out,
        attn_scores,
        check_hooks,
        depth_names,
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
    from interp.model._skeleton import Skeleton, skeleton
    from interp.model._source import Origin, Source, origin, source
    from interp.model._turns import turn
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = [
    "LOCAL_MODELS",
    "OLD_NAMES",
    "VOCABULARY",
    "Check",
    "Conformance",
    "ConformanceError",
    "Origin",
    "Point",
    "PointStatus",
    "Skeleton",
    "Source",
    "attn_out",
    "attn_scores",
    "check_device",
    "check_hooks",
    "check_models",
    "check_name",
    "checkpoint_directory",
    "company",
    "conformance",
    "depth_names",
    "dropout",
    "embed",
    "fetch",
    "final_norm",
    "foreign",
    "load",
    "mlp_out",
    "origin",
    "padding_id",
    "pattern",
    "points",
    "resid_mid",
    "resid_post",
    "resid_pre",
    "residual_stream",
    "skeleton",
    "source",
    "true_name",
    "untrained",
    "turn",
    "z",
]
