"""Residual streams before each block: how ordinary text spreads, and unrelated directions from it.

1. Residuals are read at single tokens before every block, from the study's own texts or from a
   store that the user names. Block l is held to residuals before block l.
2. What is asked of a head are directions (components, contrasts), which have no mean of their own;
   so what they are held against are deviations of residuals from their mean, taken with both signs.
3. Texts are split in two. One half gives the null its covariance, the other gives unrelated
   directions, which the null has not seen: they show whether it holds.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from interp.extract import Stores
from interp.model import load, resid_pre
from interp.store import Store
from studies.attention_affinity.data import samples

UNRELATED = 96
"""Unrelated directions that go through every head beside the named ones."""
SETS = 200
"""Sets of as many unrelated directions as there are named ones; no p value falls below 1 / 201."""


@dataclass(frozen=True)
class Residuals:
    """Residuals at single tokens before every block."""

    store: Store
    """Activations [text, token, d] under blocks.l.hook_resid_pre for every block l."""

    def rows(self, block: int) -> Float[np.ndarray, "texts tokens d"]:
        """Residuals before a block."""
        return self.store.read(resid_pre(block)).astype(np.float64)

    @cached_property
    def split(self) -> tuple[Int[np.ndarray, " fitted"], Int[np.ndarray, " held"]]:
        """Texts that the null is fitted on, and texts held out from it."""
        texts = np.arange(self.store.plan.n_samples)
        return texts[::2], texts[1::2]

    def deviations(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """Deviations from the fitted texts' mean: of fitted texts with both signs [rows, d], so
        that their mean is exactly 0, and of held-out texts [text, token, d]."""
        rows = self.rows(block)
        fitted, held = (rows[texts] for texts in self.split)
        mean = fitted.mean(axis=(0, 1))
        ordinary = (fitted - mean).reshape(-1, rows.shape[-1])
        return np.concatenate([ordinary, -ordinary]), held - mean


@dataclass(frozen=True)
class Unrelated:
    """Which unrelated directions are drawn, and how they are dealt into sets; the same for every
    block, so that a set is one set of directions throughout the model."""

    text: Int[np.ndarray, " m"]
    """Text of each, counted among those held out; a number of its own where none is from a text."""
    token: Int[np.ndarray, " m"]
    """Its token."""
    sets: Int[np.ndarray, "sets n"]
    """Members of each set, from different texts."""
    seed: int
    """Of isotropic directions."""

    @classmethod
    def draw(cls, n: int, residuals: Residuals | None, *, seed: int) -> "Unrelated":
        """Unrelated directions to go with n named ones. Raises ValueError where the store holds
        too few texts."""
        rng = np.random.default_rng(seed)
        if residuals is None:
            text, token = np.arange(UNRELATED), np.zeros(UNRELATED, dtype=int)
        else:
            texts, tokens = len(residuals.split[1]), len(residuals.store.positions)
            if texts < max(n, 2):
                raise ValueError(
                    f"the store holds {residuals.store.plan.n_samples} texts; {n} directions need "
                    f"at least {2 * max(n, 2)}, half of them for the null"
                )
            each = min(tokens, max(1, UNRELATED // texts))
            text = np.repeat(np.arange(texts), each)
            token = np.concatenate([rng.permutation(tokens)[:each] for _ in range(texts)])
        names = np.unique(text)
        sets = np.stack(
            [
                [rng.choice(np.flatnonzero(text == at)) for at in rng.permutation(names)[:n]]
                for _ in range(SETS)
            ]
        )
        return cls(text, token, sets, seed)

    def vectors(self, held: np.ndarray | None, width: int) -> np.ndarray:
        """The directions [m, d]: of the held-out texts, or isotropic ones."""
        if held is not None:
            return held[self.text, self.token]
        # isotropic directions are the same before every block, as the named ones are
        return np.random.default_rng(self.seed + 1).standard_normal((len(self.text), width))


def extracted(directory: Path, *, device: str | None, stores: Stores) -> Residuals:
    """Run the model once over the study's texts, into a store that a later run finds again."""
    model = load(directory, device=device)
    hooks = [resid_pre(block) for block in range(model.cfg.n_layers)]
    texts = samples(model.tokenizer)
    return Residuals(stores.extract("attention_affinity", model, texts, hooks=hooks))


def opened(path: str | Path, *, blocks: int, width: int) -> Residuals:
    """Residuals of a store that `interp.extract` made. Raises ValueError for one that lacks a
    block's residuals or holds vectors of another width."""
    store = Store.open(path)
    for block in range(blocks):
        shape = store.plan.hooks.get(resid_pre(block))
        if shape is None:
            raise ValueError(
                f"{path} holds no {resid_pre(block)!r}; the null of each block needs the residuals "
                f"before it. There are {', '.join(store.hooks)}"
            )
        if tuple(shape) != (width,):
            raise ValueError(f"{path} holds {list(shape)} under {resid_pre(block)}, not [{width}]")
    return Residuals(store)


def tensor(rows: np.ndarray) -> torch.Tensor:
    """float64, as the affinities compute."""
    return torch.from_numpy(np.ascontiguousarray(rows)).double()
