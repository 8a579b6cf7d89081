"""The date study's texts, reduced to a few words, and activations with a figure planted in them."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from interp.positions import Sample
from studies.date_manifold.data import Dataset
from studies.date_manifold.scoring import Blocks, Layout, Settings, ideal
from studies.date_manifold.tasks import generate
from studies.date_manifold.templates import Task

ROWS = ("embedding", *(f"block {block}" for block in range(3)), "final norm")
SHOWN = 2
"""The row of `ROWS` into which figures are planted."""
SETTINGS = Settings(
    n_splits=3, n_permutations=40, n_orders=20, alpha=1.0, seed=42, jobs=1, depth=60.0
)
"""`depth` is that of `SHOWN`."""
RADIUS = 8.0
"""Of planted figures, beside noise of standard deviation 1."""


def few_words(task: Task, n: int, *, seed: int = 0, people: int = 1) -> Dataset:
    """A template's texts, of which five words are looked at; the first comes before the label."""
    data = generate(task, n, seed=seed, people=people)
    named = (data.words[0], data.source, data.distractor, "friends", data.destination)
    samples = [
        Sample(s.text, {word: span for word, span in s.spans.items() if word in named})
        for s in data.samples
    ]
    return dataclasses.replace(data, samples=samples, before=min(data.before, 1))


def layout(data: Dataset) -> Layout:
    """Rows and words of what `blocks` yields."""
    return Layout("planted", ROWS, data.words)


def directions(k: int, *, d: int = 24, seed: int = 1) -> np.ndarray:
    """k orthonormal rows [k, d]."""
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, k)))[0].T


def figure(data: Dataset, *, d: int = 24, seed: int = 1) -> np.ndarray:
    """The figure of the labels [n, d], in a plane of its own for each seed."""
    points = ideal(data)
    return RADIUS * points @ directions(points.shape[1], d=d, seed=seed)


def lookup_table(data: Dataset) -> np.ndarray:
    """A direction for each category [n, 24], and nothing of their order."""
    return RADIUS * data.one_hot() @ directions(len(data.categories))


def blocks(data: Dataset, planted: Mapping[str, np.ndarray], *, d: int = 24) -> Blocks:
    """Noise at every depth and word, the same at every call, with figures at words of one row."""
    rng = np.random.default_rng(0)
    for row, name in enumerate(ROWS):
        noise = rng.standard_normal((len(data.words), len(data.samples), d)).astype(np.float32)
        noise[0] = 1.0  # one word without any variance
        if row == SHOWN:
            for word, cell in planted.items():
                noise[data.words.index(word)] += cell
        yield name, noise


def shown(data: Dataset, planted: Mapping[str, np.ndarray], *, d: int = 24) -> np.ndarray:
    """The row of `blocks` that holds the figures, [word, n, d]."""
    return dict(blocks(data, planted, d=d))[ROWS[SHOWN]]
