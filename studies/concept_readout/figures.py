"""The figures and tables of one model, each with a sentence on how to read it."""

import numpy as np
import pandas as pd

from interp.plots import heatmap, lines
from interp.report import Figure, Section, Table
from interp.stats import interval
from studies.concept_readout.findings import acting
from studies.concept_readout.judging import Judged
from studies.concept_readout.running import OPENINGS, STORY
from studies.concept_readout.steering import DOSES, Steered

SHOWN = 6
"""Concepts whose dose response is drawn: more curves cannot be told apart."""


def sections(judged: Judged, steered: Steered | None) -> list[Section]:
    """The part of the report that belongs to one model."""
    model = judged.model
    made = [
        Section(f"{model}: held-out texts", [_auroc(judged), _at_the_block(judged)]),
        Section(f"{model}: how concepts lie", _cosines(judged)),
    ]
    if judged.triage is not None:
        made.append(
            Section(f"{model}: quality", [_triage(judged), _quality(judged), _heads(judged)])
        )
    if steered is not None:
        made += [
            Section(
                f"{model}: steering",
                [_doses(judged, steered), _effects(judged, steered), _across(judged, steered)],
            ),
            Section(f"{model}: in its own words", [_samples(judged, steered)]),
        ]
    return made


def _rows(judged: Judged) -> list[str]:
    pairs = zip(judged.readouts.blocks, judged.depths, strict=True)
    return [f"block {block} ({depth:.0f} %)" for block, depth in pairs]


def _auroc(judged: Judged) -> Figure:
    values = np.vstack([judged.surface.auroc, judged.auroc()])
    found = judged.test.p_family <= 0.05
    status = [
        judged.surface.status,
        *(judged.held[block].status for block in judged.readouts.blocks),
    ]
    figure = heatmap(
        values,
        row_labels=["bag of words", *_rows(judged)],
        column_labels=judged.readouts.concepts,
        title="AUROC on scenarios that were never fitted",
        colour_label="AUROC",
        row_title="depth",
        reference={"chance": 0.5},
        zmin=min(0.5, float(np.nanmin(values))),
        zmax=1,
        survivors=np.vstack([np.zeros_like(found[:1]), found]),
        survivors_label="survives max-T correction at 5 %",
        status=np.array(status),
    )
    return Figure(
        figure,
        "Every scenario is left out in turn, vectors are fitted on the others, and its texts are "
        "projected. A story is a scenario of its own. The null deals labels anew within scenarios. "
        "The lowest row is the same test on counts of words: what shows above it is more than the "
        "words that scenarios share.",
    )


def _at_the_block(judged: Judged) -> Table:
    at = judged.readouts.blocks.index(judged.block)
    held, choice, steady = judged.held[judged.block], judged.choice, judged.stability
    frame = pd.DataFrame(
        {
            "concept": judged.readouts.concepts,
            "AUROC": choice.auroc,
            "95 %": [f"{low:.2f}–{high:.2f}" for low, high in choice.interval],
            f"at block {judged.block}": held.auroc,
            "corrected p": judged.test.p_family[at],
            "bag of words": judged.surface.auroc,
            "stability": steady.mean,
            "5 %": steady.low,
            "unrelated": steady.unrelated,
        }
    )
    return Table(
        frame,
        "AUROC and its interval over scenarios at a block chosen without the scenario; beside it "
        f"the AUROC at block {judged.block}, chosen on all of them and so a little optimistic. "
        "Stability: cosine of the vector with vectors of resampled scenarios, its 5 % quantile, "
        "and what unrelated texts would give.",
    )


def _cosines(judged: Judged) -> list[Figure]:
    figures = []
    for block, label in zip(judged.readouts.blocks, _rows(judged), strict=True):
        vectors = judged.readouts.at(block)
        figure = heatmap(
            vectors @ vectors.T,
            row_labels=judged.readouts.concepts,
            column_labels=judged.readouts.concepts,
            title=f"Cosine between concepts' vectors, {label}",
            colour_label="cosine",
            midpoint=0,
            zmin=-1,
            zmax=1,
        )
        figures.append(
            Figure(
                figure,
                "Each vector is contrasted with all other concepts' texts, so that unrelated "
                f"concepts lie at about {-1 / (len(vectors) - 1):.2f}, not at 0.",
            )
        )
    return figures


def _triage(judged: Judged) -> Table:
    assert judged.triage is not None
    found = judged.triage.as_dict()
    rows = [
        {"class": name, "concepts": group["count"], "such as": ", ".join(group["names"])}
        for name, group in found.items()
        if name != "block"
    ]
    return Table(
        pd.DataFrame(rows),
        f"At block {judged.triage.block}, the middle target. Contaminated: the nearest concept's "
        "cosine is above .8; single-neuron: the first component holds over .7 and a neuron's "
        "cosine is over .6; low-dimensional: the former alone; fragmented: alignment below .4. "
        "Redundant: the others explain over .9 of it.",
    )


def _quality(judged: Judged) -> Table:
    assert judged.triage is not None
    quality = judged.quality[judged.triage.block]
    classes = dict(zip(judged.triage.concepts, judged.triage.classes, strict=True))
    rows = []
    for one in quality.concepts:
        rows.append(
            {
                "concept": one.concept,
                "class": classes[one.concept],
                "norm": one.norm,
                "1st comp.": one.first_component,
                "alignment": one.alignment.mean,
                "(unrelated)": one.alignment_unrelated,
                "nearest": f"{one.nearest[0][0]} {one.nearest[0][1]:.2f}" if one.nearest else "–",
                "neuron": f"{one.neurons[0][0]} ({one.neurons[0][1]:+.2f})" if one.neurons else "–",
                "R2": np.nan if one.regression is None else one.regression.r2,
                "least aligned": one.lowest[0][0] if one.lowest else "–",
            }
        )
    return Table(
        pd.DataFrame(rows),
        f"At block {quality.block}; quality.json has every block. Norm: length of the mean "
        "difference; first component: its share of the positives' variance; alignment: mean cosine "
        "of positives with the vector, beside what unrelated texts give, since each is a part of "
        "the mean; neuron: the best aligned row of W_out; R2: of a ridge regression on the other "
        "vectors.",
    )


def _heads(judged: Judged) -> Table:
    rows = []
    for ranking in judged.heads:
        top = ranking.heads[:5]
        rows.append(
            {
                "concept": ranking.concept,
                "heads (selectivity)": ", ".join(f"{h.head} ({h.selectivity:.2f})" for h in top)
                or ranking.status,
                "unrelated": ranking.unrelated,
                "share of the ten": ranking.share,
            }
        )
    return Table(
        pd.DataFrame(rows),
        "Heads whose output at the last token differs most: length of the mean difference over "
        "that of the negatives' standard deviation, beside what a head that tells nothing would "
        "reach. Share: of all heads' differences, what the ten best hold. Target blocks only.",
    )


def _doses(judged: Judged, steered: Steered) -> Figure:
    strongest = np.argsort(-steered.word.slope)[:SHOWN]
    series = {judged.readouts.concepts[k]: _with_zero(steered.logprob[k]) for k in strongest}
    pooled = steered.random_logprob.reshape(-1, len(DOSES))
    low, high = interval(pooled)
    series["random directions"] = _with_zero(pooled.mean(axis=0))
    figure = lines(
        series,
        [*DOSES[: len(DOSES) // 2], 0.0, *DOSES[len(DOSES) // 2 :]],
        title=f"Steering at {judged.where}: log-probability of the concept's word",
        x_title="dose, in standard deviations of the texts along the vectors",
        y_title="change in nats",
        bands={"random directions": (_with_zero(low), _with_zero(high))},
    )
    return Figure(
        figure,
        f"Mean over {len(OPENINGS)} neutral openings such as {OPENINGS[0]!r}. The {len(strongest)} "
        "strongest concepts, every dose; the band holds 95 % of random directions of equal length, "
        f"over all words. A dose of 1 has length {steered.unit:.3g} in a stream of "
        f"{steered.norm:.3g}.",
    )


def _with_zero(values: np.ndarray) -> np.ndarray:
    half = len(values) // 2
    return np.concatenate([values[:half], [0.0], values[half:]])


def _effects(judged: Judged, steered: Steered) -> Table:
    bar = np.quantile(steered.random_loss, 0.95)
    columns: dict[str, object] = {
        "concept": judged.readouts.concepts,
        "word": [word.strip() for word in steered.words],
        "slope": steered.word.slope,
        "p": steered.word.test.p,
        "corrected": steered.word.test.p_family,
        "dealt": steered.word_dealt.test.p_family,
        "acts": np.where(acting(steered.word), "yes", "no").tolist(),
    }
    if steered.readout is not None and steered.readout_dealt is not None:
        columns |= {
            "readout": steered.readout.slope,
            "corrected ": steered.readout.test.p_family,
            "dealt ": steered.readout_dealt.test.p_family,
        }
    columns["loss"] = steered.loss
    return Table(
        pd.DataFrame(columns),
        "Slope: nats of the word's log-probability per unit of dose; p: two-sided, against "
        f"{len(steered.word.random)} random directions, then corrected over concepts, then against "
        "as many vectors of dealt labels. Readout: what the blocks up to the next target make of "
        "the vector, in standard deviations there per dose. Loss: nats per token that neutral "
        f"texts lose at the largest dose; 95 % of random directions stay below {bar:.3g}.",
    )


def _across(judged: Judged, steered: Steered) -> Figure:
    figure = heatmap(
        steered.across,
        row_labels=judged.readouts.concepts,
        column_labels=[word.strip() for word in steered.words],
        title="What each vector does to each word",
        colour_label="nats per dose",
        row_title="vector",
        column_title="word",
        midpoint=0,
    )
    return Figure(
        figure,
        "Slope of every word's log-probability along every vector. A bright diagonal alone is a "
        "concept of its own; a bright block is a feeling that several names share.",
    )


def _samples(judged: Judged, steered: Steered) -> Table:
    rows = [{"vector": "none", "the model goes on": steered.plain}] + [
        {"vector": concept, "the model goes on": text}
        for concept, text in zip(judged.readouts.concepts, steered.samples, strict=True)
    ]
    return Table(
        pd.DataFrame(rows),
        f"After {STORY!r}, greedily, at the largest dose, added at every token. Samples show "
        "what steering looks like; the tests above say whether it works.",
    )
