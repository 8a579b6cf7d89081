"""From texts to the residual stream and the heads' outputs at each text's last token."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerFast

from interp.extract import Stores
from interp.model import resid_post, z
from interp.positions import Sample, align
from interp.store import Store
from studies.concept_readout.corpus import Corpus

LAST = "last"
"""The one position that is read: a text's last token."""


@dataclass(frozen=True)
class Readings:
    """Activations at the last token of every text, in the corpus's order."""

    store: Store
    """Activations [text, 1, ...] by hook."""
    blocks: tuple[int, ...]
    """Blocks read, counted from 0."""
    limit: int
    """Tokens, with those that the tokenizer adds, past which a text is cut."""
    truncated: tuple[str, ...]
    """Names of the texts that were cut to their first `limit` tokens or, where a cut at that place
    would change the tokens before it, to a few less."""

    def residual(self, block: int) -> Float[np.ndarray, "texts d"]:
        """Residual stream after a block."""
        return self.store.read(resid_post(block))[:, 0]

    def z(self, block: int) -> Float[np.ndarray, "texts heads d_head"] | None:
        """Heads' mixed values in a block, before W_O; None for a block without attention."""
        hook = z(block)
        return self.store.read(hook)[:, 0] if hook in self.store.hooks else None


def read(
    model: TransformerBridge,
    corpus: Corpus,
    blocks: Sequence[int],
    *,
    max_length: int = 512,
    stores: Stores,
    dtype: str | None = None,
) -> Readings:
    """Read all texts in one pass, into a store that a later run finds again.

    A text with more than `max_length` tokens, or more than the model's context, is cut. `dtype` is
    what is stored, by default the model's own.

    Raises:
        ValueError: no blocks, one that the model does not have, a tokenizer that ends a text with
            a token of its own, a `max_length` that leaves no token of a text, or as
            `interp.extract`.
    """
    limit = min(max_length, model.cfg.n_ctx)
    samples = [_fitted(model.tokenizer, text, limit) for text in corpus.texts]
    heads = [b for b, has in enumerate(attention_blocks(model)) if has and b in blocks]
    hooks = [*(resid_post(b) for b in blocks), *(z(b) for b in heads)]
    store = stores.extract("concept_readout", model, samples, hooks=hooks, dtype=dtype)
    rows = zip(corpus.names, corpus.texts, samples, strict=True)
    cut = tuple(name for name, text, sample in rows if sample.text != text)
    return Readings(store, tuple(blocks), limit, cut)


def attention_blocks(model: TransformerBridge) -> tuple[bool, ...]:
    """Whether each block has attention heads."""
    known = model.hook_dict
    return tuple(z(block) in known for block in range(model.cfg.n_layers))


def _fitted(tokenizer: PreTrainedTokenizerFast, text: str, limit: int) -> Sample:
    """The text, or its first `limit` tokens, with its last token as the position to read."""
    encoded = tokenizer(text, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    if not _ends(tokenizer, text, ids):
        raise ValueError(
            f"the tokenizer ends a text with {tokenizer.decode(ids[-1:])!r}, which is no part of "
            f"it: the last token would hold no text, of ...{text[-40:]!r}"
        )
    if len(ids) <= limit:
        return _sample(text)
    for n in range(limit, 0, -1):
        start = text[: offsets[n - 1][1]]
        # cut between two characters of a word, or bytes of a character, its tokens may differ
        if start.strip() and _ends(tokenizer, start, ids[:n]):
            return _sample(start)
    raise ValueError(f"max_length = {limit} leaves no token of a text: {text[:40]!r}...")


def _ends(tokenizer: PreTrainedTokenizerFast, text: str, ids: list[int]) -> bool:
    """Whether a text has these tokens, and the last of them is of its last characters."""
    (aligned,) = align(tokenizer, [_sample(text)], [LAST])
    return aligned.ids == ids and aligned.tokens[0][-1] == len(ids) - 1


def _sample(text: str) -> Sample:
    return Sample(text, {LAST: (0, len(text))})
