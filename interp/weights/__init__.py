"""Attention weights of one block at a time, straight from a checkpoint, without building a model.

AttentionWeights.from_checkpoint(path, block)   only the tensors needed, from safetensors
AttentionWeights.from_model(bridge, block)      the same from a loaded TransformerBridge
size_report(path)                               bytes needed beside the checkpoint's bytes
"""

from interp.weights.attention import AttentionWeights
from interp.weights.rope import Rope
from interp.weights.size import SizeReport, size_report

__all__ = ["AttentionWeights", "Rope", "SizeReport", "size_report"]
