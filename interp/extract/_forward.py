"""A forward pass that keeps what is wanted of some hooks' tensors, and stops at the last one, or
runs on to the logits."""

from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any

import torch
from jaxtyping import Int
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.exceptions import StopAtLayerException

from interp.intervene import paused
from interp.model import turn

LOGITS = "logits"
"""What the model's output is called beside the hooks."""


def forward(
    model: TransformerBridge,
    hooks: Sequence[str],
    ids: Int[torch.Tensor, "batch token"],
    mask: Int[torch.Tensor, "batch token"],
    read: Callable[[torch.Tensor], torch.Tensor],
    unembedded: Int[torch.Tensor, " kept"] | None = None,
) -> dict[str, torch.Tensor]:
    """Run until every hook has fired, keeping `read` of each hook's tensor.

    With `unembedded` the pass runs to its end, and the logits [batch, kept, vocabulary] at these
    tokens are kept under `LOGITS`. A vocabulary may outweigh the rest of a model, so logits of
    other tokens are not computed.

    Raises:
        ValueError: a hook does not fire.
    """
    got: dict[str, torch.Tensor] = {}
    own = get_ident()

    def hook_for(name: str) -> tuple[str, Callable]:
        def hook_fn(tensor: torch.Tensor, hook: object) -> None:  # noqa: ARG001 (TransformerLens's signature)
            if get_ident() != own:  # a pass of another thread
                return
            got[name] = read(tensor)
            if len(got) == len(hooks) and unembedded is None:
                raise StopAtLayerException(tensor)

        return name, hook_fn

    kept: dict[str, Any] = {} if unembedded is None else {"logits_to_keep": unembedded}
    with turn(model), torch.no_grad():
        output = model.run_with_hooks(
            ids,
            fwd_hooks=[hook_for(name) for name in hooks],
            attention_mask=mask,
            output_attentions=False,
            use_cache=False,
            return_type="logits" if kept else None,
            **kept,
        )
    silent = [name for name in hooks if name not in got]
    if silent:
        raise ValueError(f"hooks that never fire in this model: {', '.join(silent)}")
    return got | {LOGITS: output} if kept else got


def shapes(model: TransformerBridge, hooks: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Shape of one activation under every hook, from a run over one short text.

    Raises:
        ValueError: a hook does not fire, or its tensor has other axes than batch and position.
    """
    if not hooks:
        return {}
    n_batch, n_tokens = 1, 13  # no model has 13 heads, which would pass for the position axis
    ids = torch.zeros((n_batch, n_tokens), dtype=torch.long, device=model.cfg.device)
    with paused():
        got = forward(model, hooks, ids, torch.ones_like(ids), lambda tensor: tensor)
    for hook, tensor in got.items():
        if tuple(tensor.shape[:2]) != (n_batch, n_tokens):
            raise ValueError(
                f"hook {hook!r} has shape {list(tensor.shape)} for {n_tokens} tokens; extract "
                "reads hooks whose first axes are batch and position"
            )
    return {hook: tuple(got[hook].shape[2:]) for hook in hooks}
