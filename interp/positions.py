"""From character spans to token positions.

A sample is a text with named character spans ("month", "speaker_tag", ...). Tokenizers split the
same text differently, so a word is found in each model through the fast tokenizer's offset mapping
and never by a token index: aligned by index, tokens of different words are stacked, which alone
turns a score of .97 into the .42 of noise.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from jaxtyping import Int
from transformers import PreTrainedTokenizerFast

Span = tuple[int, int]
"""Characters `start` (included) to `stop` (excluded) of a text."""

Spans = Span | tuple[Span, ...]
"""One stretch of characters, or several that are read together as one position."""

Rule = Literal["last", "first", "mean"]
"""Which of a span's tokens stands for it; `mean` averages the activations of all of them."""

RULES: tuple[Rule, ...] = ("last", "first", "mean")
"""All rules."""


@dataclass(frozen=True)
class Sample:
    """A text and the places in it that a study wants to read."""

    text: str
    """The text, as the tokenizer gets it."""
    spans: Mapping[str, Spans]
    """Named places: one stretch `(start, stop)`, or several, `((start, stop), ...)`, in any order.
    White space around a stretch does not count."""

    def __post_init__(self):
        if not self.text.strip():
            raise ValueError(f"a sample's text is empty: {self.text!r}")
        for name, spans in self.spans.items():
            if not spans:
                raise ValueError(f"span {name!r} has no stretch: {self.text[:60]!r}")
            for start, stop in stretches(spans):
                if not 0 <= start < stop <= len(self.text) or not self.text[start:stop].strip():
                    raise ValueError(
                        f"span {name!r} = ({start}, {stop}) marks no character of the "
                        f"{len(self.text)} in {_around(self.text, (start, stop))}"
                    )


@dataclass(frozen=True)
class Segment:
    """A labelled stretch of a text, such as what one speaker says in one turn."""

    label: str
    """Who or what the stretch belongs to."""
    span: Span
    """Its characters, after the tag."""
    tag: Span
    """The characters of the tag that opens it."""


@dataclass(frozen=True)
class Aligned:
    """A sample's tokens, and those of every named span."""

    ids: list[int]
    """Token ids, with the special tokens that the tokenizer adds by default."""
    tokens: tuple[Int[np.ndarray, " _"], ...]
    """Rising token indices of the span of each name, in the order asked for."""


@dataclass(frozen=True)
class Piece:
    """The least part of a text that is whole characters and whole tokens."""

    span: Span
    """Its characters; whether they begin with a space is the tokenizer's way."""
    ids: tuple[int, ...]
    """Ids of its tokens."""
    text: str
    """The characters of the span."""


def fingerprint(samples: Sequence[Sample]) -> str:
    """SHA-256 over texts and spans, in order."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(repr((sample.text, sorted(sample.spans.items()))).encode())
    return digest.hexdigest()


def align(
    tokenizer: PreTrainedTokenizerFast,
    samples: Sequence[Sample],
    names: Sequence[str],
    *,
    max_tokens: int | None = None,
    numbers: Sequence[int] | None = None,
) -> list[Aligned]:
    """Tokenize samples and find the tokens of the named spans.

    A token belongs to a stretch when they share a character, or when it stands between two that
    do; to a span when it belongs to one of its stretches. `numbers` are what errors call the
    samples, by default their places in the list.

    Raises:
        ValueError: a sample lacks a name, a stretch hits no token, or a text has more than
            `max_tokens` tokens; the message names the sample and shows the text around the place.
    """
    encoded = tokenizer([s.text for s in samples], return_offsets_mapping=True)
    aligned = []
    for index, sample, ids, offsets in zip(
        range(len(samples)) if numbers is None else numbers,
        samples,
        encoded["input_ids"],
        encoded["offset_mapping"],
        strict=True,
    ):
        if max_tokens is not None and len(ids) > max_tokens:
            raise ValueError(
                f"sample {index} has {len(ids)} tokens, more than the context of {max_tokens}: "
                f"{sample.text[:60]!r}..."
            )
        starts, stops = np.array(offsets).T
        tokens = (_tokens(index, sample, name, starts, stops) for name in names)
        aligned.append(Aligned(list(ids), tuple(tokens)))
    return aligned


def _tokens(
    index: int,
    sample: Sample,
    name: str,
    starts: Int[np.ndarray, " token"],
    stops: Int[np.ndarray, " token"],
) -> Int[np.ndarray, " _"]:
    if name not in sample.spans:
        raise ValueError(
            f"sample {index} has no span {name!r}; it has {', '.join(sample.spans) or 'none'}: "
            f"{sample.text[:60]!r}"
        )
    found: set[int] = set()
    for stretch in stretches(sample.spans[name]):
        start, stop = _stripped(sample.text, stretch)
        # special tokens have empty offsets, and must not count as touching a span at 0
        hits = np.flatnonzero((starts < stop) & (stops > start) & (stops > starts))
        if not len(hits):
            place = _around(sample.text, (start, stop))
            raise ValueError(f"sample {index}: span {name!r} hits no token: {place}")
        found.update(range(int(hits[0]), int(hits[-1]) + 1))
    return np.array(sorted(found))


def stretches(spans: Spans) -> tuple[Span, ...]:
    """The stretches of a span, one or several."""
    several = isinstance(spans[0], tuple)
    return cast(tuple[Span, ...], spans if several else (spans,))


def _stripped(text: str, span: Span) -> Span:
    start, stop = span
    inside = text[start:stop]
    return start + len(inside) - len(inside.lstrip()), stop - len(inside) + len(inside.rstrip())


def _around(text: str, span: Span, *, width: int = 20) -> str:
    start, stop = (min(max(0, edge), len(text)) for edge in span)
    before, inside, after = text[max(0, start - width) : start], text[start:stop], text[stop:]
    return repr(f"...{before}[{inside}]{after[:width]}...")


def pieces(tokenizer: PreTrainedTokenizerFast, text: str) -> list[Piece]:
    """Cut a text into the least parts that are both whole tokens and whole characters.

    A character outside of a byte-level vocabulary, or one that falls back to bytes, takes several
    tokens, none of which decodes to anything: tokens whose offsets overlap are therefore one
    piece. Special tokens have no characters and are in none.
    """
    encoded = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    rows = zip(
        encoded["input_ids"],
        encoded["offset_mapping"],
        encoded["special_tokens_mask"],
        strict=True,
    )
    found: list[tuple[int, int, list[int]]] = []
    for token, (start, stop), special in rows:
        end = found[-1][1] if found else 0
        if start == stop and not special:
            start = end  # some tokenizers trim spaces from offsets, and of a lone one leave nothing
        if start == stop:
            continue
        if found and start < end:
            found[-1] = (min(found[-1][0], start), max(end, stop), [*found[-1][2], token])
        else:
            found.append((start, stop, [token]))
    return [Piece((start, stop), tuple(ids), text[start:stop]) for start, stop, ids in found]


def find(text: str, string: str, *, occurrence: int = 0) -> Span:
    """The span of a string in a text.

    Raises:
        ValueError: the text has fewer occurrences.
    """
    return find_pattern(text, re.escape(string), occurrence=occurrence)


def find_pattern(text: str, pattern: str, *, occurrence: int = 0, group: int | str = 0) -> Span:
    """The span of a regular expression's match, or of one of its groups, in a text.

    Raises:
        ValueError: the text has fewer matches.
    """
    matches = list(re.finditer(pattern, text))
    if occurrence >= len(matches):
        raise ValueError(
            f"{pattern!r} occurs {len(matches)} times, so there is no occurrence {occurrence} "
            f"(counting from 0): {text[:80]!r}"
        )
    return matches[occurrence].span(group)


def every_kth_word(text: str, k: int = 1) -> dict[str, Span]:
    """Spans of every k-th word, punctuation apart, named `word_0`, `word_k`, `word_2k`, ..."""
    if k < 1:
        raise ValueError(f"k = {k}; every k-th word needs k >= 1")
    words = re.finditer(r"\w+(?:['’-]\w+)*", text)
    return {f"word_{i}": match.span() for i, match in enumerate(words) if i % k == 0}


def segments(text: str, *, tag: str = r"^(?P<label>[^:\n]+):") -> list[Segment]:
    """Split a text at its tags, by default `Name:` at the start of a line.

    `tag` is a regular expression with a group `label`, in which `^` and `$` match at every line.
    The span of a segment, read with the rule `last`, gives the last token of a turn.

    Raises:
        ValueError: the text has no tag.
    """
    tags = list(re.finditer(tag, text, flags=re.MULTILINE))
    if not tags:
        raise ValueError(f"no line of the text matches {tag!r}: {text[:80]!r}")
    ends = [following.start() for following in tags[1:]] + [len(text)]
    return [
        Segment(found["label"].strip(), (found.end(), end), found.span())
        for found, end in zip(tags, ends, strict=True)
    ]
