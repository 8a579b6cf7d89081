"""Texts that are one text: copies, which folds and nulls must not take for witnesses of their own.

A row that stands in the file three times stands on both sides of a fold, and labels that are
permuted row by row leave copies that agree: noise is then "found". So texts that are equal are one
group by construction. Near copies (a paraphrase of the same fact) are reported, and grouped on
request:

1. Of each text the spans that state its label are taken out, and then every word that nine tenths
   of all texts share, since a template is no copy.
2. What is left is compared by the cosine of its words, rare ones weighing more (TF-IDF).
3. A row is a near copy of its nearest row of the same label if they are alike by `ALIKE` or more,
   and if that is clearly nearer, by `MARGIN`, than the nearest row of any other label.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its subpackages are imported when they are used
from jaxtyping import Int, Shaped

ALIKE = 0.6
"""Cosine of what is left of two texts from which they may be copies."""

MARGIN = 0.2
"""By how much a copy is nearer than the nearest text of another label."""

SHARED = 0.9
"""Share of texts from which a word is part of a template."""

AT_ONCE = 1000
"""Rows compared with all others at a time."""


@dataclass(frozen=True)
class Grouping:
    """What folds never split and permutations exchange whole."""

    groups: Shaped[np.ndarray, " _"]
    """Group of each row."""
    copies: Int[np.ndarray, "copies 2"]
    """Rows that were joined, each with the first row that it equals or nearly does."""

    def sentence(self, what: str, lines: Int[np.ndarray, " n"] | None = None) -> str:
        """What was joined, for people: counts and the first few rows, as lines where given."""
        if not len(self.copies):
            return ""
        named = [
            tuple(pair) if lines is None else (lines[pair[0]], lines[pair[1]])
            for pair in self.copies
        ]
        shown = ", ".join(f"{row} of {first}" for row, first in named[:5])
        more = f" and {len(named) - 5} more" if len(named) > 5 else ""
        kind = "rows" if lines is None else "lines"
        return f"{len(named)} {what} ({kind} {shown}{more})"


def normalised(text: str) -> str:
    """A text without what does not make another text of it: case, white space, composition."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def equal_texts(texts: Sequence[str], groups: Shaped[np.ndarray, " _"] | None = None) -> Grouping:
    """Groups in which equal texts are together, and given groups that share one are joined."""
    own = np.arange(len(texts)) if groups is None else np.unique(groups, return_inverse=True)[1]
    same = np.unique([normalised(text) for text in texts], return_inverse=True)[1]
    first = np.unique(same, return_index=True)[1][same]
    copies = np.flatnonzero(first != np.arange(len(texts)))
    return Grouping(_joined(own, first), np.stack([copies, first[copies]], axis=1))


def near_copies(
    texts: Sequence[str],
    stated: Sequence[Sequence[tuple[int, int]]],
    labels: Shaped[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
) -> Grouping:
    """Groups in which near copies are together as well.

    Args:
        texts: The texts.
        stated: For each, the stretches of characters that state its label.
        labels: Label of each; only equality counts.
        groups: Groups so far; rows of one group are no news.
    """
    # scikit-learn takes a second to import, and who reads texts need not compare them
    from sklearn.feature_extraction.text import TfidfVectorizer

    left = [_without(text, spans) for text, spans in zip(texts, stated, strict=True)]
    try:
        weights = TfidfVectorizer(max_df=SHARED, token_pattern=r"(?u)\S+").fit_transform(left)
    except ValueError:  # nothing is left of any text
        return Grouping(groups, np.zeros((0, 2), dtype=int))
    label = np.unique(labels, return_inverse=True)[1]
    own = np.unique(groups, return_inverse=True)[1]
    nearest = np.arange(len(texts))
    for start in range(0, len(texts), AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, len(texts)))
        alike = (weights[rows] @ weights.T).toarray()
        same = label[rows, None] == label
        elsewhere = np.where(same & (own[rows, None] != own), alike, 0.0)
        best, other = elsewhere.max(axis=1), np.where(same, 0.0, alike).max(axis=1)
        found = (best >= ALIKE) & (best >= other + MARGIN)
        nearest[rows[found]] = elsewhere[found].argmax(axis=1)
    copies = np.flatnonzero(nearest != np.arange(len(texts)))
    pairs = np.stack([copies, nearest[copies]], axis=1)
    return Grouping(_joined(own, nearest), pairs)


def _joined(groups: np.ndarray, partner: np.ndarray) -> Int[np.ndarray, " n"]:
    """Groups, with those of a row and its partner made one."""
    n = len(groups)
    number = groups.max() + 1
    edges = scipy.sparse.coo_array((np.ones(n), (groups, groups[partner])), shape=(number, number))
    return scipy.sparse.csgraph.connected_components(edges, directed=False)[1][groups]


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    kept = np.ones(len(text), dtype=bool)
    for start, stop in spans:
        kept[start:stop] = False
    return "".join(c if keep else " " for c, keep in zip(text, kept, strict=True)).casefold()
