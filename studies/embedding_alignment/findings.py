"""What the measurements establish, as claims, and in words."""

import numpy as np

from interp.alignment import OK, Decomposition, Pairing
from interp.claims import Claim, description, finding
from studies.embedding_alignment.measuring import Measured
from studies.embedding_alignment.reading import (
    gains,
    increments,
    last_tokens,
    named,
    separations,
    undefined,
    why_undefined,
)
from studies.embedding_alignment.tokens import POOLINGS

LEVEL = 0.05
"""Level of every test."""

FREE = "How much alignment is there for free, in the raw embeddings?"
SHARED = "How much of it do shared tokens carry?"
BLOCKS = "What do the blocks add?"
AXIS = "Are the languages apart?"


def exchanged(found: Measured) -> str:
    """The unit that is exchanged."""
    return f"pair of texts, within its category ({len(found.pairs)})"


def claims(found: Measured) -> list[Claim]:
    """Every claim about one model."""
    return [
        _free(found),
        _last_token(found),
        _carried(found),
        _words(found),
        _blocks(found),
        _first_block(found),
        _apart(found),
    ]


def _null(test: Pairing) -> str:
    return (
        f"pairs scrambled within categories: cosine {test.expected:.3g} with a standard deviation "
        f"of {test.sd:.2g} (exact moments)"
    )


def _free(found: Measured) -> Claim:
    cell = found.cell(0, "mean")
    return finding(
        FREE,
        "Averaged over tokens, raw embeddings lie closer in pairs than in scrambled pairs of one "
        "category.",
        subject=found.model,
        estimate=cell.stratified.z,
        unit="z within categories",
        interval=cell.interval,
        null=_null(cell.stratified),
        controls={
            "z without categories": cell.plain.z,
            "z without language means": cell.centred.z,
            "matched cosine": cell.stratified.matched,
            "retrieval@1 among all, language means removed": cell.retrieval[1, False, True].matched,
        },
        primary=True,
        exchange=f"{exchanged(found)}; and token ({_distinct(found, 'mean')})",
        tests={"partners exchanged within categories": cell.stratified.p, **_dealt(found, "mean")},
    )


def _dealt(found: Measured, pooling: str) -> dict[str, tuple[float, float]]:
    """Words recur in texts: what holds for these pairs must hold for these words as well."""
    test = found.dictionary[pooling]
    return {} if test is None else {"vectors dealt to other tokens": (test.p, test.floor)}


def _distinct(found: Measured, pooling: str) -> int:
    """Different tokens of the second language in a pooling."""
    return int(found.poolings.types[1].weights[pooling].any(axis=0).sum())


def _last_token(found: Measured) -> Claim:
    cell = found.cell(0, "last")
    defined = cell.stratified.status == OK
    return finding(
        FREE,
        "Raw embeddings of the last token align pairs.",
        subject=found.model,
        estimate=cell.stratified.z,
        unit="z within categories",
        interval=cell.interval if defined else None,
        null=_null(cell.stratified) if defined else why_undefined(found, 0, "last"),
        controls={
            "z without categories": cell.plain.z,
            "texts end in": last_tokens(found),
        },
        exchange=exchanged(found),
        tests={"partners exchanged within categories": cell.stratified.p, **_dealt(found, "last")}
        if defined
        else {},
        needs="" if defined else "last tokens that differ within some category",
    )


def _carried(found: Measured) -> Claim:
    share, plain = found.shares[0], found.plain_shares[0]
    fraction = found.poolings.shared_fraction.mean(axis=1)
    languages = found.pairs.languages
    return description(
        SHARED,
        "What tokens that both texts contain bring to the raw embeddings' alignment.",
        subject=found.model,
        estimate=share.share,
        unit="of the excess cosine within categories",
        interval=share.interval,
        null="0 for tokens that bring nothing; with the other tokens' share it makes 1, products "
        "of both kinds belonging half to each",
        needs="" if share.interval else f"a share ({share.status})",
        controls={
            "share without categories": _said(plain),
            **{
                f"of {name} tokens (%)": 100 * f
                for name, f in zip(languages, fraction, strict=True)
            },
            "share at the last block": _said(found.shares[-2]),
        },
    )


def _said(share: Decomposition) -> str:
    if share.interval is None:
        return share.status
    return f"{share.share:.2f} [{share.interval[0]:.2f}, {share.interval[1]:.2f}]"


def _words(found: Measured) -> Claim:
    """Tokens that the texts do not share, in the raw embedding: what translation alone can give."""
    at, dealt = found.cell(0, "specific"), found.dictionary["specific"]
    blocks = found.adjusted()[1:-1, POOLINGS.index("specific")] <= LEVEL
    defined = at.centred.status == OK and dealt is not None
    return finding(
        SHARED,
        "Words that only one of the languages has align in the raw embeddings.",
        subject=found.model,
        estimate=dealt.z if defined and dealt is not None else None,
        unit="standard deviations above dictionaries dealt anew, within categories, language means "
        "removed",
        null="the second language's vectors dealt to other tokens of their kind"
        if defined
        else at.centred.status,
        exchange=f"token ({_distinct(found, 'specific')}); and {exchanged(found)}",
        tests={"partners exchanged within categories": at.centred.p, **_dealt(found, "specific")}
        if defined
        else {},
        needs="" if defined else "words of one language in three pairs of a category",
        controls={
            "z by pairs of texts": at.centred.z,
            "the same with language means": at.stratified.z,
            "blocks where they align": f"{int(blocks.sum())} of {found.sides.n_layers} "
            "(there they may have read the numbers)",
        },
    )


def _blocks(found: Measured) -> Claim:
    gain = gains(found)
    inner = slice(1, -1)
    known = np.isfinite(gain.low[inner]).any()
    best = 1 + int(np.nanargmax(gain.difference[inner])) if known else 1
    return description(
        BLOCKS,
        "How much better the best block holds pairs than the raw embedding does (mean over "
        "tokens).",
        subject=found.model,
        estimate=gain.difference[best] if known else None,
        unit=f"z within categories above the embedding's, at {found.depths[best]}",
        interval=(gain.low[best], gain.high[best]) if known else None,
        null="no difference; limits hold at all depths at once",
        controls={
            "above the embedding": named(found, gain.above),
            "below it": named(found, gain.below),
            "without each text's first token, above it": named(found, gains(found, "rest").above),
            "embedding": found.curve("mean")[0],
            "last block": found.curve("mean")[-2],
        },
        selection=f"the best of {found.sides.n_layers} blocks: limits hold at all of them at once",
    )


def _first_block(found: Measured) -> Claim:
    step = increments(found)
    known = bool(np.isfinite(step.low[0]))
    largest = found.depths[1 + int(np.nanargmax(step.difference[:-1]))] if known else ""
    norms = [found.cell(depth, "mean").norms for depth in (0, 1)]
    return description(
        BLOCKS,
        "What the first block adds (mean over tokens).",
        subject=found.model,
        estimate=step.difference[0] if known else None,
        unit="z within categories added by block 0",
        interval=(step.low[0], step.high[0]) if known else None,
        null="no change; limits hold for all blocks at once",
        controls={
            "largest increment": largest,
            "norm after block 0 over norm before": float(np.mean(norms[1]) / np.mean(norms[0])),
            "z of what its attention adds": found.cell(0, "mean", "attention").stratified.z,
            "z of what its MLP adds": found.cell(0, "mean", "MLP").stratified.z,
        },
    )


def _apart(found: Measured) -> Claim:
    d = separations(found)
    # Languages exchanged in random pairs: d is then a mean of n signs, in pooled deviations of 1.
    chance = 1.96 * np.sqrt(2 / len(found.pairs))
    least = int(np.nanargmin(d))
    return description(
        AXIS,
        "How far the largest principal component sets the languages apart.",
        subject=found.model,
        estimate=d[least],
        unit=f"|Cohen's d|, the least of all depths, at {found.depths[least]}",
        null=f"languages exchanged in random pairs: |d| below {chance:.2f} in 95 %; at 2 a "
        "threshold errs on 16 % of the texts",
        controls={
            "largest": f"{np.nanmax(d):.1f} at {found.depths[int(np.nanargmax(d))]}",
            "above 2 at": named(found, d > 2),
        },
    )


def summary(found: Measured, made: list[Claim]) -> list[str]:
    """The claims of one model in words, and where the free alignment comes from."""
    mean, last = found.cell(0, "mean"), found.cell(0, "last")
    gain = gains(found)
    texts = [
        f"In {found.model} the raw embedding of the last token sets pairs apart from scrambled "
        f"ones by z {last.plain.z:.1f}, and within categories "
        + (
            f"by z {last.stratified.z:.1f}."
            if last.stratified.status == OK
            else "not at all: what aligned is the token that a category's texts end in."
        ),
        f"Averaged over all tokens the raw embedding gives z {mean.stratified.z:.1f} within "
        f"categories. Where the free alignment comes from: {_origin(found)}",
        f"Above the embedding's level lie: {named(found, gain.above)}; below it: "
        f"{named(found, gain.below)} (95 % limits over pairs, at all depths at once).",
    ]
    if open_cells := undefined(found):
        texts.append("Undefined within categories: " + "; ".join(open_cells) + ".")
    return texts + [claim.sentence() for claim in made]


def _origin(found: Measured) -> str:
    share, words = found.shares[0], found.dictionary["specific"]
    said = f"no share can be given ({share.status})."
    if share.status == OK:
        said = (
            f"shared tokens carry {_said(share)} of it, words and marks of one language the rest."
        )
    if words is None:
        return said
    return (
        f"{said} Words that only one language has, without the languages' means, stand "
        f"{words.z:.1f} standard deviations above dictionaries dealt anew."
    )
