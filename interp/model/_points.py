"""Hook points: one vocabulary, HookedTransformer's, with one meaning per name in every family.

`points(model)` does not look names up in a table of families: it runs the model once and reports
which names are there, which fire, and which wait behind a switch, because a hook on a name that
never fires is accepted without a word by TransformerLens.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class Point:
    """One hook point of the vocabulary. Calling it gives the name: `resid_post(5)`."""

    name: str
    """The hook name, with `{block}` in place of the block's number where there is one per block."""
    axes: str
    """What the axes of the tensor are."""
    meaning: str
    """What the tensor holds, in the same words for every family."""
    switch: str | None = None
    """The `set_use_*` method without which the point does not fire."""

    @property
    def per_block(self) -> bool:
        """Whether every block has this point."""
        return "{block}" in self.name

    def __call__(self, block: int | None = None) -> str:
        """The hook name at a block (0-based), or of a point that the model has once.

        Raises:
            ValueError: a block where there is none to choose, none where there is, or a negative.
        """
        if self.per_block != (block is not None):
            wanted = "needs a block" if self.per_block else "is not per block"
            raise ValueError(f"{self.name} {wanted}; got block={block}")
        if block is not None and block < 0:
            raise ValueError(f"block {block} is negative; blocks count from 0 at the embedding")
        return self.name.format(block=block)


_STREAM = "batch position d_model"
_HEADS = "batch position head d_head"
_KV_HEADS = "batch position kv_head d_head"
_BY_HEAD = "batch head position d_head"
_BY_KV_HEAD = "batch kv_head position d_head"
_PAIRS = "batch head query key"

embed = Point("hook_embed", _STREAM, "token embeddings as they enter block 0 (Gemma: times sqrt d)")
pos_embed = Point("hook_pos_embed", _STREAM, "learned position embeddings")
resid_pre = Point("blocks.{block}.hook_resid_pre", _STREAM, "residual stream entering the block")
resid_mid = Point("blocks.{block}.hook_resid_mid", _STREAM, "residual stream after attention")
resid_post = Point("blocks.{block}.hook_resid_post", _STREAM, "residual stream leaving the block")
attn_out = Point(
    "blocks.{block}.hook_attn_out",
    _STREAM,
    "what attention adds to the residual stream (Gemma: after the post-norm)",
)
mlp_out = Point(
    "blocks.{block}.hook_mlp_out",
    _STREAM,
    "what the MLP adds to the residual stream (Gemma: after the post-norm)",
)
attn_module_out = Point(
    "blocks.{block}.attn.hook_out", _STREAM, "attention's own output, before any post-norm"
)
mlp_module_out = Point(
    "blocks.{block}.mlp.hook_out", _STREAM, "the MLP's own output, before any post-norm"
)
q = Point("blocks.{block}.attn.hook_q", _HEADS, "queries before QK-norm and rotation")
k = Point("blocks.{block}.attn.hook_k", _KV_HEADS, "keys before QK-norm and rotation")
v = Point("blocks.{block}.attn.hook_v", _KV_HEADS, "values")
q_normed = Point("blocks.{block}.attn.hook_q_normed", _BY_HEAD, "queries after QK-norm")
k_normed = Point("blocks.{block}.attn.hook_k_normed", _BY_KV_HEAD, "keys after QK-norm")
rot_q = Point("blocks.{block}.attn.hook_rot_q", _HEADS, "rotated queries")
rot_k = Point("blocks.{block}.attn.hook_rot_k", _KV_HEADS, "rotated keys")
attn_scores = Point(
    "blocks.{block}.attn.hook_attn_scores",
    _PAIRS,
    "attention logits, masked pairs at the dtype's minimum",
)
pattern = Point("blocks.{block}.attn.hook_pattern", _PAIRS, "attention probabilities")
z = Point("blocks.{block}.attn.hook_z", _HEADS, "values mixed by the pattern, before W_O")
mlp_pre = Point("blocks.{block}.mlp.hook_pre", "batch position d_mlp", "MLP gate or pre-activation")
mlp_post = Point(
    "blocks.{block}.mlp.hook_post", "batch position d_mlp", "MLP neurons, before W_out"
)
final_norm = Point("ln_final.hook_out", _STREAM, "output of the final norm, which W_U reads")
result = Point(
    "blocks.{block}.attn.hook_result",
    "batch position head d_model",
    "each head's part of attention's own output",
    "set_use_attn_result",
)
q_input = Point(
    "blocks.{block}.hook_q_input",
    "batch position head d_model",
    "residual stream as each head's queries read it",
    "set_use_split_qkv_input",
)
k_input = Point(
    "blocks.{block}.hook_k_input",
    "batch position kv_head d_model",
    "residual stream as each head's keys read it",
    "set_use_split_qkv_input",
)
v_input = Point(
    "blocks.{block}.hook_v_input",
    "batch position kv_head d_model",
    "residual stream as each head's values read it",
    "set_use_split_qkv_input",
)
attn_in = Point(
    "blocks.{block}.hook_attn_in",
    "batch position head d_model",
    "residual stream as each head reads it",
    "set_use_attn_in",
)
mlp_in = Point(
    "blocks.{block}.hook_mlp_in",
    _STREAM,
    "residual stream as the MLP reads it",
    "set_use_hook_mlp_in",
)

VOCABULARY: tuple[Point, ...] = tuple(p for p in list(globals().values()) if isinstance(p, Point))
"""Every point of the vocabulary, in the order of the forward pass's description above."""


@dataclass(frozen=True)
class PointStatus:
    """Whether a point of the vocabulary can be read from a given model."""

    point: Point
    """The point."""
    status: Literal["fires", "behind a switch", "never fires", "absent"]
    """`never fires`: listed by the model, but no forward pass reaches it (`hook_pos_embed` in
    models with rotary positions)."""

    def __str__(self) -> str:
        note = (
            f" (call model.{self.point.switch}(True))" if self.status == "behind a switch" else ""
        )
        return (
            f"{self.point.name:<38} {self.status + note:<15} [{self.point.axes}] "
            f"{self.point.meaning}"
        )


def points(model: TransformerBridge) -> tuple[PointStatus, ...]:
    """Which points of the vocabulary this model has, found by running one token through it."""
    names = [p(0) if p.per_block else p() for p in VOCABULARY]
    fired = _fired(model, [n for n in names if n in model.hook_dict])
    return tuple(
        PointStatus(point, _status(model, point, name, fired))
        for point, name in zip(VOCABULARY, names, strict=True)
    )


def _status(
    model: TransformerBridge, point: Point, name: str, fired: set[str]
) -> Literal["fires", "behind a switch", "never fires", "absent"]:
    if name in fired:
        return "fires"
    if name not in model.hook_dict:
        return "absent"
    return "behind a switch" if point.switch else "never fires"


def _fired(model: TransformerBridge, names: list[str]) -> set[str]:
    ids = torch.zeros((1, 1), dtype=torch.long, device=model.cfg.device)
    ungated = [n for n in names if model._gated_hook_reason(n) is None]
    with torch.no_grad():
        _, cache = model.run_with_cache(
            ids, names_filter=ungated, output_attentions=False, use_cache=False
        )
    return {n for n in ungated if n in cache}


def residual_stream(model: TransformerBridge) -> tuple[str, ...]:
    """Names of the residual stream at every depth: the embedding, the output of each block, and
    the output of the final norm; `n_layers + 2` in all."""
    return (embed(), *(resid_post(block) for block in range(model.cfg.n_layers)), final_norm())


def depth_names(hooks: Iterable[str]) -> tuple[str, ...]:
    """Hooks of the residual stream as figures call them: `embedding`, `block 0`, ..., `final norm`.

    Raises:
        ValueError: a hook that is not of the residual stream between blocks.
    """
    ends = {embed(): "embedding", final_norm(): "final norm"}
    names = []
    for hook in hooks:
        block = re.fullmatch(re.escape(resid_post.name).replace(r"\{block\}", r"(\d+)"), hook)
        if block is None and hook not in ends:
            raise ValueError(f"hook {hook!r} is no depth; residual_stream(model) lists them")
        names.append(ends[hook] if block is None else f"block {block[1]}")
    return tuple(names)


def check_hooks(model: TransformerBridge, names: Iterable[str]) -> None:
    """Refuse hook names that this model does not have.

    Raises:
        ValueError: names the first wrong hook and the nearest valid ones, the range of blocks
            where the block is out of range, or the switch that the hook waits behind.
    """
    known = model.hook_dict  # rebuilt at every look: a millisecond for each name asked for
    for name in names:
        if name not in known:
            raise ValueError(f"unknown hook {name!r}; {_advice(model, name)}")
        flag = model._gated_hook_reason(name)
        if flag is not None:
            raise ValueError(f"hook {name!r} is switched off: call model.set_{flag}(True) first")


def _advice(model: TransformerBridge, name: str) -> str:
    block = re.match(r"blocks\.(\d+)\.", name)
    if block and int(block[1]) >= model.cfg.n_layers:
        return f"this model has blocks 0 to {model.cfg.n_layers - 1}"
    near = difflib.get_close_matches(name, list(model.hook_dict), n=4, cutoff=0.5)
    return f"nearest valid names: {', '.join(near)}" if near else "points(model) lists the names"
