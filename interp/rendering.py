"""A transcript as the text that a model reads, and where in it each turn stands.

rendered = chat(transcript, model.tokenizer)       # or plain(transcript): lines of "Name: text"
[rendered.text[slice(*turn)] for turn in rendered.turns]
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import regex
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from interp.positions import LETTER, Span
from interp.transcripts import Transcript

CHAT_ROLES = ("user", "assistant")
"""Roles that a chat template knows, of the first speaker and the second."""


@dataclass(frozen=True)
class Rendered:
    """A text and its turns."""

    text: str
    """The text, as the tokenizer gets it."""
    names: tuple[str, ...]
    """The classes by number: names of the speakers, sorted."""
    tags: tuple[Span, ...]
    """For each turn, the characters that name its speaker."""
    turns: tuple[Span, ...]
    """For each turn, the characters that are said."""
    speakers: tuple[int, ...]
    """For each turn, the number of its speaker."""


@dataclass(frozen=True)
class _Header:
    word: str
    """Names the role."""
    rest: str
    """What stands between the word and the message."""


def plain(transcript: Transcript) -> Rendered:
    """Lines of `Name: text`; a tag is the name."""
    text, tags, turns = "", [], []
    for turn in transcript.turns:
        tags.append((len(text), len(text) + len(turn.speaker)))
        text += f"{turn.speaker}: "
        turns.append((len(text), len(text) + len(turn.text)))
        text += f"{turn.text}\n"
    return Rendered(text, transcript.speakers, tuple(tags), tuple(turns), _numbers(transcript))


def chat(transcript: Transcript, tokenizer: PreTrainedTokenizerFast) -> Rendered:
    """One message a turn through the tokenizer's chat template.

    The first of the sorted speakers is the user and the second the assistant, and neither is
    called by name; a tag is the word by which the template names the role. A BOS token that both
    the template writes and the tokenizer adds is left to the tokenizer.

    Raises:
        ValueError: not two speakers, no chat template, one that refuses messages (many demand
            that roles alternate, which a random order does not), one that changes what is said,
            or one that does not name the roles.
    """
    if len(transcript.speakers) != len(CHAT_ROLES):
        raise ValueError(
            f"{transcript.name}: {len(transcript.speakers)} speakers, but a chat has two, "
            f"{' and '.join(CHAT_ROLES)}; use the plain format"
        )
    numbers = _numbers(transcript)
    contents = [turn.text for turn in transcript.turns]
    headers = _headers(tokenizer)
    text = _templated(tokenizer, numbers, contents)
    tags, turns = _places(text, contents, [headers[number] for number in numbers])
    return Rendered(text, transcript.speakers, tags, turns, numbers)


def renderer(
    form: str, tokenizer: PreTrainedTokenizerFast | None = None
) -> Callable[[Transcript], Rendered]:
    """What writes a transcript in plain lines, or through the tokenizer's chat template.

    Raises:
        ValueError: the chat format without a tokenizer.
    """
    if form == "plain":
        return plain
    if tokenizer is None:
        raise ValueError("format 'chat' needs a tokenizer, whose template writes it")
    return lambda transcript: chat(transcript, tokenizer)


def _numbers(transcript: Transcript) -> tuple[int, ...]:
    return tuple(transcript.speakers.index(turn.speaker) for turn in transcript.turns)


def _templated(
    tokenizer: PreTrainedTokenizerFast, numbers: Sequence[int], contents: Sequence[str]
) -> str:
    if tokenizer.chat_template is None:
        raise ValueError("the tokenizer has no chat template; use the plain format")
    messages = [
        {"role": CHAT_ROLES[number], "content": content}
        for number, content in zip(numbers, contents, strict=True)
    ]
    try:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False))
    except TemplateError as error:
        raise ValueError(
            f"the chat template refuses one message a turn ({error}); where it demands that roles "
            "alternate, use the plain format"
        ) from error
    bos = tokenizer.bos_token
    added = bos is not None and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
    return text.removeprefix(str(bos)) if added else text


def _headers(tokenizer: PreTrainedTokenizerFast) -> tuple[_Header, _Header]:
    """How the template opens a message of the user, and one of the assistant.

    What stands between two messages closes one and opens the next. Read backwards from a message,
    the first word that is not the same for both roles names the role (Gemma's word for the
    assistant is "model"). A user comes last, because some templates open the answer after the last
    question in another way.
    """
    contents = ("First message.", "Second message.", "Third message.")
    text = _templated(tokenizer, (0, 1, 0), contents)
    _, (first, second, third) = _places(text, contents, [_Header("", "")] * 3)
    before_assistant, before_user = text[first[1] : second[0]], text[second[1] : third[0]]
    pairs = zip(_words_back(before_user), _words_back(before_assistant), strict=False)
    for user, assistant in pairs:
        if user[0] != assistant[0]:
            return (
                _Header(user[0], before_user[user.end() :]),
                _Header(assistant[0], before_assistant[assistant.end() :]),
            )
    raise ValueError("the chat template does not name the roles; use the plain format")


def _words_back(text: str) -> list[regex.Match[str]]:
    return list(regex.finditer(rf"{LETTER}+", text))[::-1]


def _places(
    text: str, contents: Sequence[str], headers: Sequence[_Header]
) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Where the role's word and the content of each message stand."""
    tags, turns, end = [], [], 0
    for number, (content, header) in enumerate(zip(contents, headers, strict=True)):
        # the header first: a short message may occur in it, or in a system prompt before it
        tag = text.find(header.word + header.rest, end)
        start = text.find(content, tag + len(header.word + header.rest))
        if tag < 0 or start < 0:
            raise ValueError(
                f"the chat template does not give message {number}, counting from 0, as it is, "
                f"after {header.word!r}: {content[:60]!r}; use the plain format"
            )
        end = start + len(content)
        tags.append((tag, tag + len(header.word)))
        turns.append((start, end))
    return tuple(tags), tuple(turns)
