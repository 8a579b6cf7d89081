"""From pairs of texts to the tokens that each pooling reads, by what the tokens are made of.

1. A text is cut into pieces, whole tokens that are whole characters, and each piece gets a kind
   from its characters: decoded text tells a number from a word in every tokenizer, which strings of
   byte-level tokens do not.
2. A piece is shared when its token ids are a piece of the partner's text as well. This asks for the
   same embedding, which is what alignment costs nothing: " 3" and "3" are one number, but different
   tokens in some tokenizers, and nothing there makes their embeddings alike.
3. A pooling picks pieces, and averages their tokens or takes the last.
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from transformers import PreTrainedTokenizerFast

from interp.pairs import Pairs
from interp.positions import Piece, Sample, Span, Spans, pieces

Kind = Literal["numeric", "letters", "symbols", "space"]
"""What a piece is made of."""

POOLINGS = ("last", "mean", "rest", "shared", "unshared", "specific", "numeric")
"""Ways to read a text:

* `last`: the last token that has a visible character;
* `mean`: all tokens of the text; those that the tokenizer adds, such as BOS, have no characters;
* `rest`: all but the text's first piece, which attention uses as its sink where no BOS is added:
  its norm is hundreds of times the others', so that it is the mean;
* `shared`: tokens of visible pieces that the partner has as well;
* `unshared`: tokens of visible pieces that it has not;
* `specific`: words among the unshared, which only this language writes so;
* `numeric`: tokens of numbers, shared or not.
"""

RULES = {pooling: "last" if pooling == "last" else "mean" for pooling in POOLINGS}
"""Which of a pooling's tokens are read, as `interp.extract.extract` takes it."""

SPELT = ("last", "mean", "specific")
"""Poolings whose tokens are counted, for claims about the vectors of tokens."""

GROUPS = ("language-specific", "shared letters", "numeric", "symbols", "space", "special")
"""Kinds of token that are counted; special are those without a character."""


@dataclass(frozen=True)
class Poolings:
    """Texts of both languages with the tokens of every pooling, and what these tokens are."""

    samples: list[Sample]
    """The first language's texts, then the second's, each in the order of the pairs, with a span
    for every pooling in the order of `POOLINGS`. Where a pooling has no token the span is the last
    visible piece and means nothing: see `defined`."""
    defined: Bool[np.ndarray, "poolings n"]
    """Whether both texts of the pair have a token of the pooling."""
    rules: Mapping[str, str]
    """The rule of every pooling, for extraction."""
    last: tuple[tuple[str, ...], tuple[str, ...]]
    """Characters of the last visible piece of each text, by language."""
    counts: pd.DataFrame
    """Tokens of each `language` and `kind` (see `GROUPS`): how many in all texts (`tokens`) and how
    many of them are shared with their partner (`shared`); how many different ones (`distinct`) and
    how many of these some pair shares (`distinct_shared`); tokens in a text on average
    (`per_text`)."""
    shared_fraction: Float[np.ndarray, "2 n"]
    """Share of the tokens of each text's `mean` pooling that are shared, by language and pair."""
    types: tuple["Types", "Types"]
    """The different tokens of each language."""

    def has(self, pooling: str) -> Bool[np.ndarray, " n"]:
        """Whether both texts of each pair have a token of a pooling."""
        return self.defined[POOLINGS.index(pooling)]


@dataclass(frozen=True)
class Types:
    """The different tokens of one language's texts, and how each text is made of them."""

    ids: Int[np.ndarray, " types"]
    """Their ids."""
    kinds: Shaped[np.ndarray, " types"]
    """What each is made of, and whether half of the texts of some category have it: such tokens
    make templates, the others what the texts say."""
    weights: Mapping[str, Float[np.ndarray, "n types"]]
    """Share of each token in each text, by pooling of `SPELT`; zeros where a text has none."""

    def used(self, pooling: str, rows: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " types"]:
        """Which tokens a pooling of these texts has."""
        return np.asarray(self.weights[pooling][rows].any(axis=0))


def kind(text: str) -> Kind:
    """What a piece is made of: white space only; numeric characters only (Unicode categories N,
    such as 7, ½ or Ⅳ); at least one letter or mark (L and M; 三 is a letter); or neither.
    White space beside other characters does not count."""
    classes = {unicodedata.category(c)[0] for c in text if not c.isspace()}
    if not classes:
        return "space"
    if classes == {"N"}:
        return "numeric"
    return "letters" if classes & {"L", "M"} else "symbols"


@dataclass(frozen=True)
class _Marked:
    """A piece, what it is made of, and whether the partner has it as well."""

    piece: Piece
    kind: Kind
    shared: bool

    @property
    def visible(self) -> bool:
        return self.kind != "space"

    @property
    def group(self) -> str:
        if self.kind == "letters":
            return "shared letters" if self.shared else "language-specific"
        return self.kind


def pool(tokenizer: PreTrainedTokenizerFast, pairs: Pairs) -> Poolings:
    """The tokens of every pooling in every text, and what they are.

    Raises:
        ValueError: a text in which the tokenizer leaves no visible character.
    """
    parts = _marked_rows(tokenizer, pairs)
    last: list[tuple[str, ...]] = []
    samples: list[Sample] = []
    defined = np.ones((len(POOLINGS), len(pairs)), dtype=bool)
    fraction = np.zeros((2, len(pairs)))
    for side, texts in enumerate(pairs.texts):
        for pair, (text, row) in enumerate(zip(texts, parts[side], strict=True)):
            spans = {pooling: _span(pooling, row) for pooling in POOLINGS}
            defined[:, pair] &= [span is not None for span in spans.values()]
            end = spans["last"]
            if end is None:
                raise ValueError(
                    f"pair {pair}: the tokenizer finds no visible character in the "
                    f"{pairs.languages[side]} text {text[:60]!r}"
                )
            samples.append(Sample(text, {name: span or end for name, span in spans.items()}))
            read = _chosen("mean", row)
            sizes = [len(part.piece.ids) for part in read]
            fraction[side, pair] = np.average([part.shared for part in read], weights=sizes)
        ends = [[part.piece.text for part in row if part.visible][-1] for row in parts[side]]
        last.append(tuple(ends))
    counts = _counts(tokenizer, pairs, parts)
    first, second = (_types(rows, pairs.category) for rows in parts)
    return Poolings(samples, defined, RULES, (last[0], last[1]), counts, fraction, (first, second))


def _types(rows: list[list[_Marked]], category: Shaped[np.ndarray, " n"]) -> Types:
    """The tokens of one language, from the pieces of its texts."""
    kinds = {token: part.kind for row in rows for part in row for token in part.piece.ids}
    ids = np.array(sorted(kinds))
    weights = {name: np.zeros((len(rows), len(ids))) for name in SPELT}
    for name, weight in weights.items():
        for text, row in enumerate(rows):
            tokens = [token for part in _chosen(name, row) for token in part.piece.ids]
            tokens = tokens[-1:] if RULES[name] == "last" else tokens
            np.add.at(weight[text], np.searchsorted(ids, tokens), 1 / max(len(tokens), 1))
    has = weights["mean"] > 0
    shares = [has[category == name].mean(axis=0) for name in np.unique(category)]
    template = np.max(shares, axis=0) >= 0.5
    names = [
        f"{kinds[token]} {'of a template' if often else 'of the text'}"
        for token, often in zip(ids.tolist(), template, strict=True)
    ]
    return Types(ids, np.array(names), weights)


def _marked_rows(tokenizer: PreTrainedTokenizerFast, pairs: Pairs) -> list[list[list[_Marked]]]:
    """The pieces of each text, by language and pair, and what they are."""
    cut = [[pieces(tokenizer, text) for text in texts] for texts in pairs.texts]
    rows: list[list[list[_Marked]]] = []
    for side, partner in (cut, cut[::-1]):
        ids = [{piece.ids for piece in row} for row in partner]
        marked = zip(side, ids, strict=True)
        rows.append([[_marked(piece, known) for piece in row] for row, known in marked])
    return rows


def _marked(piece: Piece, partner: set[tuple[int, ...]]) -> _Marked:
    sort = kind(piece.text)
    # a space says nothing; only what can be seen counts as shared
    return _Marked(piece, sort, sort != "space" and piece.ids in partner)


def _span(pooling: str, row: Sequence[_Marked]) -> Spans | None:
    """The characters that a pooling reads; None where it has none."""
    chosen = _chosen(pooling, row)
    if not chosen:
        return None
    if pooling in ("last", "mean", "rest"):
        return chosen[0].piece.span[0], chosen[-1].piece.span[1]
    spans: tuple[Span, ...] = tuple(part.piece.span for part in chosen)
    return spans


def _chosen(pooling: str, row: Sequence[_Marked]) -> list[_Marked]:
    """The pieces that a pooling reads, from the first visible one to the last."""
    visible = [number for number, part in enumerate(row) if part.visible]
    start = {"last": len(visible) - 1, "mean": 0, "rest": 1}.get(pooling)
    if start is not None:
        if not 0 <= start < len(visible):
            return []
        return list(row[visible[start] : visible[-1] + 1])
    seen = [row[number] for number in visible]
    return {
        "shared": [part for part in seen if part.shared],
        "unshared": [part for part in seen if not part.shared],
        "specific": [part for part in seen if part.group == "language-specific"],
        "numeric": [part for part in seen if part.kind == "numeric"],
    }[pooling]


class _Token(NamedTuple):
    group: str
    id: int
    shared: bool


def _counts(
    tokenizer: PreTrainedTokenizerFast, pairs: Pairs, parts: list[list[list[_Marked]]]
) -> pd.DataFrame:
    rows = []
    for language, texts, side in zip(pairs.languages, pairs.texts, parts, strict=True):
        marked = (part for row in side for part in row)
        tokens = [_Token(part.group, id, part.shared) for part in marked for id in part.piece.ids]
        encoded = Counter(id for text in texts for id in tokenizer(text)["input_ids"])
        special = encoded - Counter(token.id for token in tokens)
        tokens += [_Token("special", id, False) for id in special.elements()]
        for group in GROUPS:
            members = [token for token in tokens if token.group == group]
            rows.append(
                {
                    "language": language,
                    "kind": group,
                    "tokens": len(members),
                    "shared": sum(token.shared for token in members),
                    "distinct": len({token.id for token in members}),
                    "distinct_shared": len({token.id for token in members if token.shared}),
                    "per_text": len(members) / len(texts),
                }
            )
    return pd.DataFrame(rows)


def same_last(poolings: Poolings, pairs: Pairs) -> dict[str, tuple[str, str]]:
    """The piece in which all texts of a category end, by category, in both languages.

    It is "" for a language whose texts end differently; categories in which both do are left out.
    Where a language's texts end in one piece, their raw embeddings at the last token are one vector
    and no pair can be told from another.
    """
    same = {}
    for name, members in pairs.members.items():
        ends = [{texts[pair] for pair in members} for texts in poolings.last]
        first, second = (end.pop() if len(end) == 1 else "" for end in ends)
        if first or second:
            same[name] = (first, second)
    return same
