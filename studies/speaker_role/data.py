"""From conversations to labelled tokens: who says each of them, and what part it plays.

1. `transcripts` arranges the utterances, and each arrangement is written once under every
   assignment of the names (`conversations`): an utterance is then said by each speaker equally
   often, and no count of words can tell them apart.
2. `rendering` writes a conversation as a text and keeps where each turn stands.
3. Every word gets a role (`roles`), and through a tokenizer's offset mapping every token gets a
   role, a turn and a speaker (`label_tokens`). Only the tag names the speaker.

Texts of a user's own, with spans and labels from a file, give the same records (`from_file`).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import regex
from jaxtyping import Int, Shaped
from transformers import PreTrainedTokenizerFast

from interp.labelled import read_labelled
from interp.positions import LETTER, Span, stretches
from studies.speaker_role.rendering import Rendered, chat, plain
from studies.speaker_role.transcripts import Transcript, exchanged, shuffled

Arrangement = Literal["random", "as_written"]
"""Order and speakers of the utterances: dealt at random, or left as the transcript has them."""

Format = Literal["plain", "chat"]
"""How a conversation is written: lines of `Name: text`, or the tokenizer's chat template."""

ROLES = ("tag", "last", "subject", "verb", "other")
"""Roles of what a conversation holds; a word that fits several has the first."""

PRONOUNS = frozenset((
    "i", "me", "my", "mine", "myself", "you", "your", "yours", "yourself", "yourselves",
    "he", "him", "his", "himself", "she", "her", "hers", "herself", "it", "its", "itself",
    "we", "us", "our", "ours", "ourselves", "they", "them", "their", "theirs", "themselves",
))  # fmt: skip
"""Personal pronouns in all cases, with possessives and reflexives."""

# a contraction is cut before its apostrophe: "I'm" is "I" and "'m", "can't" is "can" and "'t"
_RUN = regex.compile(rf"(?<={LETTER})['’]{LETTER}+|{LETTER}+|(?:(?!{LETTER})\S)+")
_SENTENCE_START = re.compile(r"""(?:^|[.!?…]\W*\s|\s["'“‘«(\[])\W*$""")


@dataclass(frozen=True)
class Design:
    """How conversations are made of transcripts.

    Raises ValueError for an unknown arrangement or format, no copies, or verbs that are no words.
    """

    arrangement: Arrangement = "random"
    """Random parts the speaker from wording, topic and place; as written, these may give the
    speaker away but for the exchange of names."""
    copies: int = 2
    """Random arrangements of each transcript; as written there is one."""
    seed: int = 0
    """Seed of the arrangements."""
    verbs: tuple[str, ...] = ("am", "will", "can", "should", "think", "like", "want")
    """Forms that count as verbs, whatever part of speech they are where they stand."""
    format: Format = "plain"
    """How a conversation is written."""

    def __post_init__(self) -> None:
        for name, valid in (("arrangement", Arrangement), ("format", Format)):
            if getattr(self, name) not in get_args(valid):
                raise ValueError(
                    f"{name} {getattr(self, name)!r}; valid are {', '.join(get_args(valid))}"
                )
        if self.copies < 1:
            raise ValueError(f"copies = {self.copies}; a transcript needs at least 1")
        for verb in self.verbs:
            if not regex.fullmatch(rf"{LETTER}+", verb):
                raise ValueError(f"verb {verb!r} is no single word of letters")

    def renderer(
        self, tokenizer: PreTrainedTokenizerFast | None = None
    ) -> Callable[[Transcript], Rendered]:
        """What writes a transcript in this format.

        Raises:
            ValueError: the chat format without a tokenizer.
        """
        if self.format == "plain":
            return plain
        if tokenizer is None:
            raise ValueError("format 'chat' needs a tokenizer, whose template writes it")
        return lambda transcript: chat(transcript, tokenizer)


@dataclass(frozen=True)
class Conversation:
    """A text that is asked who speaks, or what class it has."""

    rendered: Rendered
    """The text, its turns and their speakers."""
    roles: Mapping[str, tuple[Span, ...]]
    """Characters of each role."""
    group: str
    """Transcript, or the group of a user's text: what no fold may split."""
    copy: int
    """Number of the arrangement, from 0."""
    rotation: int
    """How often the names were exchanged, from 0; with two speakers 0 or 1."""
    unit: str = "transcript"
    """What the group is: a transcript, or of a user's file a group or a single text."""

    @property
    def text(self) -> str:
        """The text, as the tokenizer gets it."""
        return self.rendered.text


@dataclass(frozen=True)
class TokenLabels:
    """What each token of a text is, in the order of the tokens."""

    role: Shaped[np.ndarray, " token"]
    """Role as a string; "" for special tokens, white space, the colon after a tag and whatever
    else is part of neither a tag nor a turn."""
    turn: Int[np.ndarray, " token"]
    """Number of the turn, from 0, of what is said and of its tag; -1 without a role."""
    speaker: Int[np.ndarray, " token"]
    """Number of the turn's speaker; -1 without a role."""


def conversations(
    transcripts: Sequence[Transcript],
    design: Design,
    *,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> list[Conversation]:
    """Every transcript in every arrangement, each under every rotation of the names.

    Raises:
        ValueError: no transcripts, two of one name, speakers that are not the same in all (a class
            must mean one speaker), or what the format refuses.
    """
    _check_transcripts(transcripts)
    render = design.renderer(tokenizer)
    made = []
    for number, transcript in enumerate(transcripts):
        for copy in range(design.copies if design.arrangement == "random" else 1):
            arranged = transcript
            if design.arrangement == "random":
                arranged = shuffled(transcript, np.random.default_rng([design.seed, number, copy]))
            for rotation in range(len(transcript.speakers)):
                rendered = render(arranged)
                found = {k: tuple(v) for k, v in roles(rendered, design.verbs).items()}
                made.append(Conversation(rendered, found, transcript.name, copy, rotation))
                arranged = exchanged(arranged)
    return made


def _check_transcripts(transcripts: Sequence[Transcript]) -> None:
    if not transcripts:
        raise ValueError("no transcripts; at least one is needed")
    name, count = Counter(t.name for t in transcripts).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{count} transcripts are called {name!r}; each is a group of its own")
    first = transcripts[0]
    for other in transcripts[1:]:
        if other.speakers != first.speakers:
            raise ValueError(
                f"{other.name!r} has speakers {', '.join(other.speakers)}, but {first.name!r} has "
                f"{', '.join(first.speakers)}; a probe's classes are the same speakers in all"
            )


def roles(rendered: Rendered, verbs: Sequence[str]) -> dict[str, list[Span]]:
    """Characters of each role; together they are the tags and everything said but white space.

    * `tag`: the name of the speaker, where a turn begins.
    * `last`: the last run of a turn, a word or its final punctuation: there all has been said.
    * `subject`: a person: a personal pronoun or possessive in any case, a name of a speaker inside
      an utterance, or another word with a capital and a small letter that does not begin a
      sentence or a quotation. Nothing else is known of a name, so one that begins a sentence is
      missed, and places and months are taken for persons.
    * `verb`: one of `verbs`, ignoring case, as a whole word; judged by form, so that the noun
      "will" counts.
    * `other`: every other word and run of punctuation.

    Of a contraction, what stands before the apostrophe is a word of its own and the rest is
    `other`: "I'm" holds the subject "I" but not the verb "am", "can't" the verb "can".
    """
    found: dict[str, list[Span]] = {role: [] for role in ROLES}
    found["tag"] = list(rendered.tags)
    wanted = frozenset(verb.casefold() for verb in verbs)
    for begin, end in rendered.turns:
        said = rendered.text[begin:end]
        *before, last = _runs(said, rendered.names, wanted)
        found["last"].append((begin + last[1][0], begin + last[1][1]))
        for role, (start, stop) in before:
            found[role].append((begin + start, begin + stop))
    return found


def _runs(said: str, names: Sequence[str], verbs: frozenset[str]) -> Iterator[tuple[str, Span]]:
    """Role and place of every run of an utterance."""
    called = [
        match.span()
        for name in names
        for match in regex.finditer(rf"(?<!{LETTER}){regex.escape(name)}(?!{LETTER})", said)
    ]
    for match in _RUN.finditer(said):
        word, (start, stop) = match[0], match.span()
        inside = any(begin <= start and stop <= end for begin, end in called)
        person = word[0].isupper() and not word.isupper()
        if (
            word.casefold() in PRONOUNS
            or inside
            or (person and not _SENTENCE_START.search(said[:start]))
        ):
            yield "subject", (start, stop)
        else:
            yield "verb" if word.casefold() in verbs else "other", (start, stop)


def label_tokens(offsets: Sequence[tuple[int, int]], conversation: Conversation) -> TokenLabels:
    """Role, turn and speaker of every token.

    A token belongs to the part of its last character. Of a run that ends a turn only the last
    token that shares a character with it is `last`, even if the token goes on with the line's end,
    as ".\\n" does; those before it are `other`.

    Args:
        offsets: Characters of each token, `(start, stop)`, as the fast tokenizer's offset mapping
            gives them; empty for special tokens.
        conversation: The text, its turns and roles.

    Raises:
        ValueError: the offsets are not of this text, or of one that was cut short.
    """
    rendered = conversation.rendered
    turn_at = np.full(len(rendered.text), -1)
    for spans in (rendered.tags, rendered.turns):
        for number, (start, stop) in enumerate(spans):
            turn_at[start:stop] = number
    role_at = np.full(len(rendered.text), "", dtype=object)
    for role, spans in reversed(list(conversation.roles.items())):  # the first role has precedence
        for start, stop in spans:
            role_at[start:stop] = "other" if role == "last" else role
    starts, stops = np.array(offsets, dtype=np.int64).reshape(-1, 2).T
    if stops.max(initial=0) > len(rendered.text):
        raise ValueError(
            f"a token ends at character {stops.max()} of {len(rendered.text)}; the offsets are "
            "those of another text"
        )
    whole = stops > starts
    role = np.where(whole, role_at[stops - 1], "")
    turn = np.where(whole & (role != ""), turn_at[stops - 1], -1)
    for start, stop in conversation.roles.get("last", ()):
        hits = np.flatnonzero(whole & (starts < stop) & (stops > start))
        if not len(hits):
            raise ValueError(
                f"no token holds characters {start} to {stop}, {rendered.text[start:stop]!r}; "
                "the offsets are those of a text that was cut short"
            )
        role[hits[-1]], turn[hits[-1]] = "last", turn_at[stop - 1]
    speaker = np.where(turn < 0, -1, np.append(rendered.speakers, -1)[turn])
    return TokenLabels(role.astype(str), turn, speaker)


def from_file(path: Path | str, *, group_near_copies: bool = False) -> list[Conversation]:
    """A user's texts from a CSV or JSONL file, as `interp.labelled` describes it.

    Each text is one turn, its label is the speaker, the names of its spans are the roles (where two
    overlap, the first counts; a span called `last` is read at its last token, as that of a turn
    is), and its group is the group.

    Raises:
        ValueError: fewer than two labels, or what `read_labelled` refuses.
    """
    read = read_labelled(path, group_near_copies=group_near_copies)
    names, numbers = np.unique(read.labels, return_inverse=True)
    classes = tuple(f"{name:g}" if names.dtype == np.float64 else str(name) for name in names)
    if len(classes) < 2:
        raise ValueError(f"{path}: every label is {names[0]}; a probe needs at least two")
    return [
        Conversation(
            Rendered(s.text, classes, (), ((0, len(s.text)),), (int(number),)),
            {role: stretches(spans) for role, spans in s.spans.items()},
            str(group),
            0,
            0,
            "group" if read.grouped else "text",
        )
        for s, number, group in zip(read.samples, numbers, read.groups, strict=True)
    ]
