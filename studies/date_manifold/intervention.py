"""What interventions share: texts set apart in pairs, and a reader of edited runs.

Some texts are set apart. A map of the label is fitted at the destination on all others, at the
depth where the destination holds it best, and decodes what the destination holds when one of these
texts is run under an edit. `patching` puts other texts' activations in; `turning` adds vectors. A
word stands for its last token, as everywhere in the study, and unedited activations come from the
store.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from transformer_lens.model_bridge import TransformerBridge

from interp.batch import padded_batch
from interp.model import padding_id
from interp.positions import Aligned, align
from interp.smds import SupervisedMDS
from interp.store import Store
from studies.date_manifold.data import Dataset

FEWEST_PAIRS = 6
"""Pairs below which donors cannot be dealt anew in enough ways for a 5 % test."""

Edit = Callable[[slice], AbstractContextManager[None]]
"""Opens the intervention for these places of the texts that run."""


@dataclass(frozen=True)
class Pairs:
    """Texts set apart, and the others."""

    receivers: Int[np.ndarray, " pair"]
    """Texts that are edited; every one is of another group."""
    donors: Int[np.ndarray, " pair"]
    """Texts whose activations they get, of other groups again."""
    training: Int[np.ndarray, " text"]
    """Texts of all other groups."""


def draw_pairs(data: Dataset, n: int, *, seed: int) -> Pairs:
    """At most n pairs, of no more than half of the groups, so that the map has texts to learn."""
    names, first = np.unique(data.group, return_index=True)
    count = min(n, len(names) // 4)
    # a stream of its own: the study's other draws stay what they are without interventions
    drawn = np.random.default_rng([seed, 2]).permutation(first)[: 2 * count]
    training = np.flatnonzero(~np.isin(data.group, data.group[drawn]))
    return Pairs(drawn[:count], drawn[count:], training)


class Reader:
    """Runs texts up to one depth and decodes the label at the destination, as complex numbers: the
    angle is that of the label in its cycle, the length 1 where the map is sure."""

    def __init__(
        self,
        model: TransformerBridge,
        store: Store,
        data: Dataset,
        row: int,
        training: Int[np.ndarray, " text"],
        *,
        alpha: float | int,
        batch_size: int,
    ):
        self.model, self.store, self.row, self.batch_size = model, store, row, batch_size
        self.words = tuple(w for w in (data.source, data.destination, data.distractor) if w)
        self.samples, self.destination = data.samples, data.destination
        self.stored = self.activations(row, data.destination)
        self.map = SupervisedMDS(data.shape, alpha=alpha, period=data.period)
        self.map.fit(self.stored[training], data.label[training])

    def activations(self, row: int, word: str) -> Float[np.ndarray, "text d"]:
        """Unedited activations of one depth and word."""
        return self.store.read(self.store.hooks[row])[:, self.store.positions.index(word)]

    def decode(self, activations: Float[np.ndarray, "n d"]) -> Complex[np.ndarray, " n"]:
        """The map's predictions."""
        x, y = self.map.transform(activations).T
        return x + 1j * y

    def align(self, texts: Int[np.ndarray, " n"]) -> list[Aligned]:
        """Tokens of the texts, and of source, destination and distractor in them."""
        return align(self.model.tokenizer, [self.samples[t] for t in texts], self.words)

    def places(self, texts: Int[np.ndarray, " n"], word: str) -> Int[np.ndarray, "n 1"]:
        """Position of the word's last token in each text."""
        column = self.words.index(word)
        return np.array([[aligned.tokens[column][-1]] for aligned in self.align(texts)])

    def run(
        self, texts: Int[np.ndarray, " n"], edit: Edit = lambda _: nullcontext()
    ) -> Complex[np.ndarray, " n"]:
        """Decoded labels of the texts under an edit."""
        found = []
        for first in range(0, len(texts), self.batch_size):
            part = slice(first, first + self.batch_size)
            with edit(part):
                found.append(self._pass(texts[part]))
        return self.decode(np.concatenate(found))

    @torch.no_grad()
    def _pass(self, texts: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
        aligned, hook = self.align(texts), self.store.hooks[self.row]
        pad = padding_id(self.model)
        rules = ("last",) * len(self.words)
        batch = padded_batch(aligned, rules, pad=pad, device=str(self.model.cfg.device))
        _, cache = self.model.run_with_cache(
            batch.ids,
            names_filter=hook,
            stop_at_layer=self.row,  # row k is the stream that leaves block k - 1
            attention_mask=batch.mask,
            output_attentions=False,
            use_cache=False,
        )
        rows = torch.arange(len(texts), device=batch.ids.device)
        column = self.words.index(self.destination)
        return cache[hook][rows, batch.index[:, column, 0]].float().cpu().numpy()


def angles(data: Dataset, texts: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Labels as angles in radians."""
    assert data.period is not None
    return 2 * np.pi * data.label[texts] / data.period


def readable(reader: Reader, data: Dataset, pairs: Pairs) -> float:
    """R2 of the map on the texts set apart, unedited: where it is not above 0, there is nothing
    that an edit could move."""
    texts = np.concatenate([pairs.receivers, pairs.donors])
    truth = np.exp(1j * angles(data, texts))
    error = np.square(np.abs(reader.decode(reader.stored[texts]) - truth)).sum()
    return float(1 - error / np.square(np.abs(truth - truth.mean())).sum())


def question(data: Dataset) -> str:
    """What interventions are asked."""
    return f"Does {data.destination} take its {data.quantity} from {data.source}?"
