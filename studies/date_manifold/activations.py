"""From texts to activations, and a look at where the destination attends."""

from transformer_lens.model_bridge import TransformerBridge

from interp.extract import Stores
from interp.model import residual_stream
from interp.plots import AttentionView, attention_between
from interp.positions import align
from interp.store import Store
from studies.date_manifold.data import Dataset


def read(model: TransformerBridge, data: Dataset, *, stores: Stores) -> Store:
    """The residual stream at every depth and word, in a store that a later run finds again."""
    return stores.extract("date_manifold", model, data.samples, hooks=residual_stream(model))


def landmark_attention(model: TransformerBridge, data: Dataset) -> AttentionView:
    """Attention patterns of the first text in the block with the head that attends most from the
    destination to the source, heads in the order of that attention."""
    (aligned,) = align(model.tokenizer, data.samples[:1], [data.source, data.destination])
    source, destination = (int(tokens[-1]) for tokens in aligned.tokens)
    return attention_between(model, data.samples[0].text, destination, [source])
