"""What do the blocks add to the raw embeddings, and do the main axes set the languages apart?"""

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp import alignment, study
from interp.claims import Claim, description
from interp.numerals import runs
from interp.pairs import Pairs
from interp.plots import depth_lines, scatter
from interp.report import Figure, Section, Table
from interp.study import Subject
from studies.embedding_alignment.tokens import sites, stream

BLOCKS = "What do the blocks add?"
AXIS = "Are the languages apart?"


def added_by_blocks(subject: Subject, _pairs: Pairs) -> study.Part:
    """What do the blocks add to the raw embedding's alignment?"""
    grids = subject.ask(sites)
    z, gain = grids.stream.curve("mean"), grids.stream.gains("mean")
    above, below = runs(grids.depths, gain.above), runs(grids.depths, gain.below)
    body = [_gains(subject), _halves(subject), _landmarks(subject), _cosines(subject)]
    return study.Part(
        claims=[_best_block(subject), _first_block(subject)],
        sections=[Section(f"{subject.name}: what each block adds", body)],
        row={
            "block 0": z[1],
            "best block": f"{z[grids.best]:.4g} ({grids.depths[grids.best]})",
            "last block": z[-2],
            "last block, last token": grids.stream.curve("last")[-2],
            "blocks above the embedding": above,
            "blocks below it": below,
        },
        words=[
            f"Above the embedding's level lie: {above}; below it: {below} (95 % limits over pairs, "
            "at all depths at once)."
        ],
    )


def _best_block(subject: Subject) -> Claim:
    grids = subject.ask(sites)
    gain, rest = (grids.stream.gains(pooling) for pooling in ("mean", "rest"))
    inner = slice(1, -1)
    known = np.isfinite(gain.low[inner]).any()
    best = 1 + int(np.nanargmax(gain.difference[inner])) if known else 1
    return description(
        BLOCKS,
        "How much better the best block holds pairs than the raw embedding does (mean over "
        "tokens).",
        estimate=gain.difference[best] if known else None,
        unit=f"z within categories above the embedding's, at {grids.depths[best]}",
        interval=(gain.low[best], gain.high[best]) if known else None,
        null="no difference; limits hold at all depths at once",
        controls={
            "above the embedding": runs(grids.depths, gain.above),
            "below it": runs(grids.depths, gain.below),
            "without each text's first token, above it": runs(grids.depths, rest.above),
            "embedding": grids.stream.curve("mean")[0],
            "last block": grids.stream.curve("mean")[-2],
        },
        selection=f"the best of {grids.n_layers} blocks: limits hold at all of them at once",
    )


def _first_block(subject: Subject) -> Claim:
    grids = subject.ask(sites)
    step = grids.stream.increments("mean")
    known = bool(np.isfinite(step.low[0]))
    largest = grids.depths[1 + int(np.nanargmax(step.difference[:-1]))] if known else ""
    norms = [grids.stream.cell(depth, "mean").norms for depth in (0, 1)]
    return description(
        BLOCKS,
        "What the first block adds (mean over tokens).",
        estimate=step.difference[0] if known else None,
        unit="z within categories added by block 0",
        interval=(step.low[0], step.high[0]) if known else None,
        null="no change; limits hold for all blocks at once",
        controls={
            "largest increment": largest,
            "norm after block 0 over norm before": float(np.mean(norms[1]) / np.mean(norms[0])),
            "z of what its attention adds": grids.attention.cell(0, "mean").stratified.z,
            "z of what its MLP adds": grids.mlp.cell(0, "mean").stratified.z,
        },
    )


def _gains(subject: Subject) -> Figure:
    grids = subject.ask(sites)
    gain, rest = (grids.stream.gains(pooling) for pooling in ("mean", "rest"))
    step = grids.stream.increments("mean")
    added, low, high = (
        np.concatenate([[np.nan], limits]) for limits in (step.difference, step.low, step.high)
    )
    return Figure(
        depth_lines(
            {
                "mean, above the embedding": gain.difference,
                "mean, added by the block": added,
                "rest, above the embedding": rest.difference,
            },
            grids.depths,
            title="What blocks add to the raw embedding's alignment, within categories",
            y_title="difference of z",
            bands={
                "mean, above the embedding": (gain.low, gain.high),
                "rest, above the embedding": (rest.low, rest.high),
                "mean, added by the block": (low, high),
            },
            references={"the embedding's own level": 0},
        ),
        "Bands hold at all depths at once (95 %, resampled pairs). Surely above the embedding: "
        f"{runs(grids.depths, gain.above)}; surely below: {runs(grids.depths, gain.below)}. "
        "Without each text's first token, above: "
        f"{runs(grids.depths, rest.above)}; below: {runs(grids.depths, rest.below)}.",
    )


def _halves(subject: Subject) -> Figure:
    grids = subject.ask(sites)
    return Figure(
        depth_lines(
            {
                f"{half}, {pooling}": grid.curve(pooling)
                for pooling in ("mean", "unshared")
                for half, grid in (("attention", grids.attention), ("MLP", grids.mlp))
            },
            grids.depths[1:-1],
            title="Pairs in what attention and MLP add to the stream",
            y_title="z within categories",
            references={"chance": 0},
        ),
        "The same test on each half of a block alone, before it joins the stream.",
    )


def _landmarks(subject: Subject) -> Table:
    """The raw embedding, the first block, the best and the last, in numbers."""
    grids, last = subject.ask(sites), subject.ask(sites).n_layers
    rows = []
    for depth in dict.fromkeys((0, 1, grids.best, last, last + 1)):
        for pooling in ("last", "mean", "unshared"):
            cell = grids.stream.cell(depth, pooling)
            low, high = cell.interval
            rows.append(
                {
                    "depth": grids.depths[depth],
                    "pooling": pooling,
                    "z, all": cell.plain.z,
                    "within": cell.stratified.z,
                    "95 %": "–" if np.isnan(low) else f"{low:.1f} to {high:.1f}",
                    "centred": cell.centred.z,
                    "cosine": cell.stratified.matched,
                    "scrambled": cell.stratified.expected,
                    "norms": " / ".join(f"{norm:.3g}" for norm in cell.norms),
                }
            )
    return Table(
        pd.DataFrame(rows),
        "The raw embedding, the first block, the block where pairs stand out most (mean pooling), "
        "and the last. z with pairs scrambled among all and within categories, then within them "
        "without each language's mean; cosine of pairs and of scrambled pairs; mean norm in the "
        "first and in the second language.",
    )


def _cosines(subject: Subject) -> Figure:
    grids = subject.ask(sites)
    return Figure(
        depth_lines(
            {
                "pairs": grids.stream.curve("mean", value="matched"),
                "scrambled within categories": grids.stream.curve("mean", value="expected"),
                "scrambled among all": grids.stream.curve("mean", "plain", "expected"),
                "pairs, language means removed": grids.stream.curve("mean", "centred", "matched"),
            },
            grids.depths,
            title="Cosine of pairs and of scrambled pairs (mean pooling)",
            y_title="cosine",
        ),
        "A cosine near 1 says little where scrambled pairs have it too: all texts share a "
        "direction. What counts is the gap, in units of its scatter (z).",
    )


def components(subject: Subject, pairs: Pairs) -> tuple[alignment.Components, ...]:
    """Principal components of the mean pooling, by depth."""
    own = np.arange(len(pairs))
    rows = (by_pooling["mean"] for by_pooling in stream(subject, pairs))
    return tuple(alignment.principal_components(A, B, pairs.category, groups=own) for A, B in rows)


def main_axes(subject: Subject, pairs: Pairs) -> study.Part:
    """How far do the main axes set the languages apart, and do pairs agree inside them?"""
    body = [*_pictures(subject, pairs), _separation(subject), _axes(subject)]
    return study.Part(
        claims=[_apart(subject, pairs)],
        sections=[Section(f"{subject.name}: main axes", body)],
    )


def _separations(subject: Subject) -> Float[np.ndarray, " depths"]:
    """|Cohen's d| between the languages along the largest component, by depth."""
    return np.array([abs(axes.separation[0]) for axes in subject.ask(components)])


def _apart(subject: Subject, pairs: Pairs) -> Claim:
    grids, d = subject.ask(sites), _separations(subject)
    # Languages exchanged in random pairs: d is then a mean of n signs, in pooled deviations of 1.
    chance = 1.96 * np.sqrt(2 / len(pairs))
    least, most = int(np.nanargmin(d)), int(np.nanargmax(d))
    return description(
        AXIS,
        "How far the largest principal component sets the languages apart.",
        estimate=d[least],
        unit=f"|Cohen's d|, the least of all depths, at {grids.depths[least]}",
        null=f"languages exchanged in random pairs: |d| below {chance:.2f} in 95 %; at 2 a "
        "threshold errs on 16 % of the texts",
        controls={
            "largest": f"{d[most]:.1f} at {grids.depths[most]}",
            "above 2 at": runs(grids.depths, d > 2),
        },
    )


def _pictures(subject: Subject, pairs: Pairs) -> list[Figure]:
    grids, n = subject.ask(sites), len(pairs)
    texts = [
        f"{category}: {text}"
        for side in pairs.texts
        for category, text in zip(pairs.category, side, strict=True)
    ]
    figures = []
    for depth in dict.fromkeys((0, 1, grids.best, grids.n_layers)):
        axes = subject.ask(components)[depth]
        if axes.points.shape[2] < 2:
            continue
        x, y = (f"component {k + 1} ({100 * axes.explained[k]:.0f} %)" for k in (0, 1))
        figure = scatter(
            axes.points[:, :, :2].reshape(2 * n, 2),
            np.repeat(pairs.languages, n),
            title=f"Pairs joined, {grids.depths[depth]} (mean pooling)",
            x_title=x,
            y_title=y,
            joined=np.column_stack([np.arange(n), n + np.arange(n)]),
            hover=texts,
        )
        caption = (
            "The two largest components of both languages' texts. Parallel lines: one direction "
            "turns one language into the other."
        )
        figures.append(Figure(figure, caption))
    return figures


def _separation(subject: Subject) -> Figure:
    most = np.array([np.nanmax(np.abs(axes.separation)) for axes in subject.ask(components)])
    return Figure(
        depth_lines(
            {"largest component": _separations(subject), "best of the first ten": most},
            subject.ask(sites).depths,
            title="How far apart the languages are along principal components (mean pooling)",
            y_title="|Cohen's d|",
            references={"a threshold errs on 16 %": 2},
        ),
        "Difference of the languages' means in pooled standard deviations.",
    )


def _axes(subject: Subject) -> Table:
    """Explained variance, and pairs inside the largest components."""
    grids, last = subject.ask(sites), subject.ask(sites).n_layers
    rows = []
    for depth in dict.fromkeys((0, 1, last // 2, last)):
        axes = subject.ask(components)[depth]
        row: dict[str, object] = {"depth": grids.depths[depth]}
        row |= {f"PC{n + 1} (%)": 100 * share for n, share in enumerate(axes.explained)}
        row |= {f"z inside {k}": test.z for k, test in axes.inside.items()}
        rows.append(row)
    return Table(
        pd.DataFrame(rows),
        "Explained variance of the first ten components, and pairs against scrambled pairs within "
        "categories inside the first 2, 5 and 10 of them, each language's mean taken away.",
    )
