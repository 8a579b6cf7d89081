"""From conversations to a row of activations for every token, with who says it and its role."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from transformer_lens.model_bridge import TransformerBridge

from interp.extract import Stores
from interp.model import depth_names, residual_stream
from interp.plots import AttentionView, attention_between
from interp.positions import Sample
from interp.store import Store
from studies.speaker_role.data import Conversation, label_tokens

SHOWN_TURNS = 8
"""Turns of the attention view: a page can hold the patterns of some 150 tokens."""


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

    def cells(self, among: Bool[np.ndarray, " row"] | None = None) -> dict[str, np.ndarray]:
        """Rows of each role, in the order in which roles first occur."""
        kept = np.ones(len(self.role), dtype=bool) if among is None else among
        _, first = np.unique(self.role, return_index=True)
        return {
            str(role): np.flatnonzero((self.role == role) & kept)
            for role in self.role[np.sort(first)]
        }


STRETCHES = 8
"""Parts into which the turns of an only transcript are cut, to be held out in turn."""

FEWEST_IN_STRETCH = 2
"""Turns of a stretch, so that both speakers may occur in it."""


def read(
    model: TransformerBridge,
    talks: Sequence[Conversation],
    *,
    depths: Sequence[float],
    stores: Stores,
) -> Tokens:
    """The residual stream at these depths (in %, all of them if there are none) and every labelled
    token, in a store that a later run finds again."""
    stream = residual_stream(model)
    last = len(stream) - 1
    rows = sorted({last if p == 100 else round(p / 100 * (last - 1)) for p in depths} or range(last + 1))  # fmt: skip # noqa: E501
    samples, columns = _slots(model, talks)
    hooks = [stream[row] for row in rows]
    store = stores.extract("speaker_role", model, samples, hooks=hooks)
    percent = np.array([100.0 if row == last else 100 * row / (last - 1) for row in rows])
    classes = talks[0].rendered.names
    unit = "stretch of turns" if _alone(talks) else talks[0].unit
    return Tokens(store, depth_names(hooks), percent, classes, unit, **columns)


def _slots(
    model: TransformerBridge, talks: Sequence[Conversation]
) -> tuple[list[Sample], dict[str, np.ndarray]]:
    """Samples whose spans are their labelled tokens, by slot, and what is known of each row."""
    encoded = model.tokenizer([talk.text for talk in talks], return_offsets_mapping=True)
    found = []
    for talk, offsets in zip(talks, encoded["offset_mapping"], strict=True):
        labels = label_tokens(offsets, talk)
        # Not the first token: attention's sink, whose norm of hundreds of times the others' would
        # be the mean of its class.
        found.append((labels, 1 + np.flatnonzero(labels.role[1:] != "")))
    width = max(len(kept) for _, kept in found)
    groups = np.unique([_whole(talk.group) for talk in talks], return_inverse=True)[1]
    stretch = _stretches(talks) if _alone(talks) else None
    samples, parts, turns = [], [], 0
    for number, (talk, (labels, kept)) in enumerate(zip(talks, found, strict=True)):
        offsets = encoded["offset_mapping"][number]
        # A store's samples have equal positions: a shorter text repeats its last token, unread.
        places = np.append(kept, np.full(width - len(kept), kept[-1]))
        spans = {f"{slot:05d}": tuple(offsets[place]) for slot, place in enumerate(places)}
        samples.append(Sample(talk.text, spans))
        n = len(kept)
        parts.append(
            {
                "conversation": np.full(n, number),
                "slot": np.arange(n),
                "role": labels.role[kept],
                "speaker": labels.speaker[kept],
                "turn": turns + labels.turn[kept],
                "group": (
                    np.full(n, groups[number])
                    if stretch is None
                    else stretch[number][labels.turn[kept]]
                ),
                "rotation": np.full(n, talk.rotation),
                "type": np.array(encoded["input_ids"][number])[kept],
            }
        )
        turns += len(talk.rendered.turns)
    return samples, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _alone(talks: Sequence[Conversation]) -> bool:
    """Whether all texts are one transcript, which has no others to be held out from."""
    return len({_whole(talk.group) for talk in talks}) == 1 and talks[0].unit == "transcript"


def _stretches(talks: Sequence[Conversation]) -> list[Int[np.ndarray, " turn"]]:
    """For every text, the stretch that each turn lies in: neighbours together, and the exchanged
    version of a turn with it."""
    pieces = list(dict.fromkeys(talk.group for talk in talks))
    length = {talk.group: len(talk.rendered.turns) for talk in talks}
    before = dict(zip(pieces, np.cumsum([0, *(length[p] for p in pieces)]).tolist(), strict=False))
    total = sum(length.values())
    number = min(STRETCHES, total // FEWEST_IN_STRETCH)
    return [
        (before[talk.group] + np.arange(length[talk.group])) * number // total for talk in talks
    ]


def _whole(name: str) -> str:
    """The transcript that a piece was cut from."""
    return re.sub(r" \d+/\d+$", "", name)


def tag_attention(model: TransformerBridge, talk: Conversation) -> AttentionView | None:
    """Attention patterns of the first turns of a conversation, in the block with the head that
    attends most from the last token back to the tags; None for texts without tags."""
    turns = talk.rendered.turns[:SHOWN_TURNS]
    tags = talk.rendered.tags[: len(turns)]
    if not tags:
        return None
    text = talk.text[: turns[-1][1]]
    encoded = model.tokenizer(text, return_offsets_mapping=True)
    starts, stops = np.array(encoded["offset_mapping"]).T
    tagged = np.array([any(a < e and b > s for s, e in tags) for a, b in zip(starts, stops, strict=True)])  # fmt: skip # noqa: E501
    tagged[0] = False  # looked at by every head, whatever it says
    return attention_between(model, text, -1, np.flatnonzero(tagged).tolist())
