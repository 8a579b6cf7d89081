"""What interventions share: texts set apart in pairs, and a reader of edited runs.

Some texts are set apart. A map of the label is fitted at the destination on all others, at the
depth where the destination holds it best, and decodes what the destination holds when one of these
texts is run under an edit. `patching` puts other texts' activations in; `turning` adds vectors. A
word stands for its last token, as everywhere in the study, and unedited activations come from the
store.
"""

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float, Int
from transformer_lens.model_bridge import TransformerBridge

from interp.extract import BatchEdit, extract
from interp.positions import align
from interp.smds import SupervisedMDS
from interp.stats import r_squared
from interp.store import Store
from studies.date_manifold.data import Dataset

FEWEST_PAIRS = 6
"""Pairs below which donors cannot be dealt anew in enough ways for a 5 % test."""


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

    def places(self, texts: Int[np.ndarray, " n"], word: str) -> Int[np.ndarray, "n 1"]:
        """Position of the word's last token in each text."""
        aligned = align(self.model.tokenizer, [self.samples[t] for t in texts], [word])
        return np.array([[sample.tokens[0][-1]] for sample in aligned])

    def run(
        self, texts: Int[np.ndarray, " n"], edit: BatchEdit = lambda _: nullcontext()
    ) -> Complex[np.ndarray, " n"]:
        """Decoded labels of the texts under an edit."""
        hook = self.store.hooks[self.row]
        activations = extract(
            self.model,
            [self.samples[t] for t in texts],
            hooks=hook,
            positions=self.destination,
            batch_size=self.batch_size,
            edit=edit,
            progress=False,
        )
        return self.decode(activations.read(hook)[:, 0])


def angles(data: Dataset, texts: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Labels as angles in radians."""
    assert data.period is not None
    return 2 * np.pi * data.label[texts] / data.period


def readable(reader: Reader, data: Dataset, pairs: Pairs) -> float:
    """R2 of the map on the texts set apart, unedited: where it is not above 0, there is nothing
    that an edit could move."""
    texts = np.concatenate([pairs.receivers, pairs.donors])
    truth = np.exp(1j * angles(data, texts))
    decoded = reader.decode(reader.stored[texts])
    return float(r_squared(truth[:, None], decoded[:, None]))


def question(data: Dataset) -> str:
    """What interventions are asked."""
    return f"Does {data.destination} take its {data.quantity} from {data.source}?"
