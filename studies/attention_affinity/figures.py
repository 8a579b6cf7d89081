"""The figures and tables of a run, each with a sentence on how to read it."""

import numpy as np
import pandas as pd

from interp.plots import heatmap, lines
from interp.report import Block, Figure, Section, Table
from studies.attention_affinity.patterns import block_labels, describe, patterns, quantiles
from studies.attention_affinity.results import Kind, Measured, Side
from studies.attention_affinity.summarising import (
    apart,
    effect,
    growth,
    reach,
    strongest,
)
from studies.attention_affinity.table import adjusted

CURVES = 6
"""Pairs whose logit is drawn against distance."""
SCORE = {"QK": "logit", "VO": "cosine"}

PAIRS = {
    "QK": "How strongly the direction in the row attends to the one in the column, at the distance "
    "where this head's most significant pair stands out. The diagonal, self pairs, has a null of "
    "its own.",
    "VO": "How much of the direction in the row is written where the head attends to the one in "
    "the column.",
}
"""How to read the pair heatmap."""


def sections(found: Measured, averaged: tuple[int, ...], head: tuple[int, int]) -> list[Section]:
    """The body of the report; `head` is (block, head) of the pair heatmap."""
    made = [
        Section("Which heads", [_map(found, "QK"), _map(found, "VO"), _top(found)]),
        Section(f"Head {head[0]}.{head[1]}: which direction attends to which", _pairs(found, head)),
        Section("Affinity against distance", _distances(found)),
        Section("Effect by direction", [_effect(found, kind, averaged) for kind in ("QK", "VO")]),
        Section("Through the blocks: logits (QK)", patterns(found, "QK")),
        Section("Through the blocks: what is written (VO)", patterns(found, "VO")),
        Section("Against the null", [quantiles(found, "QK"), quantiles(found, "VO")]),
    ]
    if found.other is not None:
        made.append(Section("Weight growth apart from routing", [_growth(found)]))
    if found.peer is not None:
        made.append(_peer(found))
    return made


def default_head(found: Measured) -> tuple[int, int]:
    """The head with the least p of all logits."""
    best = strongest(found, "QK", found.main)[0]
    return best.block, best.head


def _map(found: Measured, kind: Kind) -> Figure:
    cells, q = found.cells[kind, found.main], adjusted(found, kind, found.main)
    flat = cells.z.reshape(*cells.z.shape[:2], -1)
    # the most significant cell, not the largest z: heads' tails differ
    order = cells.p.reshape(flat.shape) - 1e-12 * np.minimum(np.abs(flat), 1e6)
    at = order.argmin(axis=2)[..., None]
    z = np.take_along_axis(flat, at, axis=2)[..., 0]
    figure = heatmap(
        z,
        row_labels=block_labels(found),
        column_labels=[str(head) for head in range(z.shape[1])],
        title=f"{kind}: z of each head's most significant pair, {describe(found, found.main)}",
        colour_label="z",
        row_title="block",
        column_title="head",
        midpoint=0,
        survivors=q.reshape(flat.shape).min(axis=2) <= 0.05,
        survivors_label="a pair survives at a false discovery rate of 5 %",
    )
    return Figure(
        figure,
        f"For each head the pair of directions{' and the distance' if kind == 'QK' else ''} whose "
        f"{SCORE[kind]} lies furthest out in its null, self pairs included. Red: above what "
        "unrelated directions get, blue: below. Survival is counted among these cells; the claims "
        "hold it against sets of unrelated directions too.",
    )


def _top(found: Measured) -> Table:
    rows = []
    kinds: tuple[Kind, ...] = ("QK", "VO")
    for kind in kinds:
        for cell in strongest(found, kind, found.main, 6):
            row: dict[str, object] = {
                "": kind,
                "head": f"{cell.block}.{cell.head}",
                "query": cell.query,
                "key": cell.key,
                "distance": cell.distance or "–",
            }
            for side in found.sides:
                scores = found.cells[kind, side]
                row[f"{side}: raw"] = float(scores.raw[cell.places])
                row[f"{side}: z"] = float(scores.z[cell.places])
            rows.append(row)
    return Table(
        pd.DataFrame(rows),
        f"The cells furthest out in their null ({describe(found, found.main)}), each pair of a "
        "head once. For VO, key is attended to and query is the direction that is written. All "
        "cells are in affinity.parquet.",
    )


def _pairs(found: Measured, head: tuple[int, int]) -> list[Block]:
    at, names = found.settings.blocks.index(head[0]), found.directions.names
    shown: list[Block] = []
    kinds: tuple[Kind, ...] = ("QK", "VO")
    for kind in kinds:
        # the distance at which the head's most significant pair stands out
        p = found.cells[kind, found.main].p[at, head[1]]
        step = int(np.unravel_index(p.argmin(), p.shape)[-1])
        each: dict[Side, np.ndarray] = {
            side: found.cells[kind, side].z[at, head[1], ..., step] for side in found.sides
        }
        # one scale for the two models, so that they can be compared by eye
        reach = max(float(np.abs(each[side]).max()) for side in found.sides[:2])
        for side, z in each.items():
            figure = heatmap(
                z,
                row_labels=names,
                column_labels=names,
                title=f"{kind}, head {head[0]}.{head[1]}, "
                + (f"distance {found.settings.labels[step]}, " if kind == "QK" else "")
                + describe(found, side),
                colour_label="z",
                row_title="query" if kind == "QK" else "written",
                column_title="key" if kind == "QK" else "attended to",
                midpoint=0,
                zmin=None if side == "difference" else -reach,
                zmax=None if side == "difference" else reach,
                survivors=adjusted(found, kind, side)[at, head[1], ..., step] <= 0.05,
                survivors_label="false discovery rate 5 %",
            )
            shown.append(Figure(figure, PAIRS[kind]))
    return shown


def _distances(found: Measured) -> list[Block]:
    if len(found.settings.distances) < 2:
        return ["Only one distance was asked for."]
    count = len(found.settings.distances)
    shown: list[Block] = []
    series = {}
    for cell in strongest(found, "QK", found.main, CURVES):
        pair = cell.query if cell.query == cell.key else f"{cell.query} → {cell.key}"
        raw = found.cells["QK", found.main].raw[cell.places[:4]]
        series[f"{cell.block}.{cell.head}: {pair}"] = raw[:count]
    figure = lines(
        series,
        [str(distance) for distance in found.settings.distances],
        title=f"Logit against distance, {describe(found, found.main)}",
        x_title="key position - query position, in tokens",
        y_title="logit",
    )
    shown.append(
        Figure(
            figure,
            "The pairs furthest out in their null, one curve a head. Rotary embedding turns the "
            "key against the query as they move apart; without it the curves are level.",
        )
    )
    made, places = reach(found), apart(found)
    if made is not None and places is not None:
        said = " and ".join(found.settings.labels[at] for at in places)
        quantiles = np.nanquantile(made, [0.1, 0.5, 0.9], axis=1)
        figure = lines(
            {
                "median head": quantiles[1],
                "10 % of heads below": quantiles[0],
                "90 % below": quantiles[2],
            },
            block_labels(found),
            title=f"Correlation of cross pairs' logits at distances {said}, {found.base.label}",
            x_title="block",
            y_title="correlation",
            references={"no part of distance": 1},
        )
        shown.append(
            Figure(
                figure, "1: the head ranks pairs alike at both distances. By head, then by block."
            )
        )
    return shown


def _effect(found: Measured, kind: Kind, averaged: tuple[int, ...]) -> Figure:
    series = {found.name(side): effect(found, kind, side, averaged).mean for side in found.sides}
    last = effect(found, kind, found.main, averaged)
    figure = lines(
        series,
        found.directions.labels(),
        title=f"{kind}: mean |z| of each direction with itself, blocks {_span(averaged)}",
        x_title="direction (share of variance)",
        y_title="mean |z| over heads",
        references={
            f"unrelated directions: mean {last.unrelated:.2f}": last.unrelated,
            f"95 % of them below {last.bound:.2f}": last.bound,
        },
    )
    figure.update_yaxes(rangemode="tozero")
    return Figure(
        figure,
        f"Averaged over all heads of the blocks named{', nearest distance' * (kind == 'QK')}. "
        f"The dashed levels are those of unrelated directions through the same heads "
        f"({describe(found, found.main)}).",
    )


def _span(averaged: tuple[int, ...]) -> str:
    run = averaged == tuple(range(averaged[0], averaged[-1] + 1))
    if run and len(averaged) > 1:
        return f"{averaged[0]} to {averaged[-1]}"
    return ", ".join(map(str, averaged))


def _growth(found: Measured) -> Figure:
    ratio = growth(found)
    figure = heatmap(
        ratio,
        row_labels=block_labels(found),
        column_labels=[str(head) for head in range(ratio.shape[1])],
        title=f"Spread of logits on unrelated vectors: {found.name('instruct')} over "
        f"{found.name('base')}",
        colour_label="ratio",
        row_title="block",
        column_title="head",
        midpoint=1,
    )
    return Figure(
        figure,
        "Standard deviation of the null in the second model over that in the first. Above 1 a "
        "head's logits grew for all vectors alike, which lifts raw differences and is no routing; "
        f"median {np.nanmedian(ratio):.3f}.",
    )


def _peer(found: Measured) -> Section:
    assert found.peer is not None
    return Section(
        "As an earlier notebook computed it",
        [
            "Heads averaged, no rotation, no softcap, no query and key norm, no biases, z against "
            "20 random vectors with themselves. Kept for comparison: by that computation pairs of "
            "unrelated random vectors have a mean z below 0, and a fixed vector's z moves by .3 "
            "between draws of the 20. The table is peer.parquet; its first rows:",
            Table(found.peer.head(12)),
        ],
    )
