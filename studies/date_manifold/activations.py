"""From sentences to activations, and a look at where the birthday attends."""

from pathlib import Path

import torch
from transformer_lens.model_bridge import TransformerBridge

from interp.extract import extract
from interp.model import pattern, residual_stream
from interp.plots import AttentionView, attention
from interp.positions import align
from interp.store import Store
from studies.date_manifold.data import DESTINATION, SOURCE, Dates


def read(model: TransformerBridge, dates: Dates, *, out: Path, batch_size: int) -> Store:
    """The residual stream at every depth and word, in a store that a later run finds again."""
    store = extract(
        model,
        dates.samples,
        hooks=residual_stream(model),
        out=out / "date_manifold-{key}",
        batch_size=batch_size,
    )
    assert isinstance(store, Store)
    return store


def depths(store: Store) -> tuple[str, ...]:
    """Names of the store's hooks as rows of a figure."""
    return ("embedding", *(f"block {b}" for b in range(len(store.hooks) - 2)), "final norm")


def birthday_attention(model: TransformerBridge, dates: Dates) -> AttentionView:
    """Attention patterns of the first sentence in the block with the head that attends most from
    the birthday to the month, heads in the order of that attention."""
    (aligned,) = align(model.tokenizer, dates.samples[:1], [SOURCE, DESTINATION])
    month, birthday = aligned.ranges[:, 1] - 1
    names = [pattern(block) for block in range(model.cfg.n_layers)]
    with torch.no_grad():
        _, cache = model.run_with_cache(
            torch.tensor([aligned.ids], device=model.cfg.device),
            names_filter=names,
            output_attentions=False,
            use_cache=False,
        )
    attended = torch.stack([cache[name][0, :, birthday, month] for name in names]).float()
    block = int(attended.max(dim=1).values.argmax())
    heads = attended[block].argsort(descending=True).tolist()
    return attention(model, dates.samples[0].text, block, heads=heads)
