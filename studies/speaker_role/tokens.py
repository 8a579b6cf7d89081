"""The tokens: a row of activations for each of them, with who says it and its role.

1. Through a tokenizer's offset mapping every token gets a role, a turn and a speaker
   (`label_tokens`).
2. The residual stream at every labelled token is read once into a store (`labelled_tokens`).
3. The attention patterns of one block show which heads look back at the tags (`attention_to_tags`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from transformer_lens.model_bridge import TransformerBridge

from interp.extract import BatchEdit, Stores, extract
from interp.model import depth_names, residual_stream
from interp.plots import AttentionView, attention_between, can_be_shown
from interp.positions import Aligned, Sample
from interp.report import Block, Figure, Section
from interp.store import Activations, Store
from interp.study import Part, Subject
from studies.speaker_role.data import Conversation, Opening, Sources, talks

DEPTHS = {"quarters": (0, 25, 50, 75, 100), "all": ()}
"""Depths in %; none stands for all."""

SHOWN_TURNS = 8
"""Turns of the attention view: a page can hold the patterns of some 150 tokens."""

STRETCHES = 8
"""Parts into which the turns of an only transcript are cut, to be held out in turn."""

FEWEST_IN_STRETCH = 2
"""Turns of a stretch, so that both speakers may occur in it."""

STRETCH = "stretch of turns"
"""What a group is where all texts are one transcript."""


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


@dataclass(frozen=True)
class Tokens:
    """Every labelled token of all conversations; one row each."""

    store: Store
    """Activations [conversation, slot, d]; a slot is the place of a token among the labelled."""
    depths: tuple[str, ...]
    """Names of the store's hooks."""
    percent: Float[np.ndarray, " depths"]
    """Their depth in % of the blocks; 0 is the embedding, 100 is after the final norm."""
    classes: tuple[str, ...]
    """Names of the speakers."""
    unit: str
    """What a group is: transcript, group, text, or stretch of turns."""
    conversation: Int[np.ndarray, " row"]
    """Number of the conversation."""
    slot: Int[np.ndarray, " row"]
    """Place of the token in the store."""
    role: Shaped[np.ndarray, " row"]
    """Role of the token."""
    speaker: Int[np.ndarray, " row"]
    """Number of the speaker: the label."""
    turn: Int[np.ndarray, " row"]
    """Number of the turn over all conversations: the exchangeable unit."""
    group: Int[np.ndarray, " row"]
    """Number of the transcript, or of the only one's stretch of turns: what folds never split."""
    rotation: Int[np.ndarray, " row"]
    """How often the names were exchanged."""
    type: Int[np.ndarray, " row"]
    """Token id."""

    def read(self, depth: int) -> Float[np.ndarray, "row d"]:
        """Activations of all rows at one depth."""
        return self.store.read(self.store.hooks[depth])[self.conversation, self.slot]

    def blocks(self) -> Iterator[tuple[str, Float[np.ndarray, "row d"]]]:
        """Activations of all rows, one depth at a time."""
        for number, name in enumerate(self.depths):
            yield name, self.read(number)

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(np.unique(self.group))

    @property
    def single(self) -> bool:
        """Whether all texts are one transcript, cut into stretches of turns."""
        return self.unit == STRETCH

    @property
    def units(self) -> str:
        """Groups in words, in the plural."""
        return "stretches of turns" if self.single else f"{self.unit}s"

    @property
    def held_out(self) -> str:
        """What folds hold out, in words."""
        return {
            STRETCH: "stretches of turns of the one transcript held out",
            "transcript": "whole transcripts held out",
            "group": "whole groups of the file held out",
            "text": "single texts held out, as the file names no groups",
        }[self.unit]

    def cells(self) -> dict[str, Int[np.ndarray, " _"]]:
        """Rows of each role, in the order in which roles first occur."""
        _, first = np.unique(self.role, return_index=True)
        roles = self.role[np.sort(first)]
        return {str(role): np.flatnonzero(self.role == role) for role in roles}


def labelled_tokens(subject: Subject, sources: Sources) -> Tokens:
    """Every labelled token of all conversations at the depths that were asked for."""
    depths = DEPTHS[subject.config.blocks]
    return read(subject.model, subject.ask(talks).conversations, depths, stores=subject.stores)


def naive_tokens(subject: Subject, sources: Sources) -> Tokens | None:
    """Tokens of one transcript as it was written; None for texts of a user's own."""
    talk, depths = subject.ask(talks).naive, DEPTHS[subject.config.blocks]
    return None if talk is None else read(subject.model, [talk], depths, stores=subject.stores)


def method(subjects: Sequence[Subject], sources: Sources) -> list[Block]:
    """What was done, in words."""
    name, config, rows = subjects[0].name, subjects[0].config, subjects[0].ask(labelled_tokens)
    dealt = config.arrangement == "random" and rows.unit == "transcript"
    arranged = (
        f"utterances and speakers dealt at random, {config.copies} times each"
        if dealt
        else "as they were written"
    )
    again = ", every text once more with the names exchanged" if rows.rotation.any() else ""
    return [
        f"{rows.n_groups} {rows.units}{' of one transcript' if rows.single else ''} of "
        f"{' and '.join(rows.classes)}, {arranged}{again}: {len(rows.role)} tokens ({name}), each "
        "with a role and a speaker found by character spans. For every depth and role a logistic "
        "regression learns who speaks from some of them and is scored on others. Held against it: "
        "speakers permuted among turns (max-T over the grid), the same probe on the embedding, "
        "labels drawn at random per word, and folds that ignore turns.",
        "The models stand side by side, each at its best cell of a role that does not name the "
        "speaker. Naive: one transcript as written, its commonest role at the last depth, folds "
        "that split turns. Majority: plain accuracy of always answering the commoner speaker.",
    ]


def attention_to_tags(subject: Subject, sources: Sources) -> Part:
    """Which heads look back at the speakers' tags?"""
    texts = subject.ask(talks)
    view = tag_attention(subject.model, texts.naive or texts.conversations[0])
    if view is None:
        return Part()
    caption = (
        f"Attention of the first turns in block {view.block}, which holds the head that looks "
        "most from the last token back to the speakers' tags; heads in the order of that."
    )
    title = f"{subject.name}: attention to the tags"
    return Part(sections=[Section(title, [Figure(view, caption)])])


def read(
    model: TransformerBridge,
    conversations: Sequence[Conversation],
    depths: Sequence[float],
    *,
    stores: Stores,
) -> Tokens:
    """The residual stream at these depths and every labelled token, in a store that a later run
    finds again.

    `depths` are in % of the blocks, 100 being after the final norm; none stands for all.
    """
    stream = residual_stream(model)
    last, names = len(stream) - 1, depth_names(stream)
    asked = {last if p == 100 else round(p / 100 * (last - 1)) for p in depths}
    numbers = sorted(asked or range(last + 1))
    samples, columns = _slots(model, conversations)
    hooks = [stream[number] for number in numbers]
    return Tokens(
        store=stores.extract("speaker_role", model, samples, hooks=hooks),
        depths=tuple(names[number] for number in numbers),
        percent=np.array([100.0 if n == last else 100 * n / (last - 1) for n in numbers]),
        classes=conversations[0].rendered.names,
        unit=STRETCH if _alone(conversations) else conversations[0].unit,
        **columns,
    )


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


def _slots(
    model: TransformerBridge, conversations: Sequence[Conversation]
) -> tuple[list[Sample], dict[str, np.ndarray]]:
    """Samples whose spans are their labelled tokens, by slot, and what is known of each row."""
    encoded = model.tokenizer([talk.text for talk in conversations], return_offsets_mapping=True)
    labelled = []
    for talk, offsets in zip(conversations, encoded["offset_mapping"], strict=True):
        labels = label_tokens(offsets, talk)
        # Not the first token: attention's sink, whose norm of hundreds of times the others' would
        # be the mean of its class.
        labelled.append((labels, 1 + np.flatnonzero(labels.role[1:] != "")))
    width = max(len(places) for _, places in labelled)
    groups = np.unique([_whole(talk.group) for talk in conversations], return_inverse=True)[1]
    stretch = _stretches(conversations) if _alone(conversations) else None
    samples, parts, turns = [], [], 0
    for number, (talk, (labels, places)) in enumerate(zip(conversations, labelled, strict=True)):
        offsets = encoded["offset_mapping"][number]
        # A store's samples have equal positions: a shorter text repeats its last token, unread.
        slots = np.append(places, np.full(width - len(places), places[-1]))
        spans = {f"{slot:05d}": tuple(offsets[place]) for slot, place in enumerate(slots)}
        samples.append(Sample(talk.text, spans))
        n, turn = len(places), labels.turn[places]
        parts.append(
            {
                "conversation": np.full(n, number),
                "slot": np.arange(n),
                "role": labels.role[places],
                "speaker": labels.speaker[places],
                "turn": turns + turn,
                "group": np.full(n, groups[number]) if stretch is None else stretch[number][turn],
                "rotation": np.full(n, talk.rotation),
                "type": np.array(encoded["input_ids"][number])[places],
            }
        )
        turns += len(talk.rendered.turns)
    return samples, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _alone(conversations: Sequence[Conversation]) -> bool:
    """Whether all texts are one transcript, which has no others to be held out from."""
    return (
        len({_whole(talk.group) for talk in conversations}) == 1
        and conversations[0].unit == "transcript"
    )


def _stretches(conversations: Sequence[Conversation]) -> list[Int[np.ndarray, " turn"]]:
    """For every text, the stretch that each turn lies in: neighbours together, and the exchanged
    version of a turn with it."""
    pieces = list(dict.fromkeys(talk.group for talk in conversations))
    length = {talk.group: len(talk.rendered.turns) for talk in conversations}
    before = dict(zip(pieces, np.cumsum([0, *(length[p] for p in pieces)]).tolist(), strict=False))
    total = sum(length.values())
    number = min(STRETCHES, total // FEWEST_IN_STRETCH)
    return [
        (before[talk.group] + np.arange(length[talk.group])) * number // total
        for talk in conversations
    ]


def _whole(name: str) -> str:
    """The transcript that a piece was cut from."""
    return re.sub(r" \d+/\d+$", "", name)


def tag_attention(model: TransformerBridge, talk: Conversation) -> AttentionView | None:
    """Attention patterns of the first turns of a conversation, in the block with the head that
    attends most from the last token back to the tags; None for texts without tags, and for a
    first turn that is too long to be shown."""
    tags = talk.rendered.tags[:SHOWN_TURNS]
    openings = [talk.text[:stop] for _, stop in talk.rendered.turns[: len(tags)]]
    fitting = [opening for opening in openings if can_be_shown(model, opening)]
    if not fitting:
        return None
    text = fitting[-1]
    tags = tags[: len(fitting)]
    encoded = model.tokenizer(text, return_offsets_mapping=True)
    starts, stops = np.array(encoded["offset_mapping"]).T
    tagged = np.any([(starts < end) & (stops > start) for start, end in tags], axis=0)
    tagged[0] = False  # looked at by every head, whatever it says
    return attention_between(model, text, -1, np.flatnonzero(tagged).tolist())


def preference(
    model: TransformerBridge,
    text: Opening,
    names: Sequence[int],
    *,
    edit: BatchEdit | None = None,
    n: int = 1,
    batch_size: int = 1,
) -> Float[np.ndarray, " n"]:
    """Logit of the right name less that of the other, mean over tags, in n copies of a text."""
    tags = Aligned(text.ids[0].tolist(), tuple(text.before[:, None]))
    read = extract(
        model,
        [tags] * n,
        hooks=(),
        batch_size=batch_size,
        edit=edit,
        logits=lambda logits: (logits[..., names[1]] - logits[..., names[0]]).double(),
        progress=False,
    )
    assert isinstance(read, Activations) and read.logits is not None
    return (np.where(text.speaker == 1, 1, -1) * read.logits.numpy()).mean(axis=1)
