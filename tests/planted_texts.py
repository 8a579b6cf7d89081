"""The date study's texts, reduced to a few words, and activations with a figure planted in them."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from interp.positions import Sample
from interp.run import Run
from interp.study import Subject
from studies.date_manifold.__main__ import Config
from studies.date_manifold.data import Dataset, generate

ROWS = ("embedding", *(f"block {block}" for block in range(3)), "final norm")
SHOWN = 2
"""The row of `ROWS` into which figures are planted."""
CONFIG = Config(permutations=40, interventions=0, jobs=1, depth=60.0)
"""`depth` is that of `SHOWN`."""
RADIUS = 8.0
"""Of planted figures, beside noise of standard deviation 1."""


def few_words(task: str, n: int, *, seed: int = 0, people: int = 1) -> Dataset:
    """A template's texts, of which five words are looked at; the first comes before the label."""
    data = generate(task, n, seed=seed, people=people)
    named = (data.positions[0], data.source, data.distractor, "friends", data.destination)
    samples = [
        Sample(s.text, {word: span for word, span in s.spans.items() if word in named})
        for s in data.samples
    ]
    return dataclasses.replace(data, samples=samples, before=min(data.before, 1))


def directions(k: int, *, d: int = 24, seed: int = 1) -> np.ndarray:
    """k orthonormal rows [k, d]."""
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, k)))[0].T


def figure(data: Dataset, *, d: int = 24, seed: int = 1) -> np.ndarray:
    """The figure of the labels [n, d], in a plane of its own for each seed."""
    points = data.ideal()
    return RADIUS * points @ directions(points.shape[1], d=d, seed=seed)


def lookup_table(data: Dataset) -> np.ndarray:
    """A direction for each category [n, 24], and nothing of their order."""
    return RADIUS * data.one_hot() @ directions(len(data.categories))


class Planted(Subject):
    """Noise at every depth and word, the same at every call, with figures at words of one row."""

    def __init__(
        self,
        data: Dataset,
        planted: Mapping[str, np.ndarray],
        *,
        d: int = 24,
        config: Config = CONFIG,
        answers: Mapping | None = None,
    ):
        # number 2, as the first subject records what folds are made of in a run, and here is none
        run = Run.__new__(Run)
        super().__init__("planted", 2, config, data, run, dict(answers or {}))
        self.planted, self.d = planted, d

    @property
    def depths(self) -> tuple[str, ...]:
        return ROWS

    @property
    def options(self) -> dict:
        options = super().options
        return options | {"workers": dataclasses.replace(options["workers"], cache=None)}

    def activations(self) -> Iterator[tuple[str, np.ndarray]]:
        rng, data = np.random.default_rng(0), self.texts
        for row, name in enumerate(ROWS):
            shape = (len(data.positions), len(data.samples), self.d)
            noise = rng.standard_normal(shape).astype(np.float32)
            noise[0] = 1.0  # one word without any variance
            if row == SHOWN:
                for word, cell in self.planted.items():
                    noise[data.positions.index(word)] += cell
            yield name, noise

    def cells(self, position: str, *, between=(0, 100)) -> list[tuple[str, np.ndarray]]:
        assert between == (0, 100)
        column = self.texts.positions.index(position)
        return [(name, activations[column]) for name, activations in self.activations()]

    def activations_at(self, row: int) -> np.ndarray:
        return dict(self.activations())[ROWS[row]]
