"""From texts to activations, and a look at where the destination attends."""

import torch
from transformer_lens.model_bridge import TransformerBridge

from interp.extract import Stores
from interp.model import pattern, residual_stream
from interp.plots import AttentionView, attention
from interp.positions import align
from interp.store import Store
from studies.date_manifold.data import Dataset


def read(model: TransformerBridge, data: Dataset, *, stores: Stores) -> Store:
    """The residual stream at every depth and word, in a store that a later run finds again."""
    return stores.extract("date_manifold", model, data.samples, hooks=residual_stream(model))


def depths(store: Store) -> tuple[str, ...]:
    """Names of the store's hooks as rows of a figure."""
    return ("embedding", *(f"block {b}" for b in range(len(store.hooks) - 2)), "final norm")


def landmark_attention(model: TransformerBridge, data: Dataset) -> AttentionView:
    """Attention patterns of the first text in the block with the head that attends most from the
    destination to the source, heads in the order of that attention."""
    (aligned,) = align(model.tokenizer, data.samples[:1], [data.source, data.destination])
    source, destination = (int(tokens[-1]) for tokens in aligned.tokens)
    names = [pattern(block) for block in range(model.cfg.n_layers)]
    with torch.no_grad():
        _, cache = model.run_with_cache(
            torch.tensor([aligned.ids], device=model.cfg.device),
            names_filter=names,
            output_attentions=False,
            use_cache=False,
        )
    attended = torch.stack([cache[name][0, :, destination, source] for name in names]).float()
    block = int(attended.max(dim=1).values.argmax())
    heads = attended[block].argsort(descending=True).tolist()
    return attention(model, data.samples[0].text, block, heads=heads)
