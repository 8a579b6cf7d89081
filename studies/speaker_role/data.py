"""The texts: transcripts dealt anew and exchanged, and what part every word of them plays.

1. `texts` reads transcripts, or a user's own texts with spans and labels (`from_file`).
2. For a model, transcripts are cut to its context (`talks`). Each arrangement is written once under
   every assignment of the names (`conversations`). An utterance is then said by each speaker
   equally often, and no count of words can tell them apart.
3. Every word gets a role (`roles`). Only the tag names the speaker.
4. The first turns of each transcript are cut before a tag, to ask who comes next (`openings`).

The transcripts that come with the study are synthetic: written for it, remarks on one everyday
topic each, every one of which either person could make.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import regex
import torch
from jaxtyping import Int
from transformers import PreTrainedTokenizerFast

from interp.duplicates import equal_texts
from interp.labelled import read_labelled
from interp.positions import LETTER, Sample, Span, fingerprint, stretches
from interp.rendering import Rendered, plain, renderer
from interp.study import Subject
from interp.transcripts import (
    Transcript,
    exchanged,
    parse_transcript,
    read_transcript,
    shuffled,
    split,
)

ROLES = ("tag", "last", "subject", "verb", "other")
"""Roles of what a conversation holds; a word that fits several has the first."""

PRONOUNS = frozenset(
    re.findall(
        r"\w+",
        "i me my mine myself you your yours yourself yourselves he him his himself she her hers "
        "herself it its itself we us our ours ourselves they them their theirs themselves",
    )
)
"""Personal pronouns in all cases, with possessives and reflexives."""

SKIPPED, TURNS = 4, 6
"""Turns at the start of an opening whose tags are not asked for, since a reader does not know yet
who takes part and in which order; and turns in all, since every direction costs a run."""

# a contraction is cut before its apostrophe: "I'm" is "I" and "'m", "can't" is "can" and "'t"
_RUN = regex.compile(rf"(?<={LETTER})['’]{LETTER}+|{LETTER}+|(?:(?!{LETTER})\S)+")
_SENTENCE_START = re.compile(r"""(?:^|[.!?…]\W*\s|\s["'“‘«(\[])\W*$""")


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
class Sources:
    """What conversations are made of: transcripts, or a user's own texts."""

    transcripts: tuple[Transcript, ...] = ()
    """Transcripts of the same speakers."""
    own: tuple[Conversation, ...] = ()
    """A user's texts, in place of transcripts."""

    @property
    def changes(self) -> float:
        """Turns of all transcripts that change the speaker, in %."""
        turns = [pairwise(transcript.turns) for transcript in self.transcripts]
        changes = [a.speaker != b.speaker for pairs in turns for a, b in pairs]
        return 100 * float(np.mean(changes))

    def fingerprint(self) -> str:
        """SHA-256 of texts, turns, speakers, roles and groups."""
        return hashlib.sha256(ascii((self.transcripts, self.own)).encode()).hexdigest()

    def describe(self) -> str:
        """The number of transcripts or texts."""
        noun = "transcript" if self.transcripts else "text"
        number = len(self.transcripts or self.own)
        return f"{number} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Talks:
    """What one model reads."""

    conversations: list[Conversation]
    """All conversations, in every arrangement."""
    naive: Conversation | None
    """One transcript as it was written; None for texts of a user's own."""


@dataclass(frozen=True)
class Opening:
    """The first turns of a transcript, up to a tag."""

    ids: Int[torch.Tensor, "1 token"]
    """Token ids."""
    before: Int[np.ndarray, " tag"]
    """Position of the token before each tag that is asked for."""
    speaker: Int[np.ndarray, " tag"]
    """Number of the speaker whom that tag names, 0 or 1."""
    names: frozenset[tuple[int, int]]
    """(speaker, id of the first token of the tag) of every tag."""
    group: int
    """Number of the transcript."""


def texts(config: Any) -> Sources:
    """What a study's options ask for, refused where no model could be asked about it.

    Raises:
        ValueError: speakers that differ between transcripts, two equal transcripts, or what reading
            them refuses.
    """
    if config.data is not None:
        own = from_file(config.data, group_near_copies=config.group_near_copies)
        return Sources(own=tuple(own))
    transcripts = tuple(map(read_transcript, config.transcript)) or shipped()
    conversations(transcripts, replace(config, arrangement="as_written", format="plain"))
    spoken = [" ".join(turn.text for turn in transcript.turns) for transcript in transcripts]
    for copy, first in equal_texts(spoken).copies[:1]:
        raise ValueError(
            f"transcripts {transcripts[first].name!r} and {transcripts[copy].name!r} are equal; a "
            "copy is no second transcript"
        )
    return Sources(transcripts)


def shipped() -> tuple[Transcript, ...]:
    """The study's own synthetic transcripts, by name."""
    folder = resources.files("studies.speaker_role").joinpath("transcripts")
    files = {f.name.removesuffix(".txt"): f for f in folder.iterdir() if f.name.endswith(".txt")}
    return tuple(
        parse_transcript(files[name].read_text(encoding="utf-8"), source=name)
        for name in sorted(files)
    )


def talks(subject: Subject, sources: Sources) -> Talks:
    """The conversations, cut where they exceed the model's context, and one transcript as written.

    Raises:
        ValueError: a turn that exceeds the context by itself, or a chat template that refuses.
    """
    if sources.own:
        written = Talks(list(sources.own), None)
    else:
        written = _cut(subject.model, sources.transcripts, subject.config)
    samples = [Sample(talk.text, {}) for talk in written.conversations]
    subject.record(f"texts {subject.name}", fingerprint(samples))
    return written


def _cut(model: Any, transcripts: Sequence[Transcript], config: Any) -> Talks:
    tokenizer, as_written = model.tokenizer, replace(config, arrangement="as_written")
    render = renderer(config.format, tokenizer)

    def fits(transcript: Transcript) -> bool:
        # Dealt anew or with names exchanged a text has a few tokens more or less.
        variants = [render(variant).text for variant in (transcript, exchanged(transcript))]
        return max(map(len, tokenizer(variants)["input_ids"])) <= 0.98 * model.cfg.n_ctx

    pieces = [piece for transcript in transcripts for piece in split(transcript, fits)]
    # arrangements of one transcript are no further ones, and would mix up its stretches
    arranged = as_written if len(transcripts) == 1 else config
    return Talks(
        conversations(pieces, arranged, tokenizer=tokenizer),
        conversations(pieces[:1], as_written, tokenizer=tokenizer)[0],
    )


def conversations(
    transcripts: Sequence[Transcript],
    config: Any,
    *,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> list[Conversation]:
    """Every transcript in every arrangement, each under every rotation of the names.

    The study's options give arrangement, copies, seed, verbs and format.

    Raises:
        ValueError: no transcripts, two of one name, speakers that are not the same in all (a class
            must mean one speaker), verbs that are no words, or what the format refuses.
    """
    _check_transcripts(transcripts)
    for verb in config.verbs:
        if not regex.fullmatch(rf"{LETTER}+", verb):
            raise ValueError(f"verb {verb!r} is no single word of letters")
    render, random = renderer(config.format, tokenizer), config.arrangement == "random"
    written = []
    for number, transcript in enumerate(transcripts):
        for copy in range(config.copies if random else 1):
            arranged = transcript
            if random:
                arranged = shuffled(transcript, np.random.default_rng([config.seed, number, copy]))
            for rotation in range(len(transcript.speakers)):
                rendered = render(arranged)
                spans = {k: tuple(v) for k, v in roles(rendered, config.verbs).items()}
                written.append(Conversation(rendered, spans, transcript.name, copy, rotation))
                arranged = exchanged(arranged)
    return written


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
    spans: dict[str, list[Span]] = {role: [] for role in ROLES}
    spans["tag"] = list(rendered.tags)
    wanted = frozenset(verb.casefold() for verb in verbs)
    for begin, end in rendered.turns:
        utterance = rendered.text[begin:end]
        *before, last = _runs(utterance, rendered.names, wanted)
        spans["last"].append((begin + last[1][0], begin + last[1][1]))
        for role, (start, stop) in before:
            spans[role].append((begin + start, begin + stop))
    return spans


def _runs(
    utterance: str, names: Sequence[str], verbs: frozenset[str]
) -> Iterator[tuple[str, Span]]:
    """Role and place of every run of an utterance."""
    called = [
        match.span()
        for name in names
        for match in regex.finditer(rf"(?<!{LETTER}){regex.escape(name)}(?!{LETTER})", utterance)
    ]
    for match in _RUN.finditer(utterance):
        word, (start, stop) = match[0], match.span()
        inside = any(begin <= start and stop <= end for begin, end in called)
        person = word[0].isupper() and not word.isupper()
        if (
            word.casefold() in PRONOUNS
            or inside
            or (person and not _SENTENCE_START.search(utterance[:start]))
        ):
            yield "subject", (start, stop)
        else:
            yield "verb" if word.casefold() in verbs else "other", (start, stop)


def openings(subject: Subject, sources: Sources) -> list[Opening]:
    """The first turns of every transcript that goes on after the skipped ones; none as a chat."""
    transcripts = sources.transcripts if subject.config.format == "plain" else ()
    return opened(subject.model, transcripts)


def opened(model: Any, transcripts: Sequence[Transcript]) -> list[Opening]:
    """The first turns of transcripts, with a model's tokens."""
    texts = []
    # sorted: by these numbers the study knows transcripts
    for number, transcript in enumerate(sorted(transcripts, key=lambda t: t.name)):
        turns = transcript.turns[:TURNS]
        if len(turns) <= SKIPPED:
            continue
        talk = plain(replace(transcript, turns=turns))
        encoded = model.tokenizer(talk.text, return_offsets_mapping=True)
        starts, stops = np.array(encoded["offset_mapping"]).T
        first = [np.flatnonzero((starts <= tag) & (tag < stops))[0] for tag, _ in talk.tags]
        ids, speaker, places = encoded["input_ids"], np.array(talk.speakers), np.array(first)
        texts.append(
            Opening(
                ids=torch.tensor([ids[: places[-1]]]),
                before=places[SKIPPED:] - 1,
                speaker=speaker[SKIPPED:],
                names=frozenset((int(s), ids[t]) for s, t in zip(speaker, places, strict=True)),
                group=number,
            )
        )
    return texts


def first_tokens(texts: Sequence[Opening]) -> dict[int, set[int]]:
    """First tokens by which each speaker is named."""
    pairs = {pair for text in texts for pair in text.names}
    return {speaker: {token for s, token in pairs if s == speaker} for speaker, _ in pairs}


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
