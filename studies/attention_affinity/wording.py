"""A run in plain words."""

import numpy as np

from interp.claims import Claim
from studies.attention_affinity.findings import CHANGED, LEVEL, survivors
from studies.attention_affinity.results import Kind, Measured
from studies.attention_affinity.summarising import growth, strongest


def summary(found: Measured, made: list[Claim]) -> list[str]:
    """The run in plain words."""
    texts = []
    if found.other is not None and found.other.noise is not None:
        texts.append(
            f"The second model is {found.base.label} itself with Gaussian noise of "
            f"{100 * found.other.noise:g} % on its attention weights. Nothing is routed anew in "
            "it: this run is a control, and what it supports about a change is a false alarm."
        )
    for kind, verb in (("QK", "logit"), ("VO", "cosine of what is written")):
        best = strongest(found, kind, found.main)[0]  # pyright: ignore[reportArgumentType]
        side = "" if found.main == "base" else "difference of the "
        texts.append(
            f"{kind}: the {side}{verb} furthest from its null is that of {best.where}: "
            f"{best.z:+.1f} standard deviations."
        )
    if found.other is not None:
        grown = np.nanmedian(growth(found))
        texts.append(
            f"On unrelated vectors the second model's logits spread {grown:.3f} times as wide as "
            "the first's in the median head. z divides by each model's own spread; the "
            "difference's z by the spread of the difference."
        )
    narrow = {w for w in found.windows if w is not None and -min(found.settings.distances) >= w}
    if narrow:
        texts.append(
            f"Some blocks see only {min(narrow)} positions back: their logits at farther distances "
            "are computed and never used by the model."
        )
    texts += [*_matched(found), *_held(made)]
    return texts


def _matched(found: Measured) -> list[str]:
    """Heads that respond, beside what unrelated directions get."""
    kinds: tuple[Kind, ...] = ("QK", "VO")
    texts = []
    for kind in kinds:
        parts = []
        for pair in found.gathered[kind, "base"].tally.counts:
            count, tested, heads = survivors(found, kind, pair)
            by_set = found.gathered[kind, "base"].tally.survivors(pair, LEVEL)
            parts.append(
                f"{count} of {tested} {pair} pairs survive correction in {found.base.label}, in "
                f"{len(heads)} heads; of unrelated directions {np.median(by_set[1:]):.0f}"
            )
        texts.append(f"{kind}: {'. '.join(parts)}.")
    return texts


def _held(made: list[Claim]) -> list[str]:
    """What became of the claims about a change."""
    about = [c for c in made if c.question == CHANGED and c.verdict != "not testable here"]
    return [f"{c.statement} {c.verdict.capitalize()}: {c.reason}." for c in about]
