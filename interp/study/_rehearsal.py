"""A study without a model: noise with the structure of residual streams, and a planted effect.

1. Five depths hold noise [sample, position, width] for the study's own texts. Three dimensions are
   massive and the others differ in size, as in real residual streams.
2. Into one depth a code of the labels is planted, at every position: a circle for labels that
   return, a direction for each class, a line for numbers. Each of its axes has `size` standard
   deviations of the noise along it.
3. Questions are asked of that as of a model. One that needs the model itself is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from interp.model import embed, final_norm, resid_post
from interp.run import Run
from interp.store import Activations
from interp.study._asked import Subject
from interp.texts import Texts

WIDTH = 64
"""Dimensions of the noise."""
BLOCKS = 3
"""Blocks between the embedding and the final norm."""
PLANTED = 2
"""The depth that holds the effect: the output of the middle block."""
MASSIVE = 3
"""Dimensions that are far larger than the others."""


class NeedsModel(RuntimeError):
    """A question that asks for the model, where there is none."""


@dataclass(eq=False, kw_only=True)
class Rehearsal(Subject):
    """Noise in a model's place, with an effect planted into it."""

    size: float
    """Of the effect, in standard deviations of the noise along each of its axes."""
    draw: int
    """Number of the noise."""

    @cached_property
    def model(self) -> Any:
        raise NeedsModel("this question needs a model")

    @cached_property
    def residuals(self) -> Activations:
        """Noise at all positions and depths, the effect at one depth."""
        rng = np.random.default_rng([self.config.seed, self.draw])
        hooks = (embed(), *(resid_post(block) for block in range(BLOCKS)), final_norm())
        n, positions = len(self.texts.samples), self.texts.positions
        tensors = {}
        for depth, hook in enumerate(hooks):
            rows = noise((n, len(positions)), rng)
            if depth == PLANTED:
                rows += self.size * planted(self.texts, rng)[:, None]
            tensors[hook] = torch.from_numpy(rows.astype(np.float32))
        return Activations(tensors, positions)

    @property
    def options(self) -> dict[str, Any]:
        """Those of a model, without bars inside of the bar of draws, and without a cache."""
        workers = replace(super().options["workers"], progress=False, cache=None)
        return super().options | {"workers": workers}

    def record(self, key: str, value: Any) -> None:
        """Nothing is recorded of a model that is none."""


def of_texts(config: Any, texts: Any, size: float, draw: int) -> Rehearsal:
    """Noise for a study's `Texts`, with their labels planted.

    Raises:
        ValueError: the study is about something else, whose effect it must plant itself.
    """
    if not isinstance(texts, Texts):
        raise ValueError(
            f"nothing is known of how to plant an effect into {type(texts).__name__}; give the "
            "study planted=, a function of options, texts, size and number of the draw"
        )
    # the run is never entered, so nothing is written
    return Rehearsal("noise", 1, config, texts, Run("noise", config), size=size, draw=draw)


def noise(shape: tuple[int, ...], rng: np.random.Generator) -> Float[np.ndarray, "*shape d"]:
    """Rows of noise whose dimensions differ in size, three of them by far."""
    scale = np.exp(rng.normal(scale=0.5, size=WIDTH))
    scale /= np.sqrt(np.mean(scale[MASSIVE:] ** 2))  # 1 along a random axis
    scale[:MASSIVE] = 30.0
    return rng.normal(size=(*shape, WIDTH)) * scale


def planted(texts: Any, rng: np.random.Generator) -> Float[np.ndarray, "n d"]:
    """The labels' code in a random subspace without massive dimensions; each axis has a standard
    deviation of 1."""
    code = np.stack(list(_axes(texts)), axis=1).astype(float)
    code = (code - code.mean(axis=0)) / code.std(axis=0)
    basis = np.linalg.qr(rng.normal(size=(WIDTH - MASSIVE, code.shape[1])))[0].T
    return np.pad(code @ basis, ((0, 0), (MASSIVE, 0)))


def _axes(texts: Any) -> Iterator[np.ndarray]:
    labels = np.asarray(texts.labels)
    if texts.period is not None:
        angle = 2 * np.pi * labels / texts.period
        yield from (np.cos(angle), np.sin(angle))
    elif labels.dtype.kind in "OUSb" or set(np.unique(labels)) <= {0, 1}:
        # the last class follows from the others
        yield from (labels == name for name in np.unique(labels)[:-1])
    else:
        yield labels
