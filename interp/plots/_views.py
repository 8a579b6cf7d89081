"""Attention patterns as an interactive view, drawn by circuitsvis without the network."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol, runtime_checkable
from uuid import uuid4

import numpy as np
import torch
from jaxtyping import Float
from jinja2.utils import htmlsafe_json_dumps

MAX_TOKENS = 256
"""Longest text shown, since each head puts tokens x tokens numbers into the page."""


@runtime_checkable
class AttendingModel(Protocol):
    """What `attention` needs of a TransformerBridge."""

    cfg: Any
    tokenizer: Any

    def run_with_cache(self, *args: Any, **kwargs: Any) -> Any:
        """The forward pass, with the named hooks' tensors kept."""
        ...


@dataclass(frozen=True)
class AttentionView:
    """Attention patterns of one block; shows itself in a notebook, and in a report."""

    tokens: tuple[str, ...]
    """Decoded text of each token."""
    attention: Float[np.ndarray, "heads destination source"]
    """Probability with which each destination token reads each source token."""
    heads: tuple[str, ...]
    """Name of each head, "block.head"."""
    block: int
    """Block the patterns were read from."""

    @property
    def element(self) -> str:
        """The circuitsvis component that draws it."""
        return "AttentionHeads"

    @property
    def props(self) -> dict[str, Any]:
        """The component's properties; probabilities to four digits, more than a colour can show."""
        return {
            "attention": np.round(self.attention.astype(np.float64), 4).tolist(),
            "tokens": list(self.tokens),
            "attentionHeadNames": list(self.heads),
        }

    def _repr_html_(self) -> str:
        # circuitsvis' own representation asks the network first, and loads from a CDN if it can.
        script = (files("circuitsvis") / "dist" / "cdn" / "iife.js").read_text(encoding="utf-8")
        # The library holds a literal closing tag, which would end the script in mid-string.
        script = script.replace("</script", "<\\/script")
        name = f"attention-{uuid4().hex[:12]}"
        return (
            f'<div id="{name}"></div><script>{script}\n'
            f'CircuitsVis.render("{name}", CircuitsVis.{self.element}, '
            f"{htmlsafe_json_dumps(self.props)})</script>"
        )


def attention(
    model: AttendingModel, text: str, block: int, *, heads: Sequence[int] | None = None
) -> AttentionView:
    """Attention patterns of one block over `text`, for a model of any family.

    The text is tokenized by the model's own tokenizer with its own defaults (BOS included where the
    family has one). `heads` picks heads by number, all by default. Raises ValueError for a block or
    a head out of range, and for a text of more than 256 tokens.
    """
    _check_range("block", [block], model.cfg.n_layers)
    chosen = list(range(model.cfg.n_heads)) if heads is None else list(heads)
    _check_range("head", chosen, model.cfg.n_heads)
    tokens, patterns = _patterns(model, text, [block])
    return _view(tokens, patterns[0], block, chosen)


def attention_between(
    model: AttendingModel, text: str, query: int, keys: Sequence[int]
) -> AttentionView:
    """Attention patterns of the block with the head that attends most from one token to others,
    heads in the order of that attention.

    Args:
        model: The model.
        text: The text, tokenized as `attention` does.
        query: The token that attends, from 0, or from -1 at the end.
        keys: The tokens attended to, whose shares are added up.

    Raises:
        ValueError: no keys, a token out of range, or a text of more than 256 tokens.
    """
    tokens, patterns = _patterns(model, text, range(model.cfg.n_layers))
    if not len(keys):
        raise ValueError("keys is empty: there is no token to attend to")
    from_start = query + len(tokens) if query < 0 else query
    _check_range("token", [from_start, *keys], len(tokens), owner="the text")
    attended = torch.stack([of[:, query][:, list(keys)].sum(dim=1) for of in patterns])
    block = int(attended.max(dim=1).values.argmax())
    order = attended[block].argsort(descending=True).tolist()
    return _view(tokens, patterns[block], block, order)


def can_be_shown(model: AttendingModel, text: str) -> bool:
    """Whether a text is short enough for `attention` and `attention_between`."""
    return _encoded(model, text)["input_ids"].shape[1] <= MAX_TOKENS


def _encoded(model: AttendingModel, text: str) -> Any:
    bos = model.tokenizer.bos_token
    special = not (bos and text.startswith(bos))  # a rendered chat brings its own
    return model.tokenizer(text, return_tensors="pt", add_special_tokens=special)


def _patterns(
    model: AttendingModel, text: str, blocks: Sequence[int]
) -> tuple[tuple[str, ...], list[Float[torch.Tensor, "head query key"]]]:
    """Tokens of a text, and the pattern of each block."""
    encoded = _encoded(model, text)
    ids = encoded["input_ids"]
    if ids.shape[1] > MAX_TOKENS:
        raise ValueError(f"the text has {ids.shape[1]} tokens; at most {MAX_TOKENS} can be shown")
    hooks = [f"blocks.{block}.attn.hook_pattern" for block in blocks]
    with torch.no_grad():
        _, cache = model.run_with_cache(
            ids.to(model.cfg.device),
            attention_mask=encoded["attention_mask"].to(model.cfg.device),
            names_filter=hooks,
            output_attentions=False,
            use_cache=False,
        )
    tokens = tuple(model.tokenizer.decode([token]) for token in ids[0].tolist())
    return tokens, [cache[hook][0].float().cpu() for hook in hooks]


def _view(
    tokens: tuple[str, ...],
    pattern: Float[torch.Tensor, "head query key"],
    block: int,
    heads: list[int],
) -> AttentionView:
    names = tuple(f"{block}.{head}" for head in heads)
    return AttentionView(tokens, pattern[heads].numpy(), names, block)


def _check_range(
    noun: str, numbers: Sequence[int], count: int, *, owner: str = "the model"
) -> None:
    for number in numbers:
        if not 0 <= number < count:
            raise ValueError(f"{noun} {number} is out of range: {owner} has 0 to {count - 1}")
