"""The tables of one model."""

import numpy as np
import pandas as pd

from interp.report import Table
from studies.embedding_alignment.measuring import Measured
from studies.embedding_alignment.reading import best_block
from studies.embedding_alignment.tokens import same_last


def landmarks(found: Measured) -> Table:
    """The raw embedding, the first block, the best and the last, in numbers."""
    best = best_block(found)
    last = found.sides.n_layers
    rows = []
    for depth in dict.fromkeys((0, 1, best, last, last + 1)):
        for pooling in ("last", "mean", "unshared"):
            cell = found.cell(depth, pooling)
            low, high = cell.interval
            rows.append(
                {
                    "depth": found.depths[depth],
                    "pooling": pooling,
                    "z, all": cell.plain.z,
                    "within": cell.stratified.z,
                    "95 %": "–" if np.isnan(low) else f"{low:.1f} to {high:.1f}",
                    "centred": cell.centred.z,
                    "cosine": cell.stratified.matched,
                    "scrambled": cell.stratified.expected,
                    "norms": " / ".join(f"{norm:.3g}" for norm in cell.norms),
                }
            )
    return Table(
        pd.DataFrame(rows),
        "The raw embedding, the first block, the block where pairs stand out most (mean pooling), "
        "and the last. z with pairs scrambled among all and within categories, then within them "
        "without each language's mean; cosine of pairs and of scrambled pairs; mean norm in the "
        "first and in the second language.",
    )


def kinds(found: Measured) -> Table:
    """What the tokens are."""
    pairs, counts = found.pairs, found.poolings.counts
    embedding, last = 0, found.sides.n_layers
    by_kind = {"language-specific": "specific", "numeric": "numeric", "shared letters": "shared"}
    rows = []
    for kind in dict.fromkeys(counts["kind"]):
        row: dict[str, object] = {"kind": "BOS and the like" if kind == "special" else kind}
        of = counts[counts["kind"] == kind].set_index("language")
        for column in ("tokens", "distinct", "shared"):
            row[column] = " / ".join(str(of.loc[language, column]) for language in pairs.languages)
        pooling = by_kind.get(kind)
        # The first token sees itself alone and is the same one in both texts.
        alone = 1.0 if kind == "special" and bool((of["tokens"] > 0).all()) else np.nan
        for depth in (embedding, last):
            cell = None if pooling is None else found.cell(depth, pooling)
            row[f"cosine, {found.depths[depth]}"] = alone if cell is None else cell.meeting
        rows.append(row)
    shared = [found.cell(depth, "shared") for depth in (embedding, last)]
    said = " and ".join(
        f"{cell.stratified.matched:.3f} ({found.depths[depth]})"
        for cell, depth in zip(shared, (embedding, last), strict=True)
    )
    return Table(
        pd.DataFrame(rows),
        f"Tokens by what they decode to ({' / '.join(pairs.languages)}): in all texts, different "
        "ones, and how many the partner has too. Cosine: between the languages' mean activations "
        "over such tokens (for shared letters: over all shared tokens). "
        f"Within a pair, the mean of the shared tokens has cosine {said}.",
    )


def last_tokens(found: Measured) -> Table:
    """What the texts of each category end in."""
    pairs = found.pairs
    same = same_last(found.poolings, pairs)
    ends = [
        {
            "category": name,
            "pairs": int((pairs.category == name).sum()),
            f"{pairs.languages[0]} ends in": _ends(found, 0, name, same),
            f"{pairs.languages[1]} ends in": _ends(found, 1, name, same),
        }
        for name in dict.fromkeys(pairs.category.tolist())
    ]
    return Table(pd.DataFrame(ends), "What the last token is.")


def _ends(found: Measured, side: int, category: str, same: dict[str, tuple[str, str]]) -> str:
    if same.get(category, ("", ""))[side]:
        return f"{same[category][side]} (all)"
    members = np.flatnonzero(found.pairs.category == category)
    ends = pd.Series([found.poolings.last[side][pair] for pair in members]).value_counts()
    return ", ".join(f"{end} ({count})" for end, count in ends.head(4).items())


def axes(found: Measured) -> Table:
    """Explained variance, and pairs inside the largest components."""
    rows = []
    last = found.sides.n_layers
    for depth in dict.fromkeys((0, 1, last // 2, last)):
        at = found.components[depth]
        row: dict[str, object] = {"depth": found.depths[depth]}
        row |= {f"PC{n + 1} (%)": 100 * share for n, share in enumerate(at.explained)}
        row |= {f"z inside {k}": test.z for k, test in at.inside.items()}
        rows.append(row)
    return Table(
        pd.DataFrame(rows),
        "Explained variance of the first ten components, and pairs against scrambled pairs within "
        "categories inside the first 2, 5 and 10 of them, each language's mean taken away.",
    )
