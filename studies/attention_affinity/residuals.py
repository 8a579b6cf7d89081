"""Residual streams before each block, at single tokens of short neutral texts.

They show how ordinary text spreads, and give unrelated directions and principal components. Texts
stand in `texts.txt`, one a line, written for this purpose: nothing in them is about people's roles,
feelings or dates. The first token is left out: it sees only itself, many heads park their attention
there, and its norm is out of all proportion (Xiao et al. 2023, "attention sinks").
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from transformers import PreTrainedTokenizerFast

from interp.extract import Stores
from interp.model import load, resid_pre
from interp.positions import Sample
from interp.store import Store
from interp.weights import ModelWeights

PER_TEXT = 16
"""Tokens read in each text, evenly spaced."""
TEXTS = tuple(Path(__file__).with_name("texts.txt").read_text(encoding="utf-8").splitlines())
"""Short neutral texts."""


@dataclass(frozen=True)
class Residuals:
    """Residuals at single tokens before every block."""

    store: Store
    """Activations [text, token, d] under blocks.l.hook_resid_pre for every block l."""

    @classmethod
    def read(cls, directory: Path, *, device: str | None, stores: Stores) -> "Residuals":
        """Run the model once over the texts, into a store that a later run finds again."""
        model = load(directory, device=device)
        hooks = [resid_pre(block) for block in range(model.cfg.n_layers)]
        texts = samples(model.tokenizer)
        return cls(stores.extract("attention_affinity", model, texts, hooks=hooks))

    @classmethod
    def open(cls, path: str | Path, *, blocks: int, width: int) -> "Residuals":
        """Residuals of a store that `interp.extract` made. Raises ValueError for one that lacks a
        block's residuals or holds vectors of another width."""
        store = Store.open(path)
        for block in range(blocks):
            shape = store.plan.hooks.get(resid_pre(block))
            if shape is None:
                raise ValueError(
                    f"{path} holds no {resid_pre(block)!r}; the null of each block needs the "
                    f"residuals before it. There are {', '.join(store.hooks)}"
                )
            if tuple(shape) != (width,):
                raise ValueError(
                    f"{path} holds {list(shape)} under {resid_pre(block)}, not [{width}]"
                )
        return cls(store)

    def rows(self, block: int) -> Float[np.ndarray, "texts tokens d"]:
        """Residuals before a block."""
        return self.store.read(resid_pre(block)).astype(np.float64)


def needed(config: Any, base: ModelWeights) -> Residuals | None:
    """Residuals for the directions or the null; None where neither asks for them."""
    if config.residuals is not None:
        return Residuals.open(config.residuals, blocks=base.blocks, width=base.width)
    if config.vectors is not None and config.null != "covariance":
        return None
    return Residuals.read(base.directory, device=config.device, stores=Stores.of(config))


def samples(tokenizer: PreTrainedTokenizerFast) -> list[Sample]:
    """Each text with `PER_TEXT` of its tokens as named spans t0, t1, ...; never the first.

    Raises ValueError for a tokenizer that splits a text into too few tokens.
    """
    encoded = tokenizer(list(TEXTS), return_offsets_mapping=True)
    spanned = []
    for text, offsets in zip(TEXTS, encoded["offset_mapping"], strict=True):
        tokens = [(start, stop) for start, stop in offsets if text[start:stop].strip()][1:]
        if len(tokens) < PER_TEXT:
            raise ValueError(
                f"the tokenizer gives {len(tokens) + 1} tokens, fewer than {PER_TEXT + 1}, "
                f"for {text[:40]!r}"
            )
        chosen = np.linspace(0, len(tokens) - 1, PER_TEXT).round().astype(int)
        spanned.append(Sample(text, {f"t{n}": tokens[at] for n, at in enumerate(chosen)}))
    return spanned
