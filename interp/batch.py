"""Right-padded batches of aligned samples, and where to read in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from interp.positions import Aligned, Rule


@dataclass(frozen=True)
class Batch:
    """Right-padded texts and where to read in them."""

    ids: Int[torch.Tensor, "batch token"]
    """Token ids."""
    mask: Int[torch.Tensor, "batch token"]
    """1 at text, 0 at padding."""
    index: Int[torch.Tensor, "batch position choice"]
    """Tokens to read for each position; more than one where a rule takes the mean."""
    weight: Float[torch.Tensor, "batch position choice"]
    """Weights of those tokens, summing to one."""


def padded_batch(
    aligned: Sequence[Aligned], rules: Sequence[Rule], *, pad: int, device: str | torch.device
) -> Batch:
    """Right-pad token ids, and turn spans' tokens into indices and weights by the rules.

    Padding goes to the right because position numbers then need no correction: HuggingFace's
    GPT-2 is wrong under left padding unless it is given them.
    """
    width = max(len(a.ids) for a in aligned)
    ids = torch.full((len(aligned), width), pad)
    mask = torch.zeros_like(ids)
    choices = [[_choice(r, rule) for r, rule in zip(a.tokens, rules, strict=True)] for a in aligned]
    n_choices = max(len(c) for row in choices for c in row)
    index = torch.zeros((len(aligned), len(rules), n_choices), dtype=torch.long)
    weight = torch.zeros(index.shape)
    for row, a in enumerate(aligned):
        ids[row, : len(a.ids)] = torch.tensor(a.ids)
        mask[row, : len(a.ids)] = 1
        for position, tokens in enumerate(choices[row]):
            index[row, position, : len(tokens)] = torch.from_numpy(tokens)
            weight[row, position, : len(tokens)] = 1 / len(tokens)
    return Batch(*(t.to(device) for t in (ids, mask, index, weight)))


def _choice(tokens: Int[np.ndarray, " _"], rule: Rule) -> Int[np.ndarray, " _"]:
    """Those of a span's tokens that a rule reads."""
    return {"last": tokens[-1:], "first": tokens[:1], "mean": tokens}[rule]
