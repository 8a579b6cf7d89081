"""Pictures of SMDS results: scores and their controls by depth and position, planes, rings, shares.

Depths are named as `Subject.depths` names them. Titles and captions are the caller's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from interp.plots._curves import lines
from interp.plots._depths import depth_lines, depth_map
from interp.plots._grid import Axis, Scale, heatmap
from interp.plots._style import Number
from interp.smds import MovedShares, Roundness, SMDSGrid, SubspaceSimilarity
from interp.stats import interval


def score_map(
    grid: SMDSGrid,
    depths: Sequence[str],
    positions: Sequence[str],
    *,
    title: str,
    references: Mapping[str, Number],
    **options: Any,
) -> go.Figure:
    """Scores under the first shape, with dots at cells that survive correction.

    `references` are levels to hold the scores against, such as the null; the colours reach them.
    Further options are those of `depth_map`.
    """
    scores = grid.score[..., 0]
    low = min(np.nanmin(scores), *references.values())
    high = max(np.nanmax(scores), *references.values())
    return depth_map(
        scores,
        depths,
        positions,
        title=title,
        scale=Scale("held-out score", low, high, reference=references),
        status=grid.status,
        survivors=grid.survives(),
        survivors_label="survives max-T correction at 5 %",
        **options,
    )


def score_lines(
    grid: SMDSGrid,
    depths: Sequence[str],
    positions: Sequence[str],
    *,
    rows: Sequence[int],
    title: str,
    position_title: str,
    references: Mapping[str, Number],
) -> go.Figure:
    """Scores under the first shape against the position, a curve for each of some depths.

    `rows` are numbers of depths; `references` are levels to hold the scores against.
    """
    return lines(
        {depths[row]: grid.score[row, :, 0] for row in rows},
        list(positions),
        title=title,
        x_title=position_title,
        y_title="held-out score",
        references=references,
    )


def order_map(
    grid: SMDSGrid,
    control: str,
    depths: Sequence[str],
    positions: Sequence[str],
    *,
    title: str,
    **options: Any,
) -> go.Figure:
    """z of the true labels against those of a control that shuffles the order of categories, with
    dots at p <= .05 per cell, uncorrected. Further options are those of `depth_map`."""
    test = grid.against[control]
    return depth_map(
        test.z,
        depths,
        positions,
        title=title,
        scale=Scale(f"z against {len(grid.controls[control])} shuffled orders", midpoint=0),
        status=grid.status,
        survivors=test.p <= 0.05,
        survivors_label="beats shuffled orders, p <= .05 per cell, uncorrected",
        **options,
    )


def left_out_map(
    grid: SMDSGrid,
    depths: Sequence[str],
    positions: Sequence[str],
    *,
    title: str,
    references: Mapping[str, Number],
    **options: Any,
) -> go.Figure:
    """Leave-one-category-out R2, with dots where it is above 0 and survives correction.

    What is below -1 is drawn as -1, levels of reference too. Further options are those of
    `depth_map`.

    Raises:
        ValueError: no categories were left out.
    """
    if grid.leave_out is None:
        raise ValueError("no categories were left out; give smds_grid(leave_out=...)")
    r2, levels = grid.leave_out.r2, {name: max(-1.0, level) for name, level in references.items()}
    return depth_map(
        np.clip(r2, -1, 1),
        depths,
        positions,
        title=title,
        scale=Scale("R2 (below -1 drawn as -1)", -1, 1, midpoint=0, reference=levels),
        status=grid.status,
        survivors=grid.leave_out.test.survives() & (r2 > 0),
        survivors_label="above 0, and survives max-T correction at 5 %",
        **options,
    )


def reuse_map(
    grid: SMDSGrid, depths: Sequence[str], positions: Sequence[str], *, title: str, **options: Any
) -> go.Figure:
    """Agreement of a source's map with the truth, with dots at cells that survive correction.
    Further options are those of `depth_map`.

    Raises:
        ValueError: the grid has no source.
    """
    if grid.reuse is None:
        raise ValueError("every position has a map of its own; give smds_grid(fit=Fit(source=...))")
    return depth_map(
        grid.reuse.observed,
        depths,
        positions,
        title=title,
        scale=Scale("cosine with the truth", -1, 1, midpoint=0),
        status=grid.status,
        survivors=grid.reuse.survives(),
        survivors_label="above maps of permuted labels, max-T at 5 %",
        **options,
    )


def similarity_maps(
    similarity: SubspaceSimilarity,
    positions: Sequence[str],
    *,
    titles: tuple[str, str],
    pair: tuple[int, int] | None = None,
) -> tuple[go.Figure, go.Figure]:
    """Corrected similarity of all planes, and |cosine| of the decoders' weights beside it; a pair
    of positions stands in frames."""
    axis, boxed = Axis(positions), () if pair is None else (pair, pair[::-1])
    common: dict[str, Any] = {"status": similarity.pair_status, "boxed": boxed}
    corrected = heatmap(
        similarity.corrected,
        axis,
        axis,
        title=titles[0],
        scale=Scale("similarity, corrected", 0, 1),
        survivors=(similarity.p_family <= 0.05) & np.isfinite(similarity.corrected),
        survivors_label="above permuted labels, max-T at 5 %",
        **common,
    )
    scale = Scale("|cosine|", 0, 1)
    cosine = heatmap(similarity.weight_cosine, axis, axis, title=titles[1], scale=scale, **common)
    return corrected, cosine


def roundness_lines(rings: Roundness, depths: Sequence[str], *, title: str) -> go.Figure:
    """Axis ratio of each position's ring over the depths, down to what it is at least."""
    limits = zip(rings.lower.T, rings.ratio.T, strict=True)
    return depth_lines(
        dict(zip(rings.positions, rings.ratio.T, strict=True)),
        depths,
        title=title,
        y_title="minor over major axis",
        y_range=(0, 1.05),
        bands=dict(zip(rings.positions, limits, strict=True)),
        references={"circle": 1, "a line, or no ring": 0},
    )


def moved_lines(shares: MovedShares, depths: Sequence[str], *, title: str) -> go.Figure:
    """Shares moved by the depth of the patch, with 95 % limits that hold for both words' depths at
    once, beside the mean and 95 % of dealt donors."""
    dealt: Float[np.ndarray, "permutations row"] = shares.null[:, 0]
    words = [f"{word} patched" for word in shares.patching.words]
    series = dict(zip(words, shares.share, strict=True)) | {"donors dealt anew": dealt.mean(axis=0)}
    low, high = interval(dealt)
    limits = [*zip(shares.low, shares.high, strict=True), (low, high)]
    return lines(
        series,
        [depths[row] for row in shares.patching.rows],
        title=title,
        x_title="depth of the patch",
        y_title="share of the way to the donor's",
        bands=dict(zip(series, limits, strict=True)),
        references={"the donor's": 1, "the receiver's own": 0},
    )
