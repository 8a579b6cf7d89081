"""How far turning a cyclic label in its plane turns what is decoded elsewhere, and other planes.

1. The pattern of a label says how activations move with the cosine and sine of its angle (Haufe et
   al. 2014). Its two rows span the plane in which the label can be turned.
2. `turning_vectors` are what turning by some angles adds to activations.
3. The decoded label's turn is a mean angle, and its slope the degrees that it turns per degree.
4. Held against it are planes of the same size: random ones, and patterns of dealt labels, which lie
   where activations do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from einops import einsum
from jaxtyping import Complex, Float, Int

from interp.smds._similarity import pattern_coefficients
from interp.stats import jackknife_half_width, p_among


def cyclic_pattern(
    activations: Float[np.ndarray, "n d"], angle: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "2 d"]:
    """How activations move with cosine and sine of a label's angle, by least squares."""
    waves = np.column_stack([np.cos(angle), np.sin(angle)])
    centred = activations - activations.mean(axis=0)
    return pattern_coefficients(waves, np.ones(len(waves))) @ centred


def stretched(
    plane: Float[np.ndarray, "2 d"], like: Float[np.ndarray, "2 d"]
) -> Float[np.ndarray, "2 d"]:
    """A pattern in the row space of `plane` that is as long and as round as `like`."""
    left, lengths, _ = np.linalg.svd(like, full_matrices=False)
    _, _, right = np.linalg.svd(plane, full_matrices=False)
    return left * lengths @ right


def turning_vectors(
    planes: Float[np.ndarray, "plane 2 d"],
    angle: Float[np.ndarray, " text"],
    doses: Sequence[int],
) -> Float[np.ndarray, "plane dose text d"]:
    """What turning each text's label by each dose, in degrees, adds in each plane."""
    step = np.exp(1j * (angle + np.radians(doses)[:, None])) - np.exp(1j * angle)
    axes = "dose text wave, plane wave d -> plane dose text d"
    return einsum(np.stack([np.real(step), np.imag(step)], axis=-1), planes, axes)


def turn(
    edited: Complex[np.ndarray, "*cells n"], plain: Complex[np.ndarray, " n"]
) -> Float[np.ndarray, "*cells"]:
    """Mean angle in degrees from plain to edited points, each pair weighted by its lengths."""
    return np.asarray(np.degrees(np.angle((edited * plain.conj()).sum(axis=-1))))


def per_degree(
    degrees: Float[np.ndarray, "*cells dose"], doses: Sequence[int]
) -> Float[np.ndarray, "*cells"]:
    """Slope through the origin of turns over doses."""
    return np.asarray(degrees @ np.array(doses, dtype=float) / np.square(doses).sum())


@dataclass(frozen=True)
class Turning:
    """Receivers of which the label was turned at some words, and what was decoded elsewhere."""

    row: int
    """Depth at which vectors were added, by number; the embedding is 0."""
    words: tuple[str, ...]
    """Words at which they were added; other planes were turned at the first."""
    doses: tuple[int, ...]
    """Degrees by which the label was turned."""
    turned: Complex[np.ndarray, "word dose receiver"]
    """Decoded after the label's own plane was turned."""
    plain: Complex[np.ndarray, " receiver"]
    """Decoded in the unedited run."""
    others: Mapping[str, Float[np.ndarray, " plane"]]
    """Degrees per degree that other planes turn at the first word, by kind."""
    beside: float
    """The same of the label's own plane, over the receivers and doses of the others."""

    def degrees(
        self, receivers: Int[np.ndarray, " _"] | None = None
    ) -> Float[np.ndarray, "word dose"]:
        """Turn of the decoded label under every dose, over these receivers."""
        chosen = np.arange(len(self.plain)) if receivers is None else receivers
        return turn(self.turned[..., chosen], self.plain[chosen])

    def slope(self, receivers: Int[np.ndarray, " _"] | None = None) -> Float[np.ndarray, " word"]:
        """Degrees that the decoded label turns per degree of the plane."""
        return per_degree(self.degrees(receivers), self.doses)

    def p(self, kind: str) -> float:
        """p of the label's own plane among the other planes of a kind, one-sided."""
        return p_among(self.beside, self.others[kind])

    def table(self, depths: Sequence[str]) -> pd.DataFrame:
        """Rows of the own plane, with jackknife intervals over receivers, then of other planes, by
        mean and sd under the largest dose; `depths` names all depths of the model."""
        n, degrees, largest = len(self.plain), self.degrees(), self.doses[-1]
        without = [self.degrees(np.delete(np.arange(n), receiver)) for receiver in range(n)]
        half = jackknife_half_width(np.array(without))
        low, high = degrees - half, degrees + half
        rows: list[dict[str, object]] = [
            {
                "added at": f"{word}, {depths[self.row]}",
                "plane": "its own",
                "turned by (degrees)": dose,
                "decoded (degrees)": degrees[number, column],
                "low": low[number, column],
                "high": high[number, column],
            }
            for number, word in enumerate(self.words)
            for column, dose in enumerate(self.doses)
        ]
        rows += [
            {
                "added at": f"{self.words[0]}, {depths[self.row]}",
                "plane": kind,
                "turned by (degrees)": largest,
                "decoded (degrees)": largest * slopes.mean(),
                "sd": largest * slopes.std(),
            }
            for kind, slopes in self.others.items()
        ]
        return pd.DataFrame(rows)
