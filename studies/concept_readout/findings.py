"""What the vectors are worth, as claims, and in words."""

import numpy as np
from jaxtyping import Bool, Float

from interp.claims import Claim
from interp.readout import OK, DoseResponse
from interp.stats import bootstrap_interval
from studies.concept_readout.judging import Judged
from studies.concept_readout.steering import DOSES, Steered

LEVEL = 0.05
"""Level of every test."""

HELD = "Do the vectors tell texts they were not fitted on?"
ACT = "Do the vectors act?"
SELF = "Would this study find concepts where there are none?"


def claims(judged: Judged, steered: Steered | None) -> list[Claim]:
    """Every claim about one model."""
    made = [_told(judged), _beyond_words(judged), _stable(judged), _nothing(judged)]
    if steered is not None:
        made[3:3] = [_words(judged, steered), _downstream(judged, steered), _price(judged, steered)]
    return made


def survivors(judged: Judged) -> Bool[np.ndarray, " concepts"]:
    """Concepts whose held-out AUROC at the chosen block survives correction over the whole grid."""
    return judged.test.p_family[judged.readouts.blocks.index(judged.block)] <= LEVEL


def acting(response: DoseResponse) -> Bool[np.ndarray, " concepts"]:
    """Concepts that steering raises, more than random directions do, corrected over concepts."""
    return (response.test.p_family <= LEVEL) & (response.slope > 0)


def _listed(judged: Judged, values: Float[np.ndarray, " concepts"], form: str = ".2f") -> str:
    pairs = zip(judged.readouts.concepts, values, strict=True)
    return ", ".join(f"{concept} {value:{form}}" for concept, value in pairs)


def _named(judged: Judged, chosen: Bool[np.ndarray, " concepts"]) -> str:
    pairs = zip(judged.readouts.concepts, chosen, strict=True)
    return ", ".join(concept for concept, some in pairs if some) or "none"


def _told(judged: Judged) -> Claim:
    found, choice = survivors(judged), judged.choice
    n = len(found)
    known = np.isfinite(choice.auroc)
    worst = int(np.nanargmin(choice.auroc)) if known.any() else 0
    limits = choice.interval[worst]
    return Claim.decide(
        HELD,
        "Every concept's vector tells its texts from all others in scenarios it was not fitted on.",
        subject=judged.model,
        estimate=choice.auroc[worst],
        unit=f"AUROC of {judged.readouts.concepts[worst]}, the least of {n} concepts, at a block "
        "chosen without the scenario",
        interval=(limits[0], limits[1]) if np.isfinite(limits).all() else None,
        null=f"labels dealt anew within scenarios, corrected over {judged.test.p.size} cells: "
        f"{int(found.sum())} of {n} concepts survive at {judged.where}",
        controls={
            "survive": _named(judged, found),
            "AUROC of each": _listed(judged, choice.auroc),
            "blocks chosen without a scenario": ", ".join(
                str(block) for block in sorted(set(choice.fold_blocks.values()))
            ),
            "mean AUROC": float(np.nanmean(choice.auroc)) if known.any() else np.nan,
        },
        conditions={
            "every concept survives at the chosen block": bool(found.all()) if known.all() else None
        },  # fmt: skip # noqa: E501
    )


def _beyond_words(judged: Judged) -> Claim:
    gap = judged.choice.auroc - judged.surface.auroc
    known = np.isfinite(gap)
    interval = None
    if known.sum() > 1:
        rows = np.flatnonzero(known)
        interval = bootstrap_interval(
            lambda drawn: float(gap[rows[drawn]].mean()), rows, rng=np.random.default_rng(0)
        )
    return Claim.decide(
        HELD,
        "The stream tells held-out texts better than a bag of their words does.",
        subject=judged.model,
        estimate=float(gap[known].mean()) if known.any() else None,
        unit="of AUROC, mean over concepts",
        interval=interval,
        null="mean differences of word counts (TF-IDF), scenarios left out; interval over concepts",
        controls={"bag of words": _listed(judged, judged.surface.auroc)},
        conditions={"the interval lies above 0": None if interval is None else interval[0] > 0},
    )


def _stable(judged: Judged) -> Claim:
    at = judged.stability
    gap = at.mean - at.unrelated
    known = all(status == OK for status in at.status)
    worst = int(np.nanargmin(gap)) if np.isfinite(gap).any() else 0
    return Claim.decide(
        HELD,
        "The vectors hardly turn when the scenarios are drawn again.",
        subject=judged.model,
        estimate=at.mean[worst],
        unit=f"mean cosine of {judged.readouts.concepts[worst]} with its resamples, the least",
        null=f"a resample shares its texts with the whole: unrelated texts give "
        f"{at.unrelated[worst]:.2f}; the bar is a cosine of .9",
        controls={"of each": _listed(judged, at.mean), "at": judged.where},
        conditions={
            "every mean cosine is at least .9": bool((at.mean >= 0.9).all()) if known else None
        },  # fmt: skip # noqa: E501
    )


def _effect(judged: Judged, steered: Steered, response: DoseResponse, dealt: DoseResponse) -> dict:
    found, among = acting(response), acting(dealt)
    n = len(found)
    return {
        "subject": judged.model,
        "estimate": int(found.sum()),
        "null": f"{len(response.random)} random directions of equal length at {judged.where}, "
        f"corrected over {n} concepts",
        "controls": {
            "concepts": _named(judged, found),
            "p of each, corrected": _listed(judged, response.test.p_family, ".3f"),
            "against vectors of dealt labels": f"{int(among.sum())}: {_named(judged, among)}",
            "monotone in the dose": f"{int(response.monotone.sum())} of {n}",
            "length of the largest dose": f"{DOSES[-1] * steered.unit:.3g} in a stream of "
            f"{steered.norm:.3g}",
        },
        "conditions": {
            "more than half of the concepts act against random directions": bool(
                2 * found.sum() > n
            ),
            "and against vectors of dealt labels": bool(2 * among.sum() > n),
        },
    }


def _words(judged: Judged, steered: Steered) -> Claim:
    effect = _effect(judged, steered, steered.word, steered.word_dealt)
    n = len(judged.readouts.concepts)
    best = int((steered.across.argmax(axis=0) == np.arange(n)).sum())
    effect["controls"]["words raised most by their own vector"] = f"{best} of {n}"
    if steered.ambiguous:
        effect["controls"]["words that begin alike"] = ", ".join(steered.ambiguous)
    return Claim.decide(
        ACT,
        "Steering along a concept's vector makes its own word likelier.",
        unit=f"of {n} concepts",
        **effect,
    )


def _downstream(judged: Judged, steered: Steered) -> Claim:
    statement = "What the next blocks make of an added vector raises the concept's own readout."
    n = len(judged.readouts.concepts)
    if steered.readout is None or steered.readout_dealt is None:
        return Claim.decide(
            ACT,
            statement,
            subject=judged.model,
            null=f"no target block follows {judged.where}",
            conditions={"a target block follows the chosen one": None},
        )
    return Claim.decide(
        ACT,
        statement,
        unit=f"of {n} concepts, read at block {steered.read_block}; what the stream itself carries "
        "along is taken away",
        **_effect(judged, steered, steered.readout, steered.readout_dealt),
    )


def _price(judged: Judged, steered: Steered) -> Claim:
    bar = float(np.quantile(steered.random_loss, 0.95))
    dear = steered.loss > bar
    return Claim.decide(
        ACT,
        "Steering costs neutral texts no more than random directions of equal length do.",
        subject=judged.model,
        estimate=float(np.median(steered.loss)),
        unit="nats per token at the largest dose, median over concepts",
        null=f"{len(steered.random_loss)} random directions: median "
        f"{np.median(steered.random_loss):.3g}, 95 % below {bar:.3g}",
        controls={"of each": _listed(judged, steered.loss), "dearer": _named(judged, dear)},
        conditions={"no concept costs more than 95 % of random directions": not dear.any()},
    )


def _nothing(judged: Judged) -> Claim:
    found = int((judged.dealt.p_family <= LEVEL).sum())
    return Claim.decide(
        SELF,
        "With labels dealt anew no vector tells held-out texts.",
        subject=judged.model,
        estimate=found,
        unit=f"of {judged.dealt.p.size} cells",
        null="one dealing taken for the truth and held to the others; one run in twenty may show "
        "some",
        controls={"true labels": f"{int((judged.test.p_family <= LEVEL).sum())} cells survive"},
        conditions={"no cell survives": found == 0},
    )


def summary(judged: Judged, made: list[Claim], notices: tuple[str, ...]) -> list[str]:
    """One model in words: the block, what was read otherwise than it stands, the claims."""
    cut = judged.readings.truncated
    told = [
        f"{len(judged.readouts.concepts)} concepts, {len(judged.corpus.texts)} texts "
        f"({judged.corpus.n_baselines} of them baselines). Block to use: {judged.where}, where the "
        f"mean held-out AUROC is {judged.choice.curve[judged.block]:.2f} over all scenarios; at "
        f"blocks chosen without the scenario it is {np.nanmean(judged.choice.auroc):.2f}.",
        f"{len(cut)} texts were longer than {judged.readings.limit} tokens and were cut"
        + (f": {', '.join(cut[:5])}." if cut else "."),
    ]
    if notices:
        told.append("Notices: " + "; ".join(notices) + ".")
    return told + [f"{c.statement} {c.verdict.capitalize()}: {c.measured()}." for c in made]
