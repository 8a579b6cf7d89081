"""The context managers: attach the hooks of an intervention, and remove them on every path out."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from numbers import Real
from types import TracebackType
from typing import Any

import numpy as np
from transformer_lens.model_bridge import TransformerBridge

from interp.intervene._edits import (
    Array,
    Edit,
    adding,
    finite,
    orthonormal_basis,
    projecting_out,
    replacing,
)
from interp.intervene._hooks import Hook, Pass, Places, Positions, hooks_of, places_of, remove
from interp.model import check_hooks


def steer(
    model: TransformerBridge,
    vectors: Mapping[str, Array],
    *,
    strength: float | int = 1.0,
    positions: Positions | None = None,
) -> AbstractContextManager[None]:
    """Add `strength` times a vector to the activations under each hook (activation addition,
    Turner et al. 2023).

    Args:
        model: The model.
        vectors: By hook name, a vector [d] for all rows or [batch, d] with one for each; where an
            activation has several axes (`z`: head, d_head) the vector has the same. In the units
            of the activations: nothing is normalised.
        strength: Factor of every vector; at 0 the model computes what it does without.
        positions: Where; by default at every token, of the prompt and generated.

    Raises:
        ValueError: as `intervening`; a vector of another shape, or with non-finite values.
    """
    real = isinstance(strength, Real) and not isinstance(strength, bool)
    if not real or not np.isfinite(float(strength)):
        raise ValueError(f"strength = {strength!r}; it must be a finite number")
    vectors = _by_hook("vectors", vectors)
    edits = {name: adding(name, finite(name, v), strength) for name, v in vectors.items()}
    return intervening(model, edits, positions=positions)


def ablate(
    model: TransformerBridge,
    hooks: str | Sequence[str],
    directions: Array,
    *,
    positions: Positions | None = None,
) -> AbstractContextManager[None]:
    """Project the span of directions out of the last axis of the activations: x - B^T B x, with B
    an orthonormal basis of the span (directional ablation, Arditi et al. 2024).

    Args:
        model: The model.
        hooks: One or more hook names.
        directions: [d] or [k, d], of any length but zero; they need not be orthogonal.
        positions: Where; by default at every token, of the prompt and generated.

    Raises:
        ValueError: as `intervening`; directions that are zero, non-finite, linearly dependent, or
            of another width than the activations.
    """
    names = [hooks] if isinstance(hooks, str) else list(hooks)
    basis = orthonormal_basis(finite(", ".join(names), directions))
    edits = {name: projecting_out(name, basis) for name in names}
    return intervening(model, edits, positions=positions)


def patch(
    model: TransformerBridge, values: Mapping[str, Array], *, positions: Positions
) -> AbstractContextManager[None]:
    """Put given activations in place of the model's own (activation patching, Meng et al. 2022).

    Args:
        model: The model.
        values: By hook name, activations [batch, position, ...] as `Activations.read` and
            `Store.read` give them, along the positions; a batch of 1 goes to every row.
        positions: Where; none twice.

    Raises:
        ValueError: as `intervening`; values of another shape, non-finite values, or a position
            named twice.
    """
    values = _by_hook("values", values)
    places = places_of(model, positions)
    if places.open:
        raise ValueError(f"positions = {positions!r}: values are put at places that have an end")
    for row in places.index:
        found, count = row.unique(return_counts=True)
        if count.max() > 1:
            twice = int(found[count.argmax()])
            raise ValueError(f"position {twice} is named twice in {row.tolist()}")
    edits = {name: replacing(name, finite(name, v)) for name, v in values.items()}
    return intervening(model, edits, positions=positions)


def intervening(
    model: TransformerBridge, edits: Mapping[str, Edit], *, positions: Positions | None = None
) -> AbstractContextManager[None]:
    """Apply an edit of your own under each hook, while the context is open.

    An edit gets a copy of the activations [batch, position, ...], with the given positions along
    the second axis, or the whole tensor of the hook without positions, and returns what stands in
    their place. In generation with a cache a pass may hold only some of the positions: what an
    edit returns for the others is dropped, so it must treat every position by itself.

    Args:
        model: The model.
        edits: By hook name.
        positions: Where; by default at every token, of the prompt and generated. Negative ones are
            refused, because a row's last token is not a fixed place: it moves in generation, and
            without a mask padding cannot be told from text. Pass an array [batch, 1] of
            `attention_mask.sum(1) - 1` instead, and `slice(start, None)` for everything from a
            position on, generated tokens included.

    Raises:
        ValueError: no edits; an unknown or switched-off hook; positions that are not integers,
            negative, beyond the context length, padding, or of another batch size; positions for a
            hook whose second axis is not the position; an edit that returns another shape. On a
            clean exit after a whole forward pass: a hook that never fired, a position that no
            sequence reached.
    """
    edits = _by_hook("edits", edits)
    check_hooks(model, edits)
    places = None if positions is None else places_of(model, positions)
    hooks_of(model, edits, Pass(places))  # whatever is wrong with a hook is said at the call
    return _Intervention(model, dict(edits), places)


def _by_hook(what: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ValueError(f"{what} must be a mapping from hook names, not {type(given).__name__}")
    if not given:
        raise ValueError(
            f"{what} is empty: there is nothing to edit; points(model) lists the hooks"
        )
    return given


class _Intervention(AbstractContextManager[None]):
    """Hooks that are attached while it is open; it may be entered again once it is closed."""

    def __init__(self, model: TransformerBridge, edits: dict[str, Edit], places: Places | None):
        self._model, self._edits, self._places = model, edits, places
        self._open: tuple[Pass, ExitStack] | None = None

    def __repr__(self) -> str:
        state = "open" if self._open else "closed"
        return f"<edits of {', '.join(self._edits)}, {state}>"

    def __enter__(self) -> None:
        if self._open is not None:
            raise ValueError(f"{self!r} cannot be entered again before it is left")
        run, module = Pass(self._places), self._model.original_model
        with ExitStack() as stack:
            for handle in (
                module.register_forward_pre_hook(run.begin, with_kwargs=True),
                module.register_forward_hook(run.end),
            ):
                stack.callback(handle.remove)
            for hook in hooks_of(self._model, self._edits, run):
                # permanent, so that somebody's `reset_hooks` inside does not end it unseen
                handle = hook.point.add_hook(hook, is_permanent=True)
                stack.callback(remove, hook.point, handle)
            self._open = run, stack.pop_all()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._open is not None
        (run, stack), self._open = self._open, None
        stack.close()
        if kind is None:
            run.check(self._edits)


def active(model: TransformerBridge) -> tuple[str, ...]:
    """Names of the hooks that are being edited by open contexts: empty outside of them."""
    distinct = dict.fromkeys(model.hook_points())  # a point stands there under each of its names
    handles = (handle for point in distinct for handle in point.fwd_hooks)
    return tuple(h.user_hook.name for h in handles if isinstance(h.user_hook, Hook))
