"""Attention weights of one block at a time, straight from a checkpoint, without building a model.

AttentionWeights.from_checkpoint(path, block)   only the tensors needed, from safetensors
AttentionWeights.from_model(bridge, block)      the same from a loaded TransformerBridge
ModelWeights.open(path)                         all blocks of a checkpoint, read one at a time
perturbed(weights, relative, seed=)             a copy with Gaussian noise
size_report(path)                               bytes needed beside the checkpoint's bytes
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from interp.weights.noise import perturbed
from interp.weights.record import AttentionWeights, Rope

if TYPE_CHECKING:
    from interp.weights.model import ModelWeights
    from interp.weights.size import SizeReport, size_report

__all__ = ["AttentionWeights", "ModelWeights", "Rope", "SizeReport", "perturbed", "size_report"]

_READERS = {
    "ModelWeights": "interp.weights.model",
    "SizeReport": "interp.weights.size",
    "size_report": "interp.weights.size",
}
"""What reads checkpoints, imported when it is asked for: transformers takes seconds."""


def __getattr__(name: str) -> Any:
    if name not in _READERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_READERS[name]), name)
