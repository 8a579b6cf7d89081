"""The figures of one model, each with a sentence on how to read it."""

from collections.abc import Sequence

import numpy as np

from interp.claims import LEVEL
from interp.plots import heatmap, lines, scatter
from interp.report import Figure, Section
from studies.embedding_alignment import tables
from studies.embedding_alignment.activations import SITES
from studies.embedding_alignment.measuring import MAPPED, RANKS, Measured
from studies.embedding_alignment.reading import (
    best_block,
    gains,
    increments,
    named,
    separations,
    why_undefined,
)
from studies.embedding_alignment.tokens import POOLINGS

DEPTH = "block (emb: the raw embedding; norm: after the final norm)"


def sections(found: Measured) -> list[Section]:
    """The part of the report that belongs to one model."""
    model = found.model
    return [
        Section(f"{model}: pairs against scrambled pairs", [_curves(found), _map(found)]),
        Section(
            f"{model}: what each block adds",
            [_gains(found), _halves(found), tables.landmarks(found), _cosines(found)],
        ),
        Section(
            f"{model}: the tokens", [tables.kinds(found), tables.last_tokens(found), _shares(found)]
        ),
        Section(
            f"{model}: beyond the cosine of pairs",
            [_retrieval(found), _cka(found), _rotated(found)],
        ),
        Section(f"{model}: main axes", [*_pictures(found), _separation(found), tables.axes(found)]),
    ]


def _curves(found: Measured) -> Figure:
    series, bands = {}, {}
    for pooling in ("mean", "rest", "unshared", "last"):
        name = f"{pooling}, within categories"
        series[name] = found.curve(pooling)
        bands[name] = _band(found, pooling)
    series["mean, all pairs"] = found.curve("mean", "plain")
    series["last, all pairs"] = found.curve("last", "plain")
    figure = lines(
        series,
        found.sides.ticks,
        title="How far pairs stand out from scrambled pairs",
        x_title=DEPTH,
        y_title="z of the matched cosine",
        bands=bands,
        references={"chance": 0},
    )
    return Figure(
        figure,
        "Exact z of the mean cosine of pairs. Scrambled among all pairs, texts also differ in "
        "template: that alone makes the z of the last token large where it is a full stop. "
        "Within categories the template is the same. Rest: the mean but for each text's first "
        "token, whose norm can outweigh all others. Bands: 95 % over resampled pairs.",
    )


def _band(found: Measured, pooling: str) -> tuple[np.ndarray, np.ndarray]:
    limits = np.array([found.cell(d, pooling).interval for d in range(len(found.depths))])
    return limits[:, 0], limits[:, 1]


def _map(found: Measured) -> Figure:
    status = np.array(
        [
            [why_undefined(found, depth, name) for name in POOLINGS]
            for depth in range(len(found.depths))
        ]
    )
    figure = heatmap(
        np.stack([found.curve(name) for name in POOLINGS], axis=1),
        row_labels=found.depths,
        column_labels=POOLINGS,
        title="z within categories, at every depth and pooling",
        colour_label="z",
        row_title="depth",
        column_title="pooling",
        survivors=found.adjusted() <= 0.05,
        survivors_label="false discovery rate 5 %",
        status=status,
    )
    return Figure(
        figure,
        "Poolings: last visible token; mean over all tokens; rest, all but the first; tokens both "
        "texts have (equal by construction in the raw embedding); tokens they do not share; of "
        "these the words; numbers. A crossed cell has no z, and says why.",
    )


def _gains(found: Measured) -> Figure:
    gain, rest, step = gains(found), gains(found, "rest"), increments(found)
    undefined = np.array([np.nan])
    figure = lines(
        {
            "mean, above the embedding": gain.difference,
            "mean, added by the block": np.concatenate([undefined, step.difference]),
            "rest, above the embedding": rest.difference,
        },
        found.sides.ticks,
        title="What blocks add to the raw embedding's alignment, within categories",
        x_title=DEPTH,
        y_title="difference of z",
        bands={
            "mean, above the embedding": (gain.low, gain.high),
            "rest, above the embedding": (rest.low, rest.high),
            "mean, added by the block": (
                np.concatenate([undefined, step.low]),
                np.concatenate([undefined, step.high]),
            ),
        },
        references={"the embedding's own level": 0},
    )
    return Figure(
        figure,
        "Bands hold at all depths at once (95 %, resampled pairs). Surely above the embedding: "
        f"{named(found, gain.above)}; surely below: {named(found, gain.below)}. Without each "
        f"text's first token, above: {named(found, rest.above)}; below: "
        f"{named(found, rest.below)}.",
    )


def _halves(found: Measured) -> Figure:
    names = {f"{site}, {pooling}": (site, pooling) for pooling in ("mean", "unshared") for site in SITES[1:]}  # fmt: skip # noqa: E501
    figure = lines(
        {name: found.curve(pooling, site=site) for name, (site, pooling) in names.items()},
        [str(block) for block in range(found.sides.n_layers)],
        title="Pairs in what attention and MLP add to the stream",
        x_title="block",
        y_title="z within categories",
        references={"chance": 0},
    )
    return Figure(
        figure, "The same test on each half of a block alone, before it joins the stream."
    )


def _cosines(found: Measured) -> Figure:
    figure = lines(
        {
            "pairs": found.curve("mean", value="matched"),
            "scrambled within categories": found.curve("mean", value="expected"),
            "scrambled among all": found.curve("mean", "plain", "expected"),
            "pairs, language means removed": found.curve("mean", "centred", "matched"),
        },
        found.sides.ticks,
        title="Cosine of pairs and of scrambled pairs (mean pooling)",
        x_title=DEPTH,
        y_title="cosine",
    )
    return Figure(
        figure,
        "A cosine near 1 says little where scrambled pairs have it too: all texts share a "
        "direction. What counts is the gap, in units of its scatter (z).",
    )


def _shares(found: Measured) -> Figure:
    named_shares = {"within categories": found.shares, "among all pairs": found.plain_shares}
    figure = lines(
        {name: np.array([s.share for s in shares]) for name, shares in named_shares.items()},
        found.sides.ticks,
        title="Share of the pairs' excess cosine that shared tokens carry (mean pooling)",
        x_title=DEPTH,
        y_title="share",
        bands={
            name: _limits([s.interval for s in shares]) for name, shares in named_shares.items()
        },
        references={"none": 0, "all": 1},
    )
    return Figure(
        figure,
        "1 minus the excess over scrambled pairs without shared tokens, over the excess with all. "
        "Past the embedding the other tokens have read the shared ones, so a falling share says "
        "where their content went, not that it ceased to matter. Below 0: shared tokens hide "
        "alignment. Bands: 95 % over pairs.",
    )


def _limits(intervals: Sequence[tuple[float, float] | None]) -> tuple[np.ndarray, np.ndarray]:
    limits = np.array([(np.nan, np.nan) if pair is None else pair for pair in intervals])
    return limits[:, 0], limits[:, 1]


def _retrieval(found: Measured) -> Figure:
    first, second = found.pairs.languages
    cells = [found.cells[hook, "mean"].retrieval for hook in found.sides.hooks(SITES[0])]
    series = {}
    for without, how in ((True, "means removed"), (False, "as they are")):
        for back, name in ((False, f"{first} finds {second}"), (True, f"{second} finds {first}")):
            series[f"{name}, {how}"] = np.array([cell[1, back, without].matched for cell in cells])
    figure = lines(
        series,
        found.sides.ticks,
        title="Retrieval@1: is the partner the nearest of all texts? (mean pooling)",
        x_title=DEPTH,
        y_title="share of texts",
        references={"chance": 1 / len(found.pairs)},
    )
    return Figure(
        figure,
        "By cosine, among all texts of the other language, with and without each language's mean. "
        f"A z far above chance and few partners found go together: over {len(found.pairs)} pairs a "
        f"small excess is sure. Retrieval@{RANKS[-1]} is in the table of cells.",
    )


def _cka(found: Measured) -> Figure:
    test, mean = found.cka, MAPPED.index("mean")
    figure = lines(
        {
            **{name: test.observed[:, column] for column, name in enumerate(MAPPED)},
            "mean, partners exchanged": test.mean[:, mean],
        },
        found.sides.ticks,
        title="Similarity of the two languages' geometries",
        x_title=DEPTH,
        y_title="debiased linear CKA",
        references={"unrelated": 0},
    )
    return Figure(
        figure,
        "Do texts that are alike in one language have partners that are alike in the other? "
        "Templates alone make two geometries similar, so partners are exchanged within categories. "
        "Above that, corrected over depths and poolings (max-T at 5 %): "
        + "; ".join(
            f"{name}: {named(found, test.p_family[:, column] <= LEVEL)}"
            for column, name in enumerate(MAPPED)
        )
        + ".",
    )


def _rotated(found: Measured) -> Figure:
    rows = range(len(found.depths))
    figure = lines(
        {name: np.array([found.rotated[row, name].z for row in rows]) for name in MAPPED},
        found.sides.ticks,
        title="After a rotation fitted on other pairs (orthogonal Procrustes, held out)",
        x_title=DEPTH,
        y_title="z within categories and folds",
        references={"chance": 0},
    )
    return Figure(
        figure,
        "Where this is far above the plain z, the languages hold the same content in turned "
        "coordinates.",
    )


def _pictures(found: Measured) -> list[Figure]:
    n, last = len(found.pairs), found.sides.n_layers
    best = best_block(found)
    languages = np.repeat(found.pairs.languages, n)
    texts = [f"{c}: {t}" for side in found.pairs.texts for c, t in zip(found.pairs.category, side, strict=True)]  # fmt: skip # noqa: E501
    figures = []
    for depth in dict.fromkeys((0, 1, best, last)):
        at = found.components[depth]
        if at.points.shape[2] < 2:
            continue
        figure = scatter(
            at.points[:, :, :2].reshape(2 * n, 2),
            languages,
            title=f"Pairs joined, {found.depths[depth]} (mean pooling)",
            x_title=f"component 1 ({100 * at.explained[0]:.0f} %)",
            y_title=f"component 2 ({100 * at.explained[1]:.0f} %)",
            joined=np.column_stack([np.arange(n), n + np.arange(n)]),
            hover=texts,
        )
        figures.append(
            Figure(
                figure,
                "The two largest components of both languages' texts. Parallel lines: one "
                "direction turns one language into the other.",
            )
        )
    return figures


def _separation(found: Measured) -> Figure:
    most = np.array([np.nanmax(np.abs(c.separation)) for c in found.components])
    figure = lines(
        {"largest component": separations(found), "best of the first ten": most},
        found.sides.ticks,
        title="How far apart the languages are along principal components (mean pooling)",
        x_title=DEPTH,
        y_title="|Cohen's d|",
        references={"a threshold errs on 16 %": 2},
    )
    return Figure(figure, "Difference of the languages' means in pooled standard deviations.")
