"""What is different in the second model, and is it aimed at these directions?"""

import numpy as np

from interp.claims import LEVEL, Claim, description, finding
from interp.plots import Axis, Scale, heatmap
from interp.report import Figure, Section, Table
from interp.stats import p_among
from interp.study import Part, Subject
from studies.attention_affinity.checkpoints import Checkpoints
from studies.attention_affinity.comparison import ModelComparison, compared

CHANGED = "What is different in the second model?"
SECOND = "a second model: --instruct (or --perturb, for a control)"
"""What a claim about a change takes."""


def changed(subject: Subject, checkpoints: Checkpoints) -> Part:
    """What is different in the second model?"""
    comparison = subject.ask(compared)
    return Part(
        claims=[_rerouted(comparison), _broadly(comparison), _growth(comparison)],
        sections=_sections(comparison),
        words=_words(comparison),
    )


def _words(comparison: ModelComparison) -> list[str]:
    """What is known of the change before any claim."""
    other = comparison.asked.other
    if other is None:
        return []
    grown = np.nanmedian(comparison.scores.growth())
    spread = (
        f"On unrelated vectors the second model's logits spread {grown:.3f} times as wide as "
        "the first's in the median head. z divides by each model's own spread; the "
        "difference's z by the spread of the difference."
    )
    if other.noise is None:
        return [spread]
    control = (
        f"The second model is {comparison.asked.base.label} itself with Gaussian noise of "
        f"{100 * other.noise:g} % on its attention weights. Nothing is routed anew in "
        "it: this run is a control, and what it supports about a change is a false alarm."
    )
    return [control, spread]


def _sections(comparison: ModelComparison) -> list[Section]:
    """Growth of logits, and the earlier notebook's scores."""
    made = []
    if comparison.asked.other is not None:
        made.append(Section("Weight growth apart from routing", [_growth_map(comparison)]))
    if comparison.notebook is not None:
        made.append(
            Section(
                "As an earlier notebook computed it",
                [
                    "Heads averaged, no rotation, no softcap, no query and key norm, no biases, z "
                    "against 20 random vectors with themselves. Kept for comparison: by that "
                    "computation pairs of unrelated random vectors have a mean z below 0, and a "
                    "fixed vector's z moves by .3 between draws of the 20. The table is "
                    "peer-1.parquet; its first rows:",
                    Table(comparison.notebook.head(12)),
                ],
            )
        )
    return made


def _rerouted(comparison: ModelComparison) -> Claim:
    statement = (
        f"{comparison.change} changed how some head matches these directions, more than it changed "
        "unrelated ones and than the same change turned at random would."
    )
    if comparison.scores.turned is None:
        return _untestable(statement)
    scores, turned = comparison.scores.main.qk, comparison.scores.turned
    best, strength = scores.strongest()[0], scores.strength_by_set()
    sets, turns = len(strength) - 1, len(turned.largest) - 1
    by_set, by_turns = p_among(strength[0], strength[1:]), turned.p_largest()
    sides = {side: comparison.surveys[side].qk.scores for side in ("base", "instruct")}
    return finding(
        CHANGED,
        statement,
        estimate=best.z,
        unit=f"standard deviations, {best.where}",
        null=f"largest of all cells in sets of unrelated directions (p {by_set:.2g}), and of these "
        f"directions under the change of W_Q and W_K, each head's turned at random (p "
        f"{by_turns:.2g})",
        exchange=f"set of directions ({sets}), and turn of the change ({turns})",
        selection="the largest of all cells, as in every set and every turn",
        controls={"the cell alone": best.chance}
        | {
            side: f"logit {cells.raw[best.index]:.3g}, z {cells.z[best.index]:.2f}"
            for side, cells in sides.items()
        },
        tests={
            "sets of unrelated directions": (by_set, 1 / (1 + sets)),
            "the change turned at random": (by_turns, 1 / (1 + turns)),
        },
    )


def _broadly(comparison: ModelComparison) -> Claim:
    statement = (
        f"{comparison.change} changed these directions' matches in more cells than those of "
        "unrelated ones, and than the same change turned at random would."
    )
    if comparison.scores.turned is None:
        return _untestable(statement)
    scores, turned = comparison.scores.main.qk, comparison.scores.turned
    rates, turned_rates = scores.rate_by_set(LEVEL), turned.rates()
    sets, turns = len(rates) - 1, len(turned_rates) - 1
    by_set, by_turns = p_among(rates[0], rates[1:]), turned.p_rate()
    passed = (scores.scores.p <= LEVEL).mean(axis=(2, 3, 4))
    return finding(
        CHANGED,
        statement,
        estimate=100 * passed.mean(),
        unit="% of cells of the difference with p <= .05",
        null=f"unrelated sets {100 * rates[1:].mean():.2g} % (p {by_set:.2g}); these directions "
        f"under the change turned at random {100 * turned_rates[1:].mean():.2g} % (p "
        f"{by_turns:.2g})",
        exchange=f"set of directions ({sets}), and turn of the change ({turns})",
        tests={
            "sets of unrelated directions": (by_set, 1 / (1 + sets)),
            "the change turned at random": (by_turns, 1 / (1 + turns)),
        },
    )


def _untestable(statement: str) -> Claim:
    return finding(
        CHANGED,
        statement,
        tests={},
        exchange="set of directions, and turn of the change",
        needs=SECOND,
    )


def _growth(comparison: ModelComparison) -> Claim:
    statement = (
        f"How much wider {comparison.change.lower()} made logits of unrelated vectors spread."
    )
    if comparison.asked.other is None:
        return description(CHANGED, statement, needs=SECOND)
    ratio = comparison.scores.growth()
    low, high = np.nanquantile(ratio, [0.05, 0.95])
    return description(
        CHANGED,
        statement,
        estimate=np.nanmedian(ratio),
        unit="ratio of the nulls' standard deviations, median head",
        null="1; it says nothing of which directions are meant",
        controls={"5 % to 95 % of heads": f"{low:.3g} to {high:.3g}"},
    )


def _growth_map(comparison: ModelComparison) -> Figure:
    ratio = comparison.scores.growth()
    figure = heatmap(
        ratio,
        Axis(comparison.block_labels, "block"),
        Axis([str(head) for head in range(ratio.shape[1])], "head"),
        title=f"Spread of logits on unrelated vectors: {comparison.name('instruct')} over "
        f"{comparison.name('base')}",
        scale=Scale("ratio", midpoint=1),
    )
    return Figure(
        figure,
        "Standard deviation of the null in the second model over that in the first. Above 1 a "
        "head's logits grew for all vectors alike, which lifts raw differences and is no routing; "
        f"median {np.nanmedian(ratio):.3f}.",
    )
