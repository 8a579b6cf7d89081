"""Hooks that apply an edit at token positions, and know where in a sequence a pass stands."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from transformer_lens.hook_points import HookPoint, LensHandle
from transformer_lens.model_bridge import TransformerBridge

from interp.intervene.edits import Edit
from interp.model import resid_mid

Positions = int | np.integer | Sequence[int] | Int[np.ndarray, "..."] | Int[torch.Tensor, "..."]
"""Token positions counted from 0 at the start of the sequence, padding and BOS included: one for
all rows, several for all rows, or an array [batch, position] with each row's own."""


def places_of(model: TransformerBridge, positions: Positions) -> Int[np.ndarray, "row position"]:
    """Positions as an array with one row for each text, or a single one for all."""
    places = positions.cpu().numpy() if isinstance(positions, torch.Tensor) else positions
    places = np.asarray(places)
    if places.dtype.kind not in "iu" or not places.size or places.ndim > 2:
        raise ValueError(f"positions = {positions!r}; need integers: one, several, or [batch, k]")
    limit = model.cfg.n_ctx
    for wrong in places[(places < 0) | (places >= limit)].tolist():
        raise ValueError(
            f"position {wrong} is out of range: positions count from 0 at the start of the "
            f"sequence to {limit - 1}; for the last tokens pass an array [batch, 1] of "
            "attention_mask.sum(1) - 1"
        )
    return places.astype(np.int64).reshape(-1, places.shape[-1] if places.ndim else 1)


class Run:
    """Where the forward pass under way stands in its sequences, and what was reached so far."""

    def __init__(self, places: Int[np.ndarray, "row position"] | None):
        self.places = None if places is None else torch.from_numpy(places)
        self.fired: set[str] = set()
        self.start = self.length = self.longest = 0
        self.mask: torch.Tensor | None = None
        self.completed = False

    def begin(self, _module: torch.nn.Module, _args: Any, kwargs: Mapping[str, Any]) -> None:
        # the cache knows how many tokens went before, so nothing is counted from pass to pass
        past = kwargs.get("past_key_values")
        self.start = 0 if past is None else int(past.get_seq_length())
        self.mask = kwargs.get("attention_mask")

    def end(self, _module: torch.nn.Module, _args: Any, _output: Any) -> None:
        # only reached by passes that ran through: one stopped early proves nothing about a hook
        self.completed = True
        self.longest = max(self.longest, self.length)

    def locate(
        self, n_rows: int, n_tokens: int
    ) -> tuple[Int[torch.Tensor, "row position"], Bool[torch.Tensor, "row position"]]:
        """Index of each position among the tokens of this pass, and whether it is among them; the
        index of one that is not is of some other token."""
        assert self.places is not None
        if len(self.places) not in (1, n_rows):
            raise ValueError(
                f"positions for {len(self.places)} rows, but the model runs {n_rows} of them"
            )
        self.length = self.start + n_tokens
        index = self.places.expand(n_rows, -1) - self.start
        inside = (index >= 0) & (index < n_tokens)
        self._refuse_padding(index, inside)
        return index.clamp(0, n_tokens - 1), inside

    def _refuse_padding(self, index: torch.Tensor, inside: torch.Tensor) -> None:
        mask = self.mask
        if mask is None or mask.shape != (len(index), self.length):
            return
        real = mask.cpu().bool().gather(1, (index + self.start).clamp(0, self.length - 1))
        for row, place in (inside & ~real).nonzero().tolist():
            position = int(index[row, place]) + self.start
            raise ValueError(f"position {position} of row {row} is padding")

    def check(self, names: Iterable[str]) -> None:
        """What a clean exit refuses."""
        if not self.completed:
            return
        silent = [name for name in names if name not in self.fired]
        if silent:
            raise ValueError(f"hooks that never fire in this model: {', '.join(silent)}")
        if self.places is not None and (last := int(self.places.max())) >= self.longest:
            raise ValueError(
                f"position {last} was never reached: the longest sequence in the context had "
                f"{self.longest} tokens"
            )


@dataclass(frozen=True, eq=False, repr=False)
class Hook:
    """The function that a hook point calls."""

    name: str
    """As the caller spelled it."""
    point: HookPoint
    """The point it is attached to."""
    edit: Edit
    """What to do."""
    run: Run
    """Shared by the hooks of one context."""
    in_place: bool
    """Whether the result is written into the tensor that came, instead of being returned."""

    def __call__(self, tensor: torch.Tensor, *, hook: HookPoint) -> torch.Tensor | None:  # noqa: ARG002 (TransformerLens's signature)
        self.run.fired.add(self.name)
        edited = self._apply(tensor.clone()) if self.run.places is None else self._at(tensor)
        if not self.in_place:
            return edited
        tensor.copy_(edited)
        return None

    def _at(self, tensor: torch.Tensor) -> torch.Tensor:
        index, inside = self.run.locate(*tensor.shape[:2])
        if not inside.any():
            return tensor
        edited = self._apply(tensor[torch.arange(len(index))[:, None], index])
        rows, columns = inside.nonzero(as_tuple=True)
        whole = tensor.clone()
        whole[rows, index[rows, columns]] = edited[rows, columns]
        return whole

    def _apply(self, tensor: torch.Tensor) -> torch.Tensor:
        edited = self.edit(tensor)
        if not isinstance(edited, torch.Tensor) or edited.shape != tensor.shape:
            got = list(edited.shape) if isinstance(edited, torch.Tensor) else repr(edited)
            raise ValueError(
                f"{self.name!r}: the edit of activations of shape {list(tensor.shape)} must "
                f"return that shape, got {got}"
            )
        return edited.to(tensor)


def hooks_of(model: TransformerBridge, edits: Mapping[str, Edit], run: Run) -> list[Hook]:
    """A hook for every edit, not yet attached."""
    known = model.hook_dict
    middle = [known.get(resid_mid(block)) for block in range(model.cfg.n_layers)]
    hooks = []
    for name, edit in edits.items():
        point = known[name]
        if run.places is not None and model._pos_slice_dim(name, point) != 1:
            raise ValueError(
                f"positions cannot be chosen at {name!r}: its second axis is not the position"
            )
        hooks.append(Hook(name, point, edit, run, any(point is mid for mid in middle)))
    return hooks


def remove(point: HookPoint, handle: LensHandle) -> None:
    """Take one hook off a point, leaving everybody else's."""
    handle.hook.remove()
    point.fwd_hooks[:] = [other for other in point.fwd_hooks if other is not handle]
