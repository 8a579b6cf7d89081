"""Conversations as turns: reading them, and the arrangements that part speaker from wording.

Where a conversation stands as it was held, who speaks goes with what is said. Two arrangements
break that: a random order in which any speaker may get any utterance (`shuffled`), and the same
text with the names exchanged (`exchanged`). Nothing here knows of a tokenizer.

transcript = read_transcript("dinner.txt")      # lines of "Name: text"
twin = exchanged(shuffled(transcript, rng))
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from interp.positions import LETTER, segments

FEWEST_TURNS = 4
"""Turns that each speaker of a text needs; fewer are rather a line mistaken for a tag."""

LONGEST_NAME = 40
"""Characters of a name; what stands before a colon and is longer is a sentence."""

# a time of day ("9:30") is no tag, so white space or nothing follows the colon
_TAG = rf"^[^\S\n]*(?P<label>{LETTER}(?:{LETTER}|[ .'’&-]){{0,{LONGEST_NAME - 1}}}):(?=\s|$)"


@dataclass(frozen=True)
class Turn:
    """What one speaker says at a stretch."""

    speaker: str
    """Name of the speaker."""
    text: str
    """What is said, in one line."""


@dataclass(frozen=True)
class Transcript:
    """A conversation."""

    name: str
    """What the conversation is called, such as its topic."""
    turns: tuple[Turn, ...]
    """Turns in order."""
    speakers: tuple[str, ...]
    """Names of the speakers, sorted: a speaker's place here is the class that a probe learns, and
    is the same in all transcripts of the same people, whoever opens them."""


@dataclass(frozen=True)
class _Block:
    line: int
    """Line of the tag, from 1."""
    speaker: str
    text: str
    """What is said, in one line."""


def parse_transcript(text: str, *, source: str = "transcript") -> Transcript:
    """A transcript from `Name: text` lines of two or more speakers.

    Blank lines are ignored, and a line without a name goes on with the turn before. A name has at
    most 40 characters and is followed by a colon and white space. `source` becomes the
    transcript's name and opens the errors.

    Raises:
        ValueError: no line has a name, text stands before the first, a turn is empty, two names
            differ only by case or spaces, fewer than two speakers, or a speaker with fewer than
            four turns; the message names the line.
    """
    blocks = _blocks(text, source)
    for block in blocks:
        if not block.text:
            raise ValueError(f"{source}, line {block.line}: {block.speaker!r} says nothing")
    _check_speakers(blocks, source)
    turns = tuple(Turn(block.speaker, block.text) for block in blocks)
    return Transcript(source, turns, tuple(sorted({turn.speaker for turn in turns})))


def _blocks(text: str, source: str) -> list[_Block]:
    try:
        parts = segments(text, tag=_TAG)
    except ValueError as error:
        n = sum(bool(line.strip()) for line in text.splitlines())
        raise ValueError(f"{source}: none of {n} lines begins with 'Name:' and a space") from error
    before = text[: parts[0].tag[0]]
    if before.strip():
        line, number = before.strip().splitlines()[0], _line(text, text.index(before.strip()))
        raise ValueError(f"{source}, line {number}: {line[:60]!r} stands before the first 'Name:'")
    return [_Block(_line(text, p.tag[0]), p.label, _joined(text[slice(*p.span)])) for p in parts]


def _line(text: str, character: int) -> int:
    return text.count("\n", 0, character) + 1


def _joined(text: str) -> str:
    """The lines of a text as one line, without blank ones."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _check_speakers(blocks: list[_Block], source: str) -> None:
    first = {block.speaker: block.line for block in reversed(blocks)}
    plain: dict[str, str] = {}
    for name, line in sorted(first.items(), key=lambda item: item[1]):
        other = plain.setdefault("".join(name.split()).casefold(), name)
        if other != name:
            raise ValueError(
                f"{source}, line {line}: {name!r} differs from {other!r} of line {first[other]} "
                "only by case or spaces; write one person's name in one way"
            )
    if len(first) < 2:
        name = blocks[0].speaker
        raise ValueError(
            f"{source}, line {blocks[0].line}: {name!r} is the only speaker; it takes two"
        )
    for name, count in Counter(block.speaker for block in blocks).items():
        if count < FEWEST_TURNS:
            raise ValueError(
                f"{source}, line {first[name]}: {name!r} has {count} turns, fewer than "
                f"{FEWEST_TURNS}; if it is no speaker, remove the colon behind it"
            )


def read_transcript(path: Path | str) -> Transcript:
    """The transcript of a text file in UTF-8, called as the file is.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8, or what `parse_transcript` refuses.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # a mark from an editor is no character
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error}); save it in that encoding") from error
    return dataclasses.replace(parse_transcript(text, source=str(path)), name=path.stem)


def exchanged(transcript: Transcript) -> Transcript:
    """The same utterances in the same order under exchanged names.

    Each name goes to the next speaker, the last one's to the first; a name inside an utterance
    stays. Of two speakers this is the exchange; of more, as many rotations as there are speakers
    give every utterance to each of them once.
    """
    names = transcript.speakers
    successor = dict(zip(names, names[1:] + names[:1], strict=True))
    return _with_turns(transcript, (Turn(successor[t.speaker], t.text) for t in transcript.turns))


def shuffled(transcript: Transcript, rng: np.random.Generator) -> Transcript:
    """The utterances in random order, each under a random speaker.

    Every speaker gets the same number of turns, or one more where they do not divide; who gets
    more is random too.
    """
    n, names = len(transcript.turns), transcript.speakers
    order = rng.permutation(n).tolist()
    dealt = rng.permutation(np.resize(rng.permutation(len(names)), n)).tolist()
    return _with_turns(
        transcript,
        (Turn(names[who], transcript.turns[i].text) for i, who in zip(order, dealt, strict=True)),
    )


def split(transcript: Transcript, fits: Callable[[Transcript], bool]) -> list[Transcript]:
    """Cut a transcript that is longer than a context into consecutive pieces that fit.

    The cuts lie between turns. The number of pieces is the smallest at which all of them fit when
    the turns are dealt evenly: the first pieces have one turn more where they do not divide. Each
    piece keeps all speakers' names, even of one who is silent in it. A transcript that fits comes
    back as it is; else pieces are called `<name> 1/3`, `<name> 2/3`, ...

    Raises:
        ValueError: a single turn does not fit.
    """
    if fits(transcript):
        return [transcript]
    n = len(transcript.turns)
    for number in range(2, n + 1):
        bounds = accumulate((n // number + (i < n % number) for i in range(number)), initial=0)
        pieces = [
            dataclasses.replace(
                _with_turns(transcript, transcript.turns[begin:end]),
                name=f"{transcript.name} {i}/{number}",
            )
            for i, (begin, end) in enumerate(pairwise(bounds), start=1)
        ]
        if all(map(fits, pieces)):
            return pieces
    for number, turn in enumerate(transcript.turns):
        if not fits(_with_turns(transcript, [turn])):
            raise ValueError(
                f"{transcript.name}: turn {number} of {turn.speaker!r}, counting from 0, does not "
                f"fit even alone: {len(turn.text)} characters, {turn.text[:60]!r}"
            )
    raise AssertionError("pieces of one turn each fit, and were not taken")


def _with_turns(transcript: Transcript, turns: Iterable[Turn]) -> Transcript:
    return dataclasses.replace(transcript, turns=tuple(turns))
