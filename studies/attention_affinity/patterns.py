"""Figures of the way through the blocks, and of scores against their null."""

from itertools import permutations

import numpy as np
import plotly.graph_objects as go
from scipy.special import ndtri

from interp.plots import lines
from interp.report import Block, Figure
from studies.attention_affinity.results import Kind, Measured, Side
from studies.attention_affinity.summarising import alone

FIRST = 4
"""Directions whose way through the blocks is drawn."""


def describe(found: Measured, side: Side) -> str:
    """A side as titles call it."""
    if side == "difference" and found.other is not None:
        return f"{found.other.label} less {found.base.label}"
    return found.name(side)


def block_labels(found: Measured) -> list[str]:
    """Blocks that were read."""
    return [str(block) for block in found.settings.blocks]


def patterns(found: Measured, kind: Kind) -> list[Block]:
    """Self and cross pairs of the first directions over the blocks: base, second, difference."""
    shown: list[Block] = []
    n = min(FIRST, len(found.directions))
    names = found.directions.names
    for pair in ("self", "cross") if n > 1 else ("self",):
        limits = []
        figures = []
        for side in found.sides:
            z = found.cells[kind, side].z[..., 0]  # [blocks, heads, n, n]
            if pair == "self":
                series = {names[at]: z[:, :, at, at].mean(axis=1) for at in range(n)}
                strangers = found.gathered[kind, side].self_z
            else:
                chosen = list(permutations(range(min(3, n)), 2))
                series = {f"{names[a]} → {names[b]}": z[:, :, a, b].mean(axis=1) for a, b in chosen}
                strangers = found.gathered[kind, side].cross_z
            means = strangers.mean(axis=1)  # over heads
            low, high = np.quantile(means, [0.025, 0.975], axis=1)
            series["unrelated"] = means.mean(axis=1)
            figure = lines(
                series,
                block_labels(found),
                title=f"{kind}, {pair} pairs: z, mean over heads, {describe(found, side)}",
                x_title="block",
                y_title="mean z",
                bands={"unrelated": (low, high)},
            )
            _mark_source(figure, found)
            limits += [
                *(np.nanmin(v) for v in series.values()),
                *(np.nanmax(v) for v in series.values()),
                low.min(),
                high.max(),
            ]
            figures.append(Figure(figure, _pattern_caption(found, kind, pair)))
        if len(figures) > 1:  # base beside instruct, on one scale
            room = 0.05 * (max(limits) - min(limits))
            for one in figures[:2]:
                one.figure.update_yaxes(range=[min(limits) - room, max(limits) + room])  # pyright: ignore[reportAttributeAccessIssue]
        shown += figures
    return shown


def _pattern_caption(found: Measured, kind: Kind, pair: str) -> str:
    sign = "" if pair == "self" else " The sign of a cross pair turns with either direction's sign."
    arrow = {"QK": "query → key", "VO": "written → attended to"}[kind] if pair == "cross" else ""
    said = f"{arrow}: " if arrow else ""
    where = "" if found.directions.block is None else " Dashed: where the directions were taken."
    return (
        f"{said}Mean over a block's heads. Band: 95 % of unrelated directions' means."
        + sign
        + where
    )


def _mark_source(figure: go.Figure, found: Measured) -> None:
    if found.directions.block in found.settings.blocks:
        at = found.settings.blocks.index(found.directions.block)
        figure.add_vline(x=at, line={"dash": "dash", "width": 1, "color": "#59636e"})


def quantiles(found: Measured, kind: Kind) -> Figure:
    """Quantiles of z of the named and of the unrelated directions against a normal variable's."""
    gathered = found.gathered[kind, found.main]
    off = ~np.eye(len(found.directions), dtype=bool)
    z = found.cells[kind, found.main].z[..., 0]
    kinds = {
        "these, self": alone(found.cells[kind, found.main].z),
        "unrelated, self": gathered.self_z,
    }
    if off.any():
        kinds |= {"these, cross": z[:, :, off], "unrelated, cross": gathered.cross_z}
    if kind == "QK" and found.isotropic is not None and found.main == "base":
        kinds["unrelated, cross, isotropic null"] = found.isotropic.cross_z
    # from 1 in 2,000 on either side: further out there are too few cells to say
    share = np.concatenate(
        [[0.0005, 0.001, 0.002, 0.005], np.linspace(0.02, 0.98, 25), [0.995, 0.998, 0.999, 0.9995]]
    )
    at = ndtri(share)
    series = {"normal": at} | {
        name: np.nanquantile(values, share) for name, values in kinds.items()
    }
    figure = lines(
        series,
        at.round(3).tolist(),
        title=f"{kind}: quantiles of z against a normal variable's, {describe(found, found.main)}",
        x_title="quantile of a normal variable",
        y_title="quantile of z",
    )
    return Figure(
        figure,
        "Unrelated directions should follow the straight line in the middle and may leave it "
        "slowly in the tails: a product of two random vectors has heavier tails than a normal "
        "variable, and p values are read off that heavier tail. Where the named directions leave "
        "the unrelated ones is what is specific to them.",
    )
