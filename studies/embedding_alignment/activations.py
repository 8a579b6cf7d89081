"""From pooled texts to a store of activations, and the names of its depths."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from transformer_lens.model_bridge import TransformerBridge

from interp.extract import Stores
from interp.model import attn_out, depth_names, mlp_out, residual_stream
from interp.store import Store
from studies.embedding_alignment.tokens import POOLINGS, Poolings

SITES = ("residual stream", "attention", "MLP")
"""What is read in a block: the stream that leaves it, and what each of its halves adds."""


@dataclass(frozen=True)
class Sides:
    """Pooled activations of both languages in a store."""

    store: Store
    """Activations [text, pooling, d], the first language's texts before the second's."""
    n_layers: int
    """Blocks of the model."""
    vectors: tuple[Float[np.ndarray, "types_1 d"], Float[np.ndarray, "types_2 d"]]
    """Each language's tokens in the embedding matrix, in the order of `Poolings.types`."""

    @property
    def depths(self) -> tuple[str, ...]:
        """Names of the residual stream's depths."""
        return depth_names(self.hooks(SITES[0]))

    @property
    def ticks(self) -> tuple[str, ...]:
        """The same, as short as an axis needs them."""
        return ("emb", *(str(block) for block in range(self.n_layers)), "norm")

    def hooks(self, site: str) -> tuple[str, ...]:
        """Hook names of a site, depth by depth; the halves of a block begin with block 0."""
        start = self.n_layers + 2 + (SITES.index(site) - 1) * self.n_layers
        if site == SITES[0]:
            return self.store.hooks[: self.n_layers + 2]
        return self.store.hooks[start : start + self.n_layers]

    def read(self, hook: str) -> dict[str, tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]]:  # fmt: skip # noqa: E501
        """Both languages' rows under a hook, by pooling."""
        rows = self.store.read(hook)
        first, second = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        return {name: (first[:, at], second[:, at]) for at, name in enumerate(POOLINGS)}


def read(model: TransformerBridge, poolings: Poolings, *, stores: Stores) -> Sides:
    """Every depth of the residual stream and both halves of every block, in a store that a later
    run finds again."""
    blocks = range(model.cfg.n_layers)
    store = stores.extract(
        "embedding_alignment",
        model,
        poolings.samples,
        hooks=[
            *residual_stream(model),
            *(attn_out(block) for block in blocks),
            *(mlp_out(block) for block in blocks),
        ],
        rule=poolings.rules,
    )
    first, second = (
        model.W_E[types.ids].detach().float().cpu().numpy() for types in poolings.types
    )
    return Sides(store, model.cfg.n_layers, (first, second))
