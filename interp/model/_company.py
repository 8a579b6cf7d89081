"""What may share a batch: where company changes what a text gets, and what fills up rows.

Rotary scalings of the types `longrope` and `dynamic` choose their frequencies by the longest row of
a batch, so a short text beside a long one is turned by the long one's. Windows and chunks change
the mask beyond a length; they hold row by row, which the check at load measures.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class Switch:
    """One length of a configuration at which something switches."""

    name: str
    """What switches, as the configuration calls it."""
    length: int
    """The longest text, in tokens, that is still on the near side."""
    by_longest_row: bool
    """Whether a whole batch switches by its longest row."""
    continuous: bool = False
    """Whether beyond it every length computes otherwise."""


def switches(config: Any) -> tuple[Switch, ...]:
    """Every switch of a text model's configuration, shortest first, those beyond its context left
    out."""
    context = getattr(config, "max_position_embeddings", None) or float("inf")
    found = {s for s in (*_rotary(config), *_masks(config)) if s.length < context or s.continuous}
    return tuple(sorted(found, key=lambda switch: (switch.length, switch.name)))


def company(config: Any, n_tokens: int) -> int:
    """Which texts may share a batch with one of so many tokens: those for which this is equal."""
    side = 0
    for switch in switches(config):
        if switch.by_longest_row and n_tokens > switch.length:
            side = n_tokens if switch.continuous else switch.length
    return side


def _rotary(config: Any) -> Iterator[Switch]:
    given = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = [value for value in given.values() if isinstance(value, dict)]
    for scaling in nested if nested and "rope_type" not in given else [given]:
        kind = scaling.get("rope_type", scaling.get("type"))
        first = scaling.get("original_max_position_embeddings") or getattr(
            config, "original_max_position_embeddings", None
        )
        if kind == "longrope" and first:
            yield Switch("rope type longrope", int(first), True)
        if kind == "dynamic":
            length = int(first or config.max_position_embeddings)
            yield Switch("rope type dynamic", length, True, continuous=True)


def _masks(config: Any) -> Iterator[Switch]:
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True):
        yield Switch("sliding_window", int(window), False)
    chunk = getattr(config, "attention_chunk_size", None)
    if chunk:
        yield Switch("attention_chunk_size", int(chunk), False)


def padding_id(model: TransformerBridge) -> int:
    """An id to fill rows up with. The mask hides it, so a tokenizer without a pad token, or with
    one that the model has no embedding for, does as well with any other."""
    own = model.tokenizer.pad_token_id
    rows = model.original_model.get_input_embeddings().weight.shape[0]  # pyright: ignore[reportCallIssue]
    return own if own is not None and own < rows else 0
