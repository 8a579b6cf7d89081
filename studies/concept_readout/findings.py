"""What the vectors are worth, as claims, and in words."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import mannwhitneyu

from interp.alignment import OK, Scores, pairing_test
from interp.claims import Claim, description, finding
from interp.readout import DoseResponse
from studies.concept_readout.judging import Judged
from studies.concept_readout.steering import DOSES, Steered

LEVEL = 0.05
"""Level of every test."""

HELD = "Do the vectors tell texts they were not fitted on?"
ACT = "Do the vectors act?"


def claims(judged: Judged, steered: Steered | None) -> list[Claim]:
    """Every claim about one model."""
    made = [_told(judged), _beyond_words(judged), _stable(judged)]
    if steered is not None:
        made += [_words(judged, steered), _downstream(judged, steered), _price(judged, steered)]
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
    at_block = judged.test.p_family[judged.readouts.blocks.index(judged.block)]
    p = float(at_block.max()) if known.all() else np.nan
    return finding(
        HELD,
        "Every concept's vector tells its texts from all others in scenarios it was not fitted on.",
        subject=judged.model,
        primary=True,
        estimate=choice.auroc[worst],
        unit=f"AUROC of {judged.readouts.concepts[worst]}, the least of {n} concepts, at a block "
        "chosen without the scenario",
        interval=(limits[0], limits[1]) if np.isfinite(limits).all() else None,
        null=f"labels dealt anew within scenarios: {int(found.sum())} of {n} concepts survive at "
        f"{judged.where}",
        exchange=f"text, within its scenario ({len(np.unique(judged.corpus.scenario))})",
        selection=f"the block: p is corrected over {judged.test.p.size} cells (max-T); all "
        f"{n} concepts must hold, so the largest p counts",
        tests={"labels dealt within scenarios": (p, judged.test.floor)},
        controls={
            "survive": _named(judged, found),
            "AUROC of each": _listed(judged, choice.auroc),
            "blocks chosen without a scenario": ", ".join(
                str(block) for block in sorted(set(choice.fold_blocks.values()))
            ),
            "mean AUROC": float(np.nanmean(choice.auroc)) if known.any() else np.nan,
        },
    )


def _beyond_words(judged: Judged) -> Claim:
    gap = judged.choice.auroc - judged.surface.auroc
    known = np.isfinite(gap)
    return description(
        HELD,
        "How much better the stream tells held-out texts than a bag of their words does.",
        subject=judged.model,
        estimate=float(gap[known].mean()) if known.any() else None,
        unit="of AUROC, mean over concepts",
        null="mean differences of word counts (TF-IDF), scenarios left out",
        exchange="none: concepts share all texts, and are no sample",
        controls={"bag of words": _listed(judged, judged.surface.auroc)},
    )


def _stable(judged: Judged) -> Claim:
    at = judged.stability
    gap = at.mean - at.unrelated
    worst = int(np.nanargmin(gap)) if np.isfinite(gap).any() else 0
    return description(
        HELD,
        "How far the vectors turn when the scenarios are drawn again.",
        subject=judged.model,
        estimate=at.mean[worst],
        unit=f"mean cosine of {judged.readouts.concepts[worst]} with its resamples, the least",
        null=f"a resample shares its texts with the whole: unrelated texts give "
        f"{at.unrelated[worst]:.2f}",
        controls={"of each": _listed(judged, at.mean), "at": judged.where},
    )


def _words(judged: Judged, steered: Steered) -> Claim:
    """Held to vectors exchanged among the concepts: directions in general may move a word."""
    n, across = len(judged.readouts.concepts), steered.across
    test = pairing_test(Scores(across, resolution=1e-9 * np.abs(across).max(), status=OK))
    best = int((across.argmax(axis=0) == np.arange(n)).sum())
    controls = {
        "words raised most by their own vector": f"{best} of {n}",
        "against random directions": _named(judged, acting(steered.word)),
        "length of the largest dose": f"{DOSES[-1] * steered.unit:.3g} in a stream of "
        f"{steered.norm:.3g}",
    }
    if steered.ambiguous:
        controls["words that begin alike"] = ", ".join(steered.ambiguous)
    return finding(
        ACT,
        "Steering along a concept's vector makes its own word likelier than other concepts' "
        "vectors do.",
        subject=judged.model,
        estimate=test.matched - test.expected,
        unit=f"of log-probability per dose above vectors exchanged among the concepts, at "
        f"{judged.where}",
        null=f"vectors exchanged among {n} concepts: mean {test.expected:.3g} (sd {test.sd:.2g})",
        exchange=f"concept ({n})",
        tests={"vectors exchanged among the concepts": test.p},
        controls=controls,
    )


def _downstream(judged: Judged, steered: Steered) -> Claim:
    statement = (
        "What the next blocks make of an added vector raises the concept's own readout, more than "
        "for concepts that do not exist."
    )
    n = len(judged.readouts.concepts)
    exchange = f"concept ({n})"
    if steered.readout is None or steered.dealt_own is None:
        return finding(
            ACT,
            statement,
            subject=judged.model,
            tests={},
            exchange=exchange,
            needs=f"a target block after {judged.where}",
        )
    own, dealt = steered.readout.slope, steered.dealt_own
    p = float(mannwhitneyu(own, dealt, alternative="greater").pvalue)
    above = int((own > np.quantile(dealt, 0.95)).sum())
    return finding(
        ACT,
        statement,
        subject=judged.model,
        estimate=float(np.median(own) - np.median(dealt)),
        unit=f"standard deviations of the texts per dose, read at block {steered.read_block}, "
        "median of concepts less that of dealt labels; what the stream carries along is taken away",
        null=f"{len(dealt)} vectors of labels dealt within scenarios, each on its own readout: "
        f"median {np.median(dealt):.3g}, of the concepts {np.median(own):.3g}",
        exchange=exchange,
        tests={"dealt labels on their own readout": p},
        controls={"beyond 95 % of dealt labels": f"{above} of {n}"},
    )


def _price(judged: Judged, steered: Steered) -> Claim:
    bar = float(np.quantile(steered.random_loss, 0.95))
    return description(
        ACT,
        "What steering costs neutral texts.",
        subject=judged.model,
        estimate=float(np.median(steered.loss)),
        unit="nats per token at the largest dose, median over concepts",
        null=f"{len(steered.random_loss)} random directions of equal length: median "
        f"{np.median(steered.random_loss):.3g}, 95 % below {bar:.3g}",
        controls={
            "of each": _listed(judged, steered.loss),
            "dearer": _named(judged, steered.loss > bar),
        },
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
    return told + [claim.sentence() for claim in made]
