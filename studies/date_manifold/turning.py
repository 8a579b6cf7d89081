"""Experiment 6: does turning the label in its plane turn what the destination holds?

The pattern of the label at the source (how activations move with the cosine and sine of its angle;
Haufe et al. 2014), fitted on other texts, gives the vector that turns the label by some angle: it
is added, the model runs on, and the label is decoded at the destination. Held against it are random
planes, and planes fitted to labels dealt to other texts, which lie where activations do; both are
stretched to the same size.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from einops import einsum, rearrange
from jaxtyping import Complex, Float, Int

from interp.claims import Claim, description
from interp.intervene import steer
from interp.report import Section, Table
from interp.smds import pattern_coefficients
from interp.stats import jackknife_half_width, p_among, permute_groups
from studies.date_manifold.data import Dataset
from studies.date_manifold.intervention import Pairs, Reader, angles, question
from studies.date_manifold.scoring import Layout, Part

DOSES = (-90, -45, 45, 90)
"""Degrees by which the label is turned."""

PLANES = 40
"""Random planes; of dealt labels there are half as many, enough for a 5 % test."""

TURNED, TURNED_BY_OTHERS = 16, 4
"""Receivers that are turned in the label's own plane, and in each of the other planes: these are
many, and each costs two runs of every receiver."""


@dataclass(frozen=True)
class Turning:
    """Receivers whose label was turned, and what was decoded at the destination."""

    row: int
    """Depth at which vectors were added."""
    words: tuple[str, ...]
    """Words at which they were added: the source, then the destination."""
    turned: Complex[np.ndarray, "word dose receiver"]
    """Decoded after the label's own plane was turned by each of `DOSES`."""
    plain: Complex[np.ndarray, " receiver"]
    """Decoded in the unedited run."""
    others: dict[str, Float[np.ndarray, " plane"]]
    """Degrees per degree that other planes turn at the source, by kind."""
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
        return per_degree(self.degrees(receivers), DOSES)


def turn(
    edited: Complex[np.ndarray, "*cells n"], plain: Complex[np.ndarray, " n"]
) -> Float[np.ndarray, "*cells"]:
    """Mean angle in degrees from plain to edited points, each pair weighted by its lengths."""
    return np.degrees(np.angle((edited * plain.conj()).sum(axis=-1)))


def per_degree(
    degrees: Float[np.ndarray, "*cells dose"], doses: Sequence[int]
) -> Float[np.ndarray, "*cells"]:
    """Slope through the origin of turns over doses."""
    return degrees @ np.array(doses, dtype=float) / np.square(doses).sum()


def pattern(
    activations: Float[np.ndarray, "n d"], angle: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "2 d"]:
    """How activations move with cosine and sine of the label, by least squares."""
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


def turn_words(
    reader: Reader, data: Dataset, pairs: Pairs, row: int, *, planes: int, seed: int
) -> Turning:
    """Turn the label at the source and at the destination, and the source in random planes and half
    as many of dealt labels."""
    words, texts = (data.source, data.destination), pairs.training
    angle = angles(data, texts)
    at = {word: reader.activations(row, word)[texts].astype(np.float64) for word in words}
    own = {word: pattern(at[word], angle)[None] for word in words}
    receivers = pairs.receivers[:TURNED]
    few, ends = receivers[:TURNED_BY_OTHERS], (DOSES[0], DOSES[-1])
    turned = [_steered(reader, data, row, word, own[word], receivers, DOSES)[0] for word in words]
    plain = reader.run(receivers)

    def slopes(others: Iterable[np.ndarray]) -> np.ndarray:
        same_size = np.array([stretched(plane, own[data.source][0]) for plane in others])
        edited = _steered(reader, data, row, data.source, same_size, few, ends)
        return per_degree(turn(edited, plain[: len(few)]), ends)

    rng = np.random.default_rng([seed, 3])
    random = rng.standard_normal((planes, *own[data.source].shape[1:]))
    dealt = permute_groups(angle, data.group[texts], planes // 2, rng)
    return Turning(
        row=row,
        words=words,
        turned=np.array(turned),
        plain=plain,
        others={
            "random planes": slopes(random),
            "planes of dealt labels": slopes(pattern(at[data.source], labels) for labels in dealt),
        },
        beside=float(slopes(own[data.source])[0]),
    )


def _steered(
    reader: Reader,
    data: Dataset,
    row: int,
    word: str,
    planes: Float[np.ndarray, "plane 2 d"],
    texts: Int[np.ndarray, " text"],
    doses: Sequence[int],
) -> Complex[np.ndarray, "plane dose text"]:
    """Decoded labels after each plane is turned by each dose at a word of the texts."""
    angle = angles(data, texts)
    step = np.exp(1j * (angle + np.radians(doses)[:, None])) - np.exp(1j * angle)
    axes = "dose text wave, plane wave d -> plane dose text d"
    vectors = einsum(np.stack([np.real(step), np.imag(step)], axis=-1), planes, axes)
    added = rearrange(vectors, "plane dose text d -> (plane dose text) d").astype(np.float32)
    every = np.tile(texts, len(planes) * len(doses))
    hook, places = reader.store.hooks[row], reader.places(every, word)
    found = reader.run(
        every, lambda rows: steer(reader.model, {hook: added[rows]}, positions=places[rows])
    )
    return found.reshape(len(planes), len(doses), len(texts))


def statement(data: Dataset) -> str:
    """What turning is to show."""
    return (
        f"How far turning {data.source} in its plane turns the {data.quantity} decoded at "
        f"{data.destination}."
    )


def investigate(
    found: Turning, r2: float, layout: Layout, read_row: int, data: Dataset
) -> tuple[Part, str]:
    """What turning establishes for a destination read at `read_row`, and its outcome in words."""
    random = DOSES[-1] * found.others["random planes"]
    outcome = (
        f"turning {data.source} by {DOSES[-1]} degrees in its plane at {layout.rows[found.row]} "
        f"turns it by {found.degrees()[0, -1]:.0f} (random planes by {random.mean():.0f} +- "
        f"{random.std():.0f})"
    )
    table = _table(found, layout)
    caption = (
        f"Vectors added to {len(found.plain)} texts at {layout.rows[found.row]}; the "
        f"{data.quantity} decoded at {data.destination}, {layout.rows[read_row]}, by a map fitted "
        f"on other texts; intervals over texts. Of other planes mean and sd, over "
        f"{TURNED_BY_OTHERS} texts."
    )
    section = Section(f"{layout.model}: turning the {data.quantity}", [Table(table, caption)])
    part = Part(
        [_claim(found, r2, layout, read_row, data, outcome)],
        [section],
        {f"degrees turned per degree at {data.source}": found.slope()[0]},
        {"turning": table.assign(model=layout.model)},
    )
    return part, outcome


def _claim(
    found: Turning,
    r2: float,
    layout: Layout,
    read_row: int,
    data: Dataset,
    outcome: str,
) -> Claim:
    there, slope = r2 > 0, found.slope()
    p = {kind: p_among(found.beside, slopes) for kind, slopes in found.others.items()}
    held = ", ".join(
        f"{len(slopes)} {kind} {slopes.mean():.3f} (sd {slopes.std():.3f}), p {p[kind]:.3f}"
        for kind, slopes in found.others.items()
    )
    return description(
        question(data),
        statement(data),
        subject=layout.model,
        estimate=slope[0] if there else None,
        unit=f"degrees per degree, added at {layout.rows[found.row]}, as a decoder reads it at "
        f"{layout.rows[read_row]}",
        null=f"other planes of the same size: {held}",
        exchange=f"plane ({sum(map(len, found.others.values()))} others)",
        needs="" if there else "a map that reads unedited texts (R2 above 0)",
        controls={
            f"the own plane over the same {TURNED_BY_OTHERS} texts": found.beside,
            f"the pattern of {data.destination} added at {data.destination}": slope[1],
        },
        causal_test=outcome,
    )


def _table(found: Turning, layout: Layout) -> pd.DataFrame:
    n, degrees = len(found.plain), found.degrees()
    without = [found.degrees(np.delete(np.arange(n), receiver)) for receiver in range(n)]
    half = jackknife_half_width(np.array(without))
    low, high = degrees - half, degrees + half
    rows: list[dict[str, object]] = [
        {
            "added at": f"{word}, {layout.rows[found.row]}",
            "plane": "its own",
            "turned by (degrees)": dose,
            "decoded (degrees)": degrees[number, column],
            "low": low[number, column],
            "high": high[number, column],
        }
        for number, word in enumerate(found.words)
        for column, dose in enumerate(DOSES)
    ]
    rows += [
        {
            "added at": f"{found.words[0]}, {layout.rows[found.row]}",
            "plane": kind,
            "turned by (degrees)": DOSES[-1],
            "decoded (degrees)": DOSES[-1] * slopes.mean(),
            "sd": DOSES[-1] * slopes.std(),
        }
        for kind, slopes in found.others.items()
    ]
    return pd.DataFrame(rows)
