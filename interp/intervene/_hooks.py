"""Hooks that apply an edit at token positions, and know where in a sequence a pass stands."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from operator import index as whole
from threading import get_ident
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from transformer_lens.hook_points import HookPoint, LensHandle
from transformer_lens.model_bridge import TransformerBridge

from interp.intervene._edits import Edit
from interp.model import resid_mid

Positions = (
    int | np.integer | slice | Sequence[int] | Int[np.ndarray, "..."] | Int[torch.Tensor, "..."]
)
"""Token positions counted from 0 at the start of the sequence, padding and BOS included: one for
all rows, several for all rows, an array [batch, position] with each row's own, or from one on
without an end, `slice(start, None)`, where `start` may be an array [batch] with each row's own."""


_PAUSED = ContextVar("whether passes go by open contexts", default=False)


@contextmanager
def paused() -> Iterator[None]:
    """Passes inside are of nobody's text, such as one that asks for shapes: open contexts neither
    edit nor count them."""
    token = _PAUSED.set(True)
    try:
        yield
    finally:
        _PAUSED.reset(token)


@dataclass(frozen=True)
class Places:
    """Positions as an array with one row for each text, or a single one for all."""

    index: Int[torch.Tensor, "row position"]
    """The positions; of an open end the first ones, [row, 1]."""
    open: bool
    """Whether everything from there on is meant."""

    def within(
        self, start: int, n_rows: int, n_tokens: int
    ) -> tuple[Int[torch.Tensor, "row position"], Bool[torch.Tensor, "row position"]]:
        """Index of each position among the tokens of a pass that begins at `start`, and whether it
        is among them; the index of one that is not is of some other token."""
        if self.open:
            index = torch.arange(n_tokens).expand(n_rows, -1)
            return index, index + start >= self.index
        index = self.index.expand(n_rows, -1) - start
        return index.clamp(0, n_tokens - 1), (index >= 0) & (index < n_tokens)


def places_of(model: TransformerBridge, positions: Positions) -> Places:
    """Positions as places, checked against the context's length.

    Raises:
        ValueError: positions that are no integers, out of range, or a slice with a step.
    """
    if isinstance(positions, slice):
        if positions.step not in (None, 1):
            raise ValueError(f"positions = {positions!r}; a slice has no step here")
        start = 0 if positions.start is None else positions.start
        if positions.stop is None:
            return Places(_checked(model, start, as_column=True), open=True)
        try:
            positions = range(whole(start), whole(positions.stop))
        except TypeError:
            raise ValueError(
                f"positions = {positions!r}; a slice with an end has one start and one end, "
                "integers; give an array [batch, position] for each row's own"
            ) from None
    return Places(_checked(model, positions), open=False)


def _checked(
    model: TransformerBridge, positions: Any, *, as_column: bool = False
) -> Int[torch.Tensor, "row position"]:
    places = positions.cpu().numpy() if isinstance(positions, torch.Tensor) else positions
    places = np.asarray(places)
    if places.dtype.kind not in "iu" or not places.size or places.ndim > 2:
        raise ValueError(
            f"positions = {positions!r}; need integers: one, several, [batch, k], or "
            "slice(start, None)"
        )
    limit = model.cfg.n_ctx
    for wrong in places[(places < 0) | (places >= limit)].tolist():
        raise ValueError(
            f"position {wrong} is out of range: positions count from 0 at the start of the "
            f"sequence to {limit - 1}; for the last tokens pass an array [batch, 1] of "
            "attention_mask.sum(1) - 1, and slice(start, None) for a start without an end"
        )
    width = 1 if as_column or not places.ndim else places.shape[-1]
    return torch.from_numpy(places.astype(np.int64).reshape(-1, width))


class Pass:
    """Where the forward pass under way stands in its sequences, and what was reached so far. Passes
    of other threads are none of its business."""

    def __init__(self, places: Places | None):
        self.places = places
        self.thread = get_ident()
        self.fired: set[str] = set()
        self.start = self.length = self.longest = 0
        self.mask: torch.Tensor | None = None
        self.cached = False
        self.begun = self.completed = self.elsewhere = False
        self.reached = None if places is None else torch.zeros_like(places.index, dtype=torch.bool)

    @property
    def own(self) -> bool:
        """Whether the pass under way is one of the thread that opened the context."""
        return get_ident() == self.thread and not _PAUSED.get()

    def begin(self, _module: torch.nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        if not self.own:
            self.elsewhere = self.elsewhere or get_ident() != self.thread
            return
        # the cache knows how many tokens went before, so nothing is counted from pass to pass; it
        # is known by what it can do, since its argument has had several names
        lengths = [
            int(value.get_seq_length())
            for value in (*args, *kwargs.values())
            if callable(getattr(value, "get_seq_length", None))
        ]
        self.begun, self.cached, self.start = True, bool(lengths), max(lengths, default=0)
        mask = kwargs.get("attention_mask")  # a static cache comes with a mask for each kind
        self.mask = mask if isinstance(mask, torch.Tensor) and mask.ndim == 2 else None

    def end(self, _module: torch.nn.Module, _args: Any, _output: Any) -> None:
        # only reached by passes that ran through: one stopped early proves nothing about a hook
        self.completed = self.completed or self.own

    def locate(
        self, n_rows: int, n_tokens: int
    ) -> tuple[Int[torch.Tensor, "row position"], Bool[torch.Tensor, "row position"]]:
        """Index of each position among the tokens of this pass, and whether it is among them."""
        assert self.places is not None
        if len(self.places.index) not in (1, n_rows):
            raise ValueError(
                f"positions for {len(self.places.index)} rows, but the model runs {n_rows} of them"
            )
        self.length = self.start + n_tokens
        self._refuse_unknown_start(n_tokens)
        self.longest = max(self.longest, self.length)
        index, inside = self.places.within(self.start, n_rows, n_tokens)
        inside = self._without_padding(index, inside)
        self._note(inside)
        return index, inside

    def _refuse_unknown_start(self, n_tokens: int) -> None:
        if self.mask is not None and not self.cached and self.mask.shape[1] > n_tokens:
            raise ValueError(
                f"a pass of {n_tokens} tokens with a mask over {self.mask.shape[1]} and no cache "
                "that tells its length: where in the sequence it stands is not known"
            )

    def _without_padding(self, index: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        mask = self.mask
        if mask is None or mask.shape != (len(index), self.length):
            return inside
        real = mask.cpu().bool().gather(1, (index + self.start).clamp(0, self.length - 1))
        assert self.places is not None
        if self.places.open:
            return inside & real
        for row, place in (inside & ~real).nonzero().tolist():
            position = int(index[row, place]) + self.start
            raise ValueError(f"position {position} of row {row} is padding")
        return inside

    def _note(self, inside: torch.Tensor) -> None:
        assert self.places is not None and self.reached is not None
        found = inside.any(dim=1, keepdim=True) if self.places.open else inside
        self.reached |= found if len(self.reached) > 1 else found.any(dim=0, keepdim=True)

    def check(self, names: Iterable[str]) -> None:
        """What a clean exit refuses."""
        if not self.begun:
            if self.elsewhere:
                warnings.warn(
                    "the model ran in other threads only, whose passes a context leaves alone: "
                    "open it in the thread that runs the model",
                    stacklevel=4,
                )
            return
        silent = [name for name in names if name not in self.fired]
        if silent and self.completed:
            raise ValueError(f"hooks that never fire in this model: {', '.join(silent)}")
        if silent:
            warnings.warn(
                f"{', '.join(silent)} was never reached: every pass in the context was stopped "
                "before it, so the edit had no effect",
                stacklevel=4,
            )
        if self.places is not None and self.fired:
            self._refuse_unreached()

    def _refuse_unreached(self) -> None:
        assert self.places is not None and self.reached is not None
        for row, place in (~self.reached).nonzero().tolist():
            position = int(self.places.index[row, place])
            text = f" of row {row}" if len(self.reached) > 1 else ""
            why = f"the longest sequence in the context had {self.longest} tokens"
            if position < self.longest:
                why = "it was in a cache before the context was entered, or in no pass of that row"
            raise ValueError(f"position {position}{text} was never reached: {why}")


@dataclass(frozen=True, eq=False, repr=False)
class Hook:
    """The function that a hook point calls."""

    name: str
    """As the caller spelled it."""
    point: HookPoint
    """The point it is attached to."""
    edit: Edit
    """What to do."""
    run: Pass
    """Shared by the hooks of one context."""
    in_place: bool
    """Whether the result is written into the tensor that came, instead of being returned."""

    def __call__(self, tensor: torch.Tensor, *, hook: HookPoint) -> torch.Tensor | None:  # noqa: ARG002 (TransformerLens's signature)
        if not self.run.own:
            return None
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


def hooks_of(model: TransformerBridge, edits: Mapping[str, Edit], run: Pass) -> list[Hook]:
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
