"""Does distance matter, and which direction is it about?"""

import numpy as np

from interp.affinity import Kind
from interp.claims import Claim, description
from interp.plots import lines
from interp.report import Block, Figure, Section
from interp.study import Part, Subject
from studies.attention_affinity.checkpoints import Checkpoints
from studies.attention_affinity.comparison import KINDS, ModelComparison, compared

DISTANCE = "Does distance matter?"
WHERE = "Which direction is it about?"
CURVES = 6
"""Pairs whose logit is drawn against distance."""
FIRST = 4
"""Directions whose way through the blocks is drawn."""


def distance(subject: Subject, checkpoints: Checkpoints) -> Part:
    """Does distance matter?"""
    comparison = subject.ask(compared)
    section = Section("Affinity against distance", _distances(comparison))
    return Part(claims=[_distance_claim(comparison)], sections=[section])


def effect(subject: Subject, checkpoints: Checkpoints) -> Part:
    """Which direction is it about?"""
    comparison = subject.ask(compared)
    sections = [
        Section("Effect by direction", [_effect(comparison, kind) for kind in KINDS]),
        Section("Through the blocks: logits (QK)", _through_blocks(comparison, "QK")),
        Section("Through the blocks: what is written (VO)", _through_blocks(comparison, "VO")),
    ]
    return Part(claims=[_effect_claim(comparison)], sections=sections)


def _distance_claim(comparison: ModelComparison) -> Claim:
    """How alike a head ranks pairs of directions at two distances."""
    alike, ends = _correlation(comparison), " and ".join(map(str, _ends(comparison)))
    worst = ""
    if alike is not None:
        by_block = np.nanmedian(alike, axis=1)
        least = int(np.nanargmin(by_block))
        worst = f"{by_block[least]:.2f} in block {comparison.asked.blocks[least]}"
    return description(
        DISTANCE,
        "How alike a head ranks these pairs at two distances.",
        estimate=None if alike is None else np.nanmedian(alike),
        unit=f"correlation of logits at distances {ends}, median head",
        null="1, where the distance plays no part (exactly so without rotary embedding)",
        controls={"least median of a block": worst} if worst else {},
        needs="two distances apart" if alike is None else "",
    )


def _effect_claim(comparison: ModelComparison) -> Claim:
    """The effect on the direction that explains most variance."""
    leading, names = comparison.directions.leading(), comparison.directions.names
    averaged, survey = comparison.asked.averaged, comparison.scores.main
    effect, flow = (survey.of(kind).effect(averaged) for kind in KINDS)
    top = int(effect.mean.argmax())
    at = top if leading is None else leading
    of = "logits" if comparison.main == "base" else "the difference of logits"
    return description(
        WHERE,
        "The effect on the direction that explains most variance.",
        estimate=effect.mean[at],
        unit=f"mean |z| of {of} of {names[at]} with itself, blocks {averaged[0]} to {averaged[-1]}",
        null=f"unrelated directions {effect.unrelated:.2f}, 95 % below {effect.bound:.2f}; as to "
        f"which leads, chance is 1 in {len(names)}, so that this alone could not be told from "
        "chance",
        controls={
            "largest": f"{names[top]}, {effect.mean[top]:.2f}",
            "largest in VO": f"{names[int(flow.mean.argmax())]}, {flow.mean.max():.2f}",
        },
        needs="shares of variance of several directions" if leading is None else "",
    )


def _ends(comparison: ModelComparison) -> list[int]:
    """Two distances to compare: 0 and -16, or else the nearest and the farthest; none of one."""
    steps = comparison.steps
    near = max(steps, default=0)
    far = -16 if -16 in steps and near != -16 else min(steps, default=0)
    return [near, far] if len(steps) > 1 else []


def _correlation(comparison: ModelComparison) -> np.ndarray | None:
    """Correlation, by block and head of the base model, of cross pairs' logits at two distances.
    None with one distance, or fewer than three cross pairs."""
    ends = _ends(comparison)
    if not ends or len(comparison.directions) < 3:
        return None
    return comparison.scores.base.qk.correlation(*map(comparison.steps.index, ends))


def _distances(comparison: ModelComparison) -> list[Block]:
    steps, scores = comparison.steps, comparison.scores.main.qk
    if len(steps) < 2:
        return ["Only one distance was asked for."]
    series = {}
    for cell in scores.strongest(CURVES):
        pair = cell.query if cell.query == cell.key else f"{cell.query} → {cell.key}"
        curve = scores.scores.raw[cell.index[:4]][: len(steps)]
        series[f"{cell.block}.{cell.head}: {pair}"] = curve
    figure = lines(
        series,
        [str(step) for step in steps],
        title=f"Logit against distance, {comparison.title(comparison.main)}",
        x_title="key position - query position, in tokens",
        y_title="logit",
    )
    caption = (
        "The pairs furthest out in their null, one curve a head. Rotary embedding turns the "
        "key against the query as they move apart; without it the curves are level."
    )
    alike = _correlation(comparison)
    shown: list[Block] = [Figure(figure, caption)]
    return shown if alike is None else [*shown, _alike(comparison, alike)]


def _alike(comparison: ModelComparison, correlation: np.ndarray) -> Figure:
    low, median, high = np.nanquantile(correlation, [0.1, 0.5, 0.9], axis=1)
    figure = lines(
        {"median head": median, "10 % of heads below": low, "90 % below": high},
        comparison.block_labels,
        title="Correlation of cross pairs' logits at distances "
        f"{' and '.join(map(str, _ends(comparison)))}, {comparison.asked.base.label}",
        x_title="block",
        y_title="correlation",
        references={"no part of distance": 1},
    )
    return Figure(
        figure, "1: the head ranks pairs alike at both distances. By head, then by block."
    )


def _effect(comparison: ModelComparison, kind: Kind) -> Figure:
    averaged, surveys = comparison.asked.averaged, comparison.surveys
    main = comparison.scores.main.of(kind).effect(averaged)
    figure = lines(
        {comparison.name(side): surveys[side].of(kind).effect(averaged).mean for side in surveys},
        comparison.directions.labels(),
        title=f"{kind}: mean |z| of each direction with itself, blocks {_span(averaged)}",
        x_title="direction (share of variance)",
        y_title="mean |z| over heads",
        references={
            f"unrelated directions: mean {main.unrelated:.2f}": main.unrelated,
            f"95 % of them below {main.bound:.2f}": main.bound,
        },
    )
    figure.update_yaxes(rangemode="tozero")
    return Figure(
        figure,
        f"Averaged over all heads of the blocks named{', nearest distance' * (kind == 'QK')}. "
        f"The dashed levels are those of unrelated directions through the same heads "
        f"({comparison.title(comparison.main)}).",
    )


def _span(averaged: tuple[int, ...]) -> str:
    run = averaged == tuple(range(averaged[0], averaged[-1] + 1))
    if run and len(averaged) > 1:
        return f"{averaged[0]} to {averaged[-1]}"
    return ", ".join(map(str, averaged))


def _through_blocks(comparison: ModelComparison, kind: Kind) -> list[Block]:
    """Self and cross pairs of the first directions over the blocks: base, second, difference."""
    shown: list[Block] = []
    for pair in comparison.scores.main.of(kind).pairs:
        figures, curves = [], []
        for side, survey in comparison.surveys.items():
            series, band = survey.of(kind).mean_z(pair, directions=FIRST)
            curves.append((*series.values(), *band))
            figure = lines(
                series,
                comparison.block_labels,
                title=f"{kind}, {pair} pairs: z, mean over heads, {comparison.title(side)}",
                x_title="block",
                y_title="mean z",
                bands={"unrelated": band},
            )
            if comparison.directions.block in comparison.asked.blocks:
                at = comparison.asked.blocks.index(comparison.directions.block)
                figure.add_vline(x=at, line={"dash": "dash", "width": 1, "color": "#59636e"})
            figures.append(figure)
        if len(figures) > 1:  # base beside instruct, on one scale
            low, high = (float(end(curves)) for end in (np.nanmin, np.nanmax))
            room = 0.05 * (high - low)
            for figure in figures[:2]:
                figure.update_yaxes(range=[low - room, high + room])
        caption = _through_caption(comparison, kind, pair)
        shown += [Figure(figure, caption) for figure in figures]
    return shown


def _through_caption(comparison: ModelComparison, kind: Kind, pair: str) -> str:
    arrow = {"QK": "query → key: ", "VO": "written → attended to: "}[kind]
    sign = " The sign of a cross pair turns with either direction's sign."
    where = " Dashed: where the directions were taken."
    return (
        f"{arrow if pair == 'cross' else ''}Mean over a block's heads. Band: 95 % of unrelated "
        f"directions' means.{sign if pair == 'cross' else ''}"
        f"{'' if comparison.directions.block is None else where}"
    )
