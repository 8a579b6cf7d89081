"""Attention weights of one block at a time, straight from a checkpoint, without building a model.

AttentionWeights.from_checkpoint(path, block)   only the tensors needed, from safetensors
AttentionWeights.from_model(bridge, block)      the same from a loaded TransformerBridge
ModelWeights.open(path)                         all blocks of a checkpoint, read one at a time
perturbed(weights, relative, seed=)             a copy with Gaussian noise
size_report(path)                               bytes needed beside the checkpoint's bytes
"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.weights._model import ModelWeights
    from interp.weights._noise import perturbed
    from interp.weights._record import AttentionWeights, Rope
    from interp.weights._size import SizeReport, size_report
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = ["AttentionWeights", "ModelWeights", "Rope", "SizeReport", "perturbed", "size_report"]
