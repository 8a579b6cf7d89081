"""From character spans to token positions.

A sample is a text with named character spans ("month", "speaker_tag", ...). Tokenizers split the
same text differently, so a word is found in each model through the fast tokenizer's offset mapping
and never by a token index: aligned by index, tokens of different words are stacked, which alone
turns a score of .97 into the .42 of noise.
"""

import hashlib
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import regex
from jaxtyping import Bool, Int

if TYPE_CHECKING:
    import transformers  # named in annotations only; takes as long to import as pandas

Span = tuple[int, int]
"""Characters `start` (included) to `stop` (excluded) of a text."""

Spans = Span | tuple[Span, ...]
"""One stretch of characters, or several that are read together as one position."""

Rule = Literal["last", "first", "mean"]
"""Which of a span's tokens stands for it; `mean` averages the activations of all of them."""

RULES: tuple[Rule, ...] = ("last", "first", "mean")
"""All rules."""


LETTER = r"[\w\p{M}\u200c\u200d]"
"""A character of a word: letters and digits, the marks that belong to them (vowel signs, accents
that are characters of their own), and the joiners between them. `\\w` alone leaves marks out."""

WORD = rf"{LETTER}+(?:['’-]{LETTER}+)*"
"""A word, for the `regex` package: letters, with apostrophes and hyphens inside."""

BLANKS = "▁Ġ \t\r\n"
"""Characters of which a token may be made that stands for white space alone."""


@dataclass(frozen=True)
class Sample:
    """A text and the places in it that a study wants to read."""

    text: str
    """The text, as the tokenizer gets it."""
    spans: Mapping[str, Any]
    """Named places: one stretch `(start, stop)`, or several, `((start, stop), ...)`, in any order.
    White space around a stretch does not count."""
    add_special_tokens: bool = True
    """Whether the tokenizer adds those that it adds by default. False for a text that brings all
    of its own, such as a rendered chat; one that opens with the tokenizer's BOS gets none either.
    """

    def __post_init__(self):
        if not isinstance(self.text, str):
            raise ValueError(f"a sample's text must be a string, not {self.text!r}")
        if not self.text.strip():
            raise ValueError(f"a sample's text is empty: {self.text!r}")
        if not isinstance(self.spans, Mapping):
            raise ValueError(f"spans must be a mapping from names to places, not {self.spans!r}")
        for name, span in self.spans.items():
            if hasattr(span, "__len__") and not len(span):
                raise ValueError(f"span {name!r} has no stretch: {self.text[:60]!r}")
        plain = {name: _plain(name, span) for name, span in self.spans.items()}
        object.__setattr__(self, "spans", plain)
        for name, spans in plain.items():
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

    @property
    def spans(self) -> dict[str, Int[np.ndarray, " _"]]:
        """The indices by number, as positions are called that have no name."""
        return {str(number): tokens for number, tokens in enumerate(self.tokens)}


@dataclass(frozen=True)
class Piece:
    """The least part of a text that is whole characters and whole tokens."""

    span: Span
    """Its characters; whether they begin with a space is the tokenizer's way."""
    ids: tuple[int, ...]
    """Ids of its tokens."""
    text: str
    """The characters of the span."""


def fingerprint(samples: Sequence[Sample | Aligned]) -> str:
    """SHA-256 over texts and spans, or ids and tokens, in order."""
    digest = hashlib.sha256()
    for sample in samples:
        if isinstance(sample, Aligned):
            digest.update(repr((sample.ids, [t.tolist() for t in sample.tokens])).encode())
            continue
        # all but ASCII as escapes: which characters repr() shows follows Python's Unicode tables
        row = (sample.text, sorted(sample.spans.items()))
        digest.update(ascii(row if sample.add_special_tokens else (*row, False)).encode())
    return digest.hexdigest()


def align(
    tokenizer: "transformers.PreTrainedTokenizerFast",
    samples: Sequence[Sample | Aligned],
    names: Sequence[str],
    *,
    max_tokens: int | None = None,
    n_vocabulary: int | None = None,
    numbers: Sequence[int] | None = None,
) -> list[Aligned]:
    """Tokenize samples and find the tokens of the named spans; of what is aligned already, choose
    the tokens of these numbers.

    A token belongs to a stretch when they share a character, or when it stands between two that
    do; to a span when it belongs to one of its stretches. A token of white space alone, such as the
    mark that some tokenizers put before a text, belongs to no word. `numbers` are what errors call
    the samples, by default their places in the list.

    Raises:
        ValueError: a sample lacks a name, a stretch hits no token, a text has no token, more than
            `max_tokens`, one that is not among `n_vocabulary`, two BOS at its start, half of a
            surrogate pair, or tokens that it does not have; the message names the sample and shows
            the text around the place.
    """
    called = list(range(len(samples)) if numbers is None else numbers)
    texts = [sample for sample in samples if isinstance(sample, Sample)]
    for number, sample in zip(called, samples, strict=True):
        if isinstance(sample, Sample):
            _refuse_surrogates(number, sample.text)
    encodings, aligned = iter(_encoded(tokenizer, texts)), []
    for number, sample in zip(called, samples, strict=True):
        if isinstance(sample, Aligned):
            shown = repr(tokenizer.decode(sample.ids)[:60])
            _check_ids(tokenizer, number, shown, sample.ids, max_tokens, n_vocabulary)
            aligned.append(_chosen_tokens(number, sample, names, shown))
            continue
        encoding = next(encodings)
        shown = repr(sample.text[:60])
        _check_ids(tokenizer, number, shown, encoding.ids, max_tokens, n_vocabulary)
        starts, stops = np.array(encoding.offsets).T
        blank = np.array([not token.strip(BLANKS) for token in encoding.tokens])
        tokens = (_tokens(number, sample, name, starts, stops, blank) for name in names)
        aligned.append(Aligned(list(encoding.ids), tuple(tokens)))
    return aligned


def _chosen_tokens(number: int, sample: Aligned, names: Sequence[str], shown: str) -> Aligned:
    """What is aligned already, with the tokens of these positions."""
    spans = sample.spans
    for name in names:
        if name not in spans:
            raise ValueError(
                f"sample {number} has no position {name!r}; it has {', '.join(spans) or 'none'}: "
                f"{shown}"
            )
        tokens = spans[name]
        if not len(tokens) or tokens[0] < 0 or tokens[-1] >= len(sample.ids):
            raise ValueError(
                f"sample {number}: position {name!r} has the tokens {tokens.tolist()}; there are 0 "
                f"to {len(sample.ids) - 1}, and one is needed: {shown}"
            )
    return Aligned(sample.ids, tuple(spans[name] for name in names))


def _encoded(
    tokenizer: "transformers.PreTrainedTokenizerFast", samples: Sequence[Sample]
) -> list[Any]:
    """Encodings in the samples' order, with special tokens for those that ask for them and do not
    open with a BOS of their own."""
    adds = [s.add_special_tokens and wants_special_tokens(tokenizer, s.text) for s in samples]
    encodings: list[Any] = [None] * len(samples)
    for add in (True, False):
        places = [place for place, own in enumerate(adds) if own is add]
        if places:
            texts = [samples[place].text for place in places]
            encoded = tokenizer(texts, return_offsets_mapping=True, add_special_tokens=add)
            for place, encoding in zip(places, encoded.encodings or (), strict=True):
                encodings[place] = encoding
    return encodings


def wants_special_tokens(tokenizer: "transformers.PreTrainedTokenizerFast", text: str) -> bool:
    """Whether a text is to get the special tokens that the tokenizer adds: not one that opens with
    BOS, as a chat does that a template rendered, since it would get a second."""
    bos = tokenizer.bos_token
    return not (isinstance(bos, str) and bos and text.startswith(bos))


def _refuse_surrogates(number: int, text: str) -> None:
    for place, character in enumerate(text):
        if 0xD800 <= ord(character) <= 0xDFFF:
            raise ValueError(
                f"sample {number}: character {place} is half of a surrogate pair, "
                f"{character!r}, and no text: {_around(text, (place, place + 1))}"
            )


def _check_ids(
    tokenizer: "transformers.PreTrainedTokenizerFast",
    number: int,
    shown: str,
    ids: Sequence[int],
    max_tokens: int | None,
    n_vocabulary: int | None,
) -> None:
    if not ids:
        raise ValueError(f"sample {number} has no token: {shown}")
    if max_tokens is not None and len(ids) > max_tokens:
        raise ValueError(
            f"sample {number} has {len(ids)} tokens, more than the context of {max_tokens}: "
            f"{shown}..."
        )
    if n_vocabulary is not None and max(ids) >= n_vocabulary:
        token = next(i for i in ids if i >= n_vocabulary)
        raise ValueError(
            f"sample {number}: token {tokenizer.convert_ids_to_tokens(token)!r} has id {token}, "
            f"and the model has embeddings for {n_vocabulary}: {shown}"
        )
    bos = tokenizer.bos_token_id
    if bos is not None and list(ids[:2]) == [bos, bos]:
        raise ValueError(f"sample {number} begins with two BOS tokens; leave one out: {shown}")


def _tokens(
    index: int,
    sample: Sample,
    name: str,
    starts: Int[np.ndarray, " token"],
    stops: Int[np.ndarray, " token"],
    blank: Bool[np.ndarray, " token"],
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
        hits = np.flatnonzero((starts < stop) & (stops > start) & (stops > starts) & ~blank)
        if not len(hits):
            place = _around(sample.text, (start, stop))
            raise ValueError(f"sample {index}: span {name!r} hits no token: {place}")
        found.update(range(int(hits[0]), int(hits[-1]) + 1))
    return np.array(sorted(found))


def _plain(name: str, span: object) -> Spans:
    """A place in Python's own integers and tuples, from whatever integers and sequences."""
    if isinstance(span, str):
        raise ValueError(
            f"span {name!r} = {span!r} is no place: give (start, stop), as find(text, {span!r}) "
            "does"
        )
    try:
        parts = tuple(cast(Sequence, span))
        if parts and not hasattr(parts[0], "__len__"):
            start, stop = (operator.index(edge) for edge in parts)
            if not any(isinstance(edge, bool) for edge in parts):
                return start, stop
        if parts and hasattr(parts[0], "__len__"):
            return tuple(cast(Span, _plain(name, part)) for part in parts)
    except (TypeError, ValueError):
        pass
    raise ValueError(
        f"span {name!r} = {span!r} is no place: need (start, stop) in whole characters, or several "
        "of them"
    )


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


def pieces(tokenizer: "transformers.PreTrainedTokenizerFast", text: str) -> list[Piece]:
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


def find(text: str, string: str, *, occurrence: int | None = None) -> Span:
    """The span of a string in a text, of a whole word where there is one.

    "May" is found in "Mayor in May" where it stands by itself; "27" in "27th", which holds it
    nowhere else. Occurrences that overlap count as well.

    Args:
        text: The text.
        string: What to look for.
        occurrence: Which one, from 0, or from -1 at the end; needed where there are several.

    Raises:
        ValueError: the string is empty, does not occur, occurs several times without `occurrence`
            saying which, or fewer times than that.
    """
    if not string:
        raise ValueError("there is nothing to find: the string is empty")
    # a letter is not found without the marks that belong to it: "cafe" is no part of "café"
    pattern = rf"{regex.escape(string)}(?!\p{{M}})"
    places = [match.span() for match in regex.finditer(pattern, text, overlapped=True)]
    whole = [span for span in places if _is_whole(text, span)]
    return _chosen(whole or places, occurrence, repr(string), text)


def find_pattern(
    text: str, pattern: str, *, occurrence: int | None = None, group: int | str = 0
) -> Span:
    """The span of a regular expression's match, or of one of its groups, in a text.

    Args:
        text: The text.
        pattern: A regular expression, as the `regex` package reads it.
        occurrence: Which match, from 0, or from -1 at the end; needed where there are several.
        group: Which group of the match.

    Raises:
        ValueError: the pattern does not match, matches several times without `occurrence` saying
            which, or fewer times than that; or its group took no part in the match.
    """
    matches = list(regex.finditer(pattern, text))
    span = _chosen([match.span() for match in matches], occurrence, repr(pattern), text)
    (match,) = [match for match in matches if match.span() == span]
    if match.start(group) < 0:
        raise ValueError(f"group {group!r} of {pattern!r} took no part in {match.group()!r}")
    return match.span(group)


def _is_whole(text: str, span: Span) -> bool:
    """Whether a stretch is not flanked by characters of the words it begins and ends with."""
    start, stop = span
    around = (text[start - 1 : start] + text[start], text[stop - 1] + text[stop : stop + 1])
    return not any(regex.fullmatch(LETTER * 2, pair) for pair in around)


def _chosen(places: list[Span], occurrence: int | None, what: str, text: str) -> Span:
    number = len(places)
    if occurrence is None and number > 1:
        raise ValueError(
            f"{what} occurs {number} times in {text[:80]!r}: at "
            f"{', '.join(str(start) for start, _ in places[:4])}{', ...' if number > 4 else ''}; "
            f"say which with occurrence=0 to {number - 1}"
        )
    wanted = occurrence or 0
    if not -number <= wanted < number:
        raise ValueError(
            f"{what} occurs {number} times in {text[:80]!r}: there is no occurrence {wanted}, "
            "counting from 0"
        )
    return places[wanted]


def words(text: str) -> Iterator[Span]:
    """Spans of the words of a text, punctuation apart."""
    return (match.span() for match in regex.finditer(WORD, text))


def every_kth_word(text: str, k: int = 1) -> dict[str, Span]:
    """Spans of every k-th word, punctuation apart, named `word_0`, `word_k`, `word_2k`, ..."""
    if k < 1:
        raise ValueError(f"k = {k}; every k-th word needs k >= 1")
    return {f"word_{i}": span for i, span in enumerate(words(text)) if i % k == 0}


def segments(text: str, *, tag: str = r"^(?P<label>[^:\n]+):") -> list[Segment]:
    """Split a text at its tags, by default `Name:` at the start of a line.

    `tag` is a regular expression with a group `label`, in which `^` and `$` match at every line.
    The span of a segment, read with the rule `last`, gives the last token of a turn.

    Raises:
        ValueError: the text has no tag.
    """
    tags = list(regex.finditer(tag, text, flags=regex.MULTILINE))
    if not tags:
        raise ValueError(f"no line of the text matches {tag!r}: {text[:80]!r}")
    ends = [following.start() for following in tags[1:]] + [len(text)]
    return [
        Segment(found["label"].strip(), (found.end(), end), found.span())
        for found, end in zip(tags, ends, strict=True)
    ]
