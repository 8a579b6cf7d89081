"""Do heads respond to these directions, more than they do to unrelated ones?"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from interp.affinity import Kind
from interp.claims import LEVEL, Claim, description, finding
from interp.plots import Axis, Scale, heatmap, lines
from interp.report import Block, Figure, Section, Table
from interp.study import Part, Subject
from studies.attention_affinity.checkpoints import Checkpoints
from studies.attention_affinity.comparison import KINDS, ModelComparison, compared

CALIBRATED = "Would this study find something where there is nothing?"
MATCH = "Do heads respond to these directions?"

STATEMENTS = {
    ("QK", "self"): "Some heads match a direction with itself",
    ("QK", "cross"): "Some heads match one of the directions with another",
    ("VO", "self"): "Some heads write a direction where they attend to it",
    ("VO", "cross"): "Some heads write one of the directions where they attend to another",
}
SCORE = {"QK": "logit", "VO": "cosine"}
PAIRS = {
    "QK": "How strongly the direction in the row attends to the one in the column, at the distance "
    "where this head's most significant pair stands out. The diagonal, self pairs, has a null of "
    "its own.",
    "VO": "How much of the direction in the row is written where the head attends to the one in "
    "the column.",
}
"""How to read the pair heatmap."""


def matching(subject: Subject, checkpoints: Checkpoints) -> Part:
    """Do heads respond to these directions, and would unrelated ones pass?"""
    comparison, head = subject.ask(compared), checkpoints.head
    scores = comparison.scores
    if head is None:
        best = scores.main.qk.strongest()[0]
        head = best.block, best.head
    matches = [_matches(comparison, kind, pair) for kind in KINDS for pair in scores.base.qk.pairs]
    maps = [_map(comparison, kind) for kind in KINDS]
    pairs = [figure for kind in KINDS for figure in _pairs(comparison, kind, head)]
    notebook = {} if comparison.notebook is None else {"peer": comparison.notebook}
    return Part(
        claims=[_calibrated(comparison), *matches],
        sections=[
            Section("Which heads", [*maps, _strongest(comparison)]),
            Section(f"Head {head[0]}.{head[1]}: which direction attends to which", pairs),
            Section("Against the null", [_quantiles(comparison, kind) for kind in KINDS]),
        ],
        tables={"affinity": comparison.table} | notebook,
        results={"directions": comparison.directions.names},
        words=_words(comparison),
    )


def _words(comparison: ModelComparison) -> list[str]:
    """What stands out, and how many cells survive, in plain words."""
    texts = []
    for kind, verb in (("QK", "logit"), ("VO", "cosine of what is written")):
        best = comparison.scores.main.of(kind).strongest()[0]  # pyright: ignore[reportArgumentType]
        side = "" if comparison.main == "base" else "difference of the "
        texts.append(
            f"{kind}: the {side}{verb} furthest from its null is that of {best.where}: "
            f"{best.z:+.1f} standard deviations."
        )
    farthest = -min(comparison.steps)
    narrow = {w for w in comparison.windows if w is not None and farthest >= w}
    if narrow:
        texts.append(
            f"Some blocks see only {min(narrow)} positions back: their logits at farther distances "
            "are computed and never used by the model."
        )
    return [*texts, *(_surviving(comparison, kind) for kind in KINDS)]


def _calibrated(comparison: ModelComparison) -> Claim:
    scores = comparison.scores.base
    unrelated = scores.qk.unrelated
    controls: dict[str, float | str] = {
        "share with p <= .001 (%)": 100 * unrelated.far_rate,
        "of what is written, p <= .05 (%)": 100 * scores.vo.unrelated.rate,
    }
    covariance = comparison.scores.isotropic is not None
    if comparison.scores.isotropic is not None:
        isotropic = comparison.scores.isotropic.unrelated
        controls["the same against the isotropic null (%)"] = 100 * isotropic.rate
        controls["... with p <= .001 (%)"] = 100 * isotropic.far_rate
    if comparison.asked.other is not None:
        controls["of the difference (%)"] = 100 * comparison.scores.main.qk.unrelated.rate
    return description(
        CALIBRATED,
        "How often unrelated directions pass the null's 5 %.",
        estimate=100 * unrelated.rate,
        unit=f"% of {unrelated.tested} unrelated pairs with p <= .05 (logits), of "
        f"{unrelated.texts} texts",
        null="5 %; covariance null, directions from texts that it was not fitted on"
        if covariance
        else "5 %; isotropic null, isotropic directions",
        controls=controls,
    )


def _matches(comparison: ModelComparison, kind: Kind, pair: Any) -> Claim:
    scores, base = comparison.scores.base.of(kind), comparison.asked.base
    survivors = scores.survivors(pair, LEVEL)
    sets = len(survivors.by_set)
    middle, high = np.quantile(survivors.by_set, [0.5, 0.95])
    best = scores.strongest(pair=pair)[0]
    design: dict[str, Any] = dict(
        estimate=survivors.count,
        unit=f"of {survivors.tested} cells, in {len(survivors.heads)} of "
        f"{len(comparison.asked.blocks) * base.heads} heads, at a false discovery rate of 5 %",
        null=f"{sets} sets of {len(scores.names)} unrelated directions: {middle:.0f} cells at the "
        f"median, {high:.0f} at 95 %; p {survivors.p:.2g}",
        controls={
            "largest": f"{best.where}: z {best.z:.1f}, {best.chance}",
            "model": f"{base.label}: which directions {'attend' if kind == 'QK' else 'write'}",
        },
        exchange=f"set of {len(scores.names)} directions ({sets} unrelated sets)",
    )
    statement = STATEMENTS[kind, pair]
    if kind == "VO":
        # on weights without structure a quarter of runs pass: heads that write much, write anything
        return description(
            MATCH, f"{statement}: cells, beside those of unrelated directions.", **design
        )
    return finding(
        MATCH,
        f"{statement}, more than heads do for unrelated directions.",
        primary=pair == "self",
        tests={"sets of unrelated directions": (survivors.p, 1 / (sets + 1))},
        conditions={"some cell survives": survivors.count > 0},
        **design,
    )


def _surviving(comparison: ModelComparison, kind: Kind) -> str:
    scores = comparison.scores.base.of(kind)
    parts = []
    for pair in reversed(scores.pairs):
        survivors = scores.survivors(pair, LEVEL)
        parts.append(
            f"{survivors.count} of {survivors.tested} {pair} pairs survive correction in "
            f"{comparison.asked.base.label}, in {len(survivors.heads)} heads; of unrelated "
            f"directions {np.median(survivors.by_set):.0f}"
        )
    return f"{kind}: {'. '.join(parts)}."


def _map(comparison: ModelComparison, kind: Kind) -> Figure:
    z, survives = comparison.scores.main.of(kind).by_head()
    figure = heatmap(
        z,
        Axis(comparison.block_labels, "block"),
        Axis([str(head) for head in range(z.shape[1])], "head"),
        title=f"{kind}: z of each head's most significant pair, "
        f"{comparison.title(comparison.main)}",
        scale=Scale("z", midpoint=0),
        survivors=survives,
        survivors_label="a pair survives at a false discovery rate of 5 %",
    )
    return Figure(
        figure,
        f"For each head the pair of directions{' and the distance' if kind == 'QK' else ''} whose "
        f"{SCORE[kind]} lies furthest out in its null, self pairs included. Red: above what "
        "unrelated directions get, blue: below. Survival is counted among these cells; the claims "
        "hold it against sets of unrelated directions too.",
    )


def _strongest(comparison: ModelComparison) -> Table:
    rows = []
    for kind in KINDS:
        for cell in comparison.scores.main.of(kind).strongest(6):
            row: dict[str, object] = {
                "": kind,
                "head": f"{cell.block}.{cell.head}",
                "query": cell.query,
                "key": cell.key,
                "distance": cell.distance or "–",
            }
            for side, survey in comparison.surveys.items():
                row[f"{side}: raw"] = float(survey.of(kind).scores.raw[cell.index])
                row[f"{side}: z"] = float(survey.of(kind).scores.z[cell.index])
            rows.append(row)
    return Table(
        pd.DataFrame(rows),
        f"The cells furthest out in their null ({comparison.title(comparison.main)}), each pair of "
        "a head once. For VO, key is attended to and query is the direction that is written. All "
        "cells are in affinity-1.parquet.",
    )


def _pairs(comparison: ModelComparison, kind: Kind, head: tuple[int, int]) -> list[Block]:
    main = comparison.scores.main.of(kind)
    at = (main.blocks.index(head[0]), head[1])
    # the distance at which the head's most significant pair stands out
    p = main.scores.p[at]
    step = int(np.unravel_index(p.argmin(), p.shape)[-1])
    where = f"{kind}, head {head[0]}.{head[1]}, "
    where += f"distance {main.labels[step]}, " if kind == "QK" else ""
    cell = (*at, ..., step)
    models = [
        one.of(kind).scores.z for side, one in comparison.surveys.items() if side != "difference"
    ]
    # one scale for the two models, so that they can be compared by eye
    limit = float(np.abs([z[cell] for z in models]).max())
    figures: list[Block] = []
    for side, survey in comparison.surveys.items():
        figure = heatmap(
            survey.of(kind).scores.z[cell],
            Axis(main.names, "query" if kind == "QK" else "written"),
            Axis(main.names, "key" if kind == "QK" else "attended to"),
            title=where + comparison.title(side),
            scale=Scale("z", *(() if side == "difference" else (-limit, limit)), midpoint=0),
            survivors=survey.of(kind).survives(LEVEL)[cell],
            survivors_label="false discovery rate 5 %",
        )
        figures.append(Figure(figure, PAIRS[kind]))
    return figures


def _quantiles(comparison: ModelComparison, kind: Kind) -> Figure:
    """Quantiles of z of the named and of the unrelated directions against a normal variable's."""
    scores = comparison.scores.main.of(kind)
    z = scores.z_by_kind()
    if kind == "QK" and comparison.scores.isotropic is not None and comparison.main == "base":
        z["unrelated, cross, isotropic null"] = comparison.scores.isotropic.unrelated.cross_z
    # from 1 in 2,000 on either side: further out there are too few cells to say
    ends = [0.0005, 0.001, 0.002, 0.005]
    share = np.concatenate([ends, np.linspace(0.02, 0.98, 25), [0.995, 0.998, 0.999, 0.9995]])
    at = ndtri(share)
    figure = lines(
        {"normal": at} | {name: np.nanquantile(values, share) for name, values in z.items()},
        at.round(3).tolist(),
        title=f"{kind}: quantiles of z against a normal variable's, "
        f"{comparison.title(comparison.main)}",
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
