"""The three edits: add a vector, project directions out, put given values in place."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float

Array = Float[torch.Tensor, "..."] | Float[np.ndarray, "..."]
"""Floats in torch or numpy, on any device."""

Edit = Callable[
    [Float[torch.Tensor, "batch position *d"]], Float[torch.Tensor, "batch position *d"]
]
"""From activations to the ones that stand in their place, of the same shape."""


def adding(name: str, vector: torch.Tensor, strength: float | int) -> Edit:
    """Add a vector, the same for all rows or one for each."""

    largest = abs(strength) * float(vector.detach().abs().max())

    def add(tensor: torch.Tensor) -> torch.Tensor:
        _refuse_overflow(name, largest, tensor)
        added = strength * vector
        if added.shape == (len(tensor), *tensor.shape[2:]):
            return tensor + added[:, None].to(tensor)
        if added.shape != tensor.shape[2:]:
            one, each = list(tensor.shape[2:]), [len(tensor), *tensor.shape[2:]]
            raise _misfit(name, "vector", added, tensor, f"{one}, or {each} with one for each row")
        return tensor + added.to(tensor)

    return add


def projecting_out(name: str, basis: Float[torch.Tensor, "k d"]) -> Edit:
    """Take the span of orthonormal rows out of the last axis."""

    def project_out(tensor: torch.Tensor) -> torch.Tensor:
        if basis.shape[1] != tensor.shape[-1]:
            raise _misfit(name, "directions", basis, tensor, f"width {tensor.shape[-1]}")
        # in 16 bits the projection itself would be rounded, and a part of the direction left
        wide = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
        across = basis.to(wide)
        return wide - (wide @ across.T) @ across

    return project_out


def replacing(name: str, values: torch.Tensor) -> Edit:
    """Put values where the activations were."""

    largest = float(values.detach().abs().max())

    def replace(tensor: torch.Tensor) -> torch.Tensor:
        _refuse_overflow(name, largest, tensor)
        if values.shape[1:] != tensor.shape[1:] or len(values) not in (1, len(tensor)):
            raise _misfit(name, "values", values, tensor, "that shape, or a batch of 1")
        return values.expand(tensor.shape)

    return replace


def _refuse_overflow(name: str, largest: float, tensor: torch.Tensor) -> None:
    limit = torch.finfo(tensor.dtype).max
    if largest > limit:
        raise ValueError(
            f"{name!r}: a value of {largest:.3g} is infinite in {tensor.dtype}, whose largest is "
            f"{limit:.3g}"
        )


def _misfit(
    name: str, what: str, given: torch.Tensor, tensor: torch.Tensor, needed: str
) -> ValueError:
    return ValueError(
        f"{name!r}: {what} of shape {list(given.shape)} for activations of shape "
        f"{list(tensor.shape)} (batch, position, ...); needed: {needed}"
    )


def finite(name: str, values: Array) -> torch.Tensor:
    """The values as a tensor, refused under the hook's name unless they are finite floats."""
    # torch takes no array that runs backwards, as `values[::-1]` does
    tensor = torch.as_tensor(values.copy() if isinstance(values, np.ndarray) else values)
    if tensor.ndim == 0 or not tensor.numel() or not tensor.is_floating_point():
        raise ValueError(f"{name!r}: need floats with at least one axis, got {values!r}")
    if not torch.isfinite(tensor).all():
        raise ValueError(
            f"{name!r}: non-finite values, the first of them at index "
            f"{(~torch.isfinite(tensor)).nonzero()[0].tolist()}"
        )
    return tensor


def orthonormal_basis(directions: torch.Tensor) -> Float[torch.Tensor, "k d"]:
    """Orthonormal rows that span the directions, refused if those are zero or dependent."""
    if directions.ndim > 2:
        raise ValueError(f"directions of shape {list(directions.shape)}; need [d] or [k, d]")
    rows = torch.atleast_2d(directions).double()
    lengths = rows.norm(dim=1, keepdim=True)
    if not lengths.all():
        raise ValueError(f"direction {int(lengths.argmin())} of {len(rows)} is zero")
    orthonormal, _ = torch.linalg.qr((rows / lengths).T)
    values = torch.linalg.svdvals(rows / lengths)
    # what rounding to float32 leaves of an exact dependence between unit vectors
    rank = int((values > max(rows.shape) * torch.finfo(torch.float32).eps * values[0]).sum())
    if rank < len(rows):
        raise ValueError(
            f"{len(rows)} directions of width {rows.shape[1]} span {rank}: give "
            "linearly independent ones"
        )
    return orthonormal.T.float()
