"""What are the vectors made of, how do they lie to one another, and what do other programs get?"""

import numpy as np
import pandas as pd
from jaxtyping import Float
from transformer_lens.model_bridge import TransformerBridge

from interp import study
from interp.readout import (
    Assessment,
    block_quality,
    rank_heads,
    save_concepts,
    save_control_vectors,
    save_quality,
    save_readouts,
)
from interp.report import Figure, Section, Table
from studies.concept_readout.corpus import Corpus
from studies.concept_readout.vectors import fit_vectors

TOP = 5
"""Heads that are named for each concept."""


def assess(subject: study.Subject, corpus: Corpus) -> Assessment:
    """Spread, alignment, neurons and neighbours of every vector, and the heads behind them."""
    fitted = subject.ask(fit_vectors)
    readings, blocks = fitted.readings, fitted.readouts.blocks
    qualities = tuple(
        block_quality(
            fitted.readouts,
            block,
            readings.residual(block),
            corpus.positive,
            corpus.names,
            W_out=mlp_output(subject.model, block),
        )
        for block in blocks
    )
    heads = ((block, readings.z(block)) for block in blocks)
    return Assessment(qualities, rank_heads(heads, corpus.positive, corpus.concepts))


def mlp_output(model: TransformerBridge, block: int) -> Float[np.ndarray, "d_mlp d"] | None:
    """The block's MLP output matrix; None where it has no single one (experts)."""
    weights = getattr(getattr(model.blocks[block], "mlp", None), "W_out", None)
    return None if weights is None else weights.detach().float().cpu().numpy()


def neighbours(subject: study.Subject, corpus: Corpus) -> study.Part:
    """How do the concepts' vectors lie to one another?"""
    fitted = subject.ask(fit_vectors)
    unrelated = -1 / (len(corpus.concepts) - 1)
    figures = [
        Figure(
            fitted.readouts.plot(block, label=label),
            "Each vector is contrasted with all other concepts' texts, so that unrelated "
            f"concepts lie at about {unrelated:.2f}, not at 0.",
        )
        for block, label in zip(fitted.readouts.blocks, fitted.readings.targets.labels, strict=True)
    ]
    return study.Part(sections=[Section(f"{subject.name}: how concepts lie", figures)])


def qualities(subject: study.Subject, _: Corpus) -> study.Part:
    """What is known of every vector, and which of them need a second look?"""
    fitted = subject.ask(fit_vectors)
    keys = ["block", "concept"]
    cells = fitted.grid.table().merge(fitted.readouts.table().drop(columns="status"), on=keys)
    depths = dict(zip(fitted.readouts.blocks, fitted.readings.targets.depths, strict=True))
    cells.insert(1, "depth", [depths[block] for block in cells["block"]])
    if not subject.config.quality_report:
        return study.Part(tables={"cells": cells})
    assessment = subject.ask(assess)
    known = assessment.table().drop(columns=["norm", "alignment_unrelated"])
    body = [_triage(assessment), _at_the_middle(assessment), _heads(assessment)]
    return study.Part(
        tables={"cells": cells.merge(known, on=keys)},
        sections=[Section(f"{subject.name}: quality", body)],
    )


def _triage(assessment: Assessment) -> Table:
    return Table(
        assessment.triage.table(),
        f"At block {assessment.middle.block}, the middle target. Contaminated: the nearest "
        "concept's cosine is above .8; single-neuron: the first component holds over .7 and a "
        "neuron's cosine is over .6; low-dimensional: the former alone; fragmented: alignment "
        "below .4. Redundant: the others explain over .9 of it.",
    )


def _at_the_middle(assessment: Assessment) -> Table:
    block = assessment.middle.block
    known = assessment.table().query("block == @block")
    frame = pd.DataFrame(
        {
            "concept": known["concept"],
            "class": assessment.triage.classes,
            "norm": known["norm"],
            "1st comp.": known["first_component"],
            "alignment": known["alignment"],
            "(unrelated)": known["alignment_unrelated"],
            "nearest": [
                f"{name} {cosine:.2f}" if name else "–"
                for name, cosine in zip(known["nearest"], known["nearest_cosine"], strict=True)
            ],
            "neuron": [
                f"{neuron} ({cosine:+.2f})" if neuron >= 0 else "–"
                for neuron, cosine in zip(known["neuron"], known["neuron_cosine"], strict=True)
            ],
            "R2": known["r2"],
            "least aligned": [
                concept.lowest[0][0] if concept.lowest else "–"
                for concept in assessment.middle.concepts
            ],
        }
    )
    return Table(
        frame.reset_index(drop=True),
        f"At block {block}; quality.json has every block. Norm: length of the mean "
        "difference; first component: its share of the positives' variance; alignment: mean cosine "
        "of positives with the vector, beside what unrelated texts give, since each is a part of "
        "the mean; neuron: the best aligned row of W_out; R2: of a ridge regression on the other "
        "vectors.",
    )


def _heads(assessment: Assessment) -> Table:
    rows = []
    for ranking in assessment.heads:
        top = ", ".join(f"{head.head} ({head.selectivity:.2f})" for head in ranking.heads[:TOP])
        rows.append(
            {
                "concept": ranking.concept,
                "heads (selectivity)": top or ranking.status,
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


def export(subject: study.Subject, corpus: Corpus) -> study.Part:
    """What do other programs get? Every form of the vectors, and the report on their quality."""
    fitted = subject.ask(fit_vectors)
    folder = subject.config.folder(subject.name, subject.run.path)
    folder.mkdir(parents=True, exist_ok=True)
    save_readouts(folder, fitted.readouts)
    save_concepts(folder, fitted.readouts)
    save_control_vectors(folder, fitted.readouts, model_hint=str(subject.model.cfg.architecture))
    if subject.config.quality_report:
        auroc = dict(zip(corpus.concepts, fitted.choice.auroc.tolist(), strict=True))
        chosen = {"model": subject.name, "block": fitted.block, "held_out_auroc": auroc}
        save_quality(folder, chosen | subject.ask(assess).as_dict())
    return study.Part()
