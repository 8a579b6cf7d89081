"""What else than a circle would bring neighbouring categories together, each refused by its null.

The rivals, for K categories on a cycle, with the Gram matrices G and A of `category_gram`, the
circle's frame F [K, 2] and its kernel C = F F':

- *lookup table*, noise: <C, A>, against orders of the categories.
- *clusters* of neighbours (seasons, halves) anywhere: <C, A>, against orders that exchange
  categories within clusters only.
- *open chain*, first and last far apart: closeness across the break less that of far pairs,
  against orders.
- *one axis* of the circle (winter to summer): length of A along the minor axis, against random
  directions off the major one.
- *spelling*, names written alike are alike: partial correlation of A with C given spelling, against
  orders of the residual.
- *one axis beside clusters*, and *one axis beside spelling*: the same of the minor axis, after the
  major one is removed.

Every function gives one row of statistics per null draw, row 0 on the true order, so that depths
that are given the same draws can be held to their maximum. The arcs' null is exact for clusters
whose members are exchangeable, order's for an exchangeable table; the others' rates are measured.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from interp.smds._orders import Orders, circle_frame

Square = Float[np.ndarray, "category category"]
Draws = Float[np.ndarray, " draw"]


def order_statistic(
    levelled: Square, orders: Orders, frame: Float[np.ndarray, "category k"] | None = None
) -> Draws:
    """<C, A> with the categories' places exchanged by each order; C of the circle, or of another
    frame."""
    frame = (circle_frame(len(levelled)) if frame is None else frame)[orders]
    return np.einsum("bik,ij,bjk->b", frame, levelled, frame, optimize=True)


def chain_kernel(n_categories: int, first: int = 0) -> Square:
    """K with -<K, G> the closeness across the break before category `first`, less that of far
    pairs, in squared distances weighted towards the nearest and the farthest."""
    quarter = max(n_categories // 4, 1)
    place = (np.arange(n_categories) - first) % n_categories
    along = np.abs(place[:, None] - place)
    around = np.minimum(along, n_categories - along)
    near = np.where(n_categories - along <= quarter, quarter + 1.0 - around, 0.0)
    far = np.where((along < n_categories - quarter) & (around > quarter), around - quarter, 0.0)
    contrast = (near / near.sum() - far / far.sum()) * 2
    # whole squared lengths on the diagonal would favour every chain; half of them halves the noise
    # that unequal lengths bring, and leaves an open chain its distance
    return 0.5 * np.diag(contrast.sum(axis=1)) - contrast


def chain_statistic(distances: Square, orders: Orders, first: int = 0) -> Draws:
    """Closeness of the categories on both sides of a break, under each order."""
    kernel = chain_kernel(len(distances), first)
    return -np.einsum("bij,ij->b", kernel[orders[:, :, None], orders[:, None, :]], distances)


def axes(levelled: Square) -> Float[np.ndarray, "2 category"]:
    """Major and minor axis of the circle's plane, by how long A is along them."""
    frame = circle_frame(len(levelled))
    _, rotation = np.linalg.eigh(frame.T @ levelled @ frame)
    return (frame @ rotation[:, ::-1]).T


def axis_statistic(levelled: Square, noise: Float[np.ndarray, "random category"]) -> Draws:
    """Length of A along the minor axis, then along random directions off the major one."""
    major, minor = axes(levelled)
    random = noise - noise.mean(axis=1, keepdims=True)
    random -= (random @ major)[:, None] * major
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    directions = np.concatenate([minor[None], random])
    return np.einsum("bi,ij,bj->b", directions, levelled, directions, optimize=True)


def minor_axis_statistic(levelled: Square, orders: Orders) -> Draws:
    """Length of A along the reordered minor axis, once the major axis is removed from it."""
    major, minor = axes(levelled)
    moved = minor[orders]
    moved = moved - (moved @ major)[:, None] * major
    moved -= moved.mean(axis=1, keepdims=True)
    length = np.einsum("bi,ij,bj->b", moved, levelled, moved, optimize=True)
    return length / np.sum(moved**2, axis=1)


def spelling_kernels(names: Sequence[str]) -> Float[np.ndarray, "kernel category category"]:
    """How alike names are written: 1-, 2- and 3-grams, 1- to 3-grams of the last and of the first
    three letters, and length."""
    lower = [name.lower() for name in names]
    grams = [_counts(lower, (n,)) for n in (1, 2, 3)]
    ends = [_counts([name[-3:] for name in lower], (1, 2, 3))]
    starts = [_counts([name[:3] for name in lower], (1, 2, 3))]
    length = [np.array([[len(name)] for name in lower], dtype=float)]
    centred = [table - table.mean(axis=0) for table in (*grams, *ends, *starts, *length)]
    return np.stack([table @ table.T for table in centred])


def spelling_statistic(
    levelled: Square,
    kernels: Float[np.ndarray, "kernel category category"],
    orders: Orders,
    frame: Float[np.ndarray, "category k"] | None = None,
) -> Draws:
    """Partial correlation over pairs of A with the kernel of the circle, or of another frame, given
    spelling, with the kernel's residual reordered (double semi-partialling, Dekker et al. 2007)."""
    frame = circle_frame(len(levelled)) if frame is None else frame
    return _partial(levelled, (frame @ frame.T)[None], kernels, orders)


def minor_spelling_statistic(
    levelled: Square, kernels: Float[np.ndarray, "kernel category category"], orders: Orders
) -> Draws:
    """As `spelling_statistic` for the minor axis, with the major one removed from both sides."""
    major, minor = axes(levelled)
    off = np.eye(len(levelled)) - np.outer(major, major)
    moved = minor[orders]
    moved = moved - (moved @ major)[:, None] * major
    moved -= moved.mean(axis=1, keepdims=True)
    products = moved[:, :, None] * moved[:, None, :]
    pairs = np.triu_indices(len(levelled), 1)
    remove = _remover(kernels, pairs)
    return _correlations(remove(products[:, *pairs]), remove((off @ levelled @ off)[pairs][None]))


def _partial(
    levelled: Square,
    kernel: Float[np.ndarray, "1 category category"],
    kernels: Float[np.ndarray, "kernel category category"],
    orders: Orders,
) -> Draws:
    pairs = np.triu_indices(len(levelled), 1)
    remove = _remover(kernels, pairs)
    residual = np.zeros_like(levelled)
    residual[pairs] = remove(kernel[:, *pairs])[0]
    residual += residual.T
    reordered = residual[orders[:, :, None], orders[:, None, :]][:, *pairs]
    return _correlations(remove(reordered), remove(levelled[pairs][None]))


def _remover(kernels: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]):
    """Takes a constant and the kernels out of rows of pairs."""
    design = np.column_stack([np.ones(len(pairs[0])), *(kernel[pairs] for kernel in kernels)])
    basis, values, _ = np.linalg.svd(
        design / np.linalg.norm(design, axis=0).clip(1e-300), full_matrices=False
    )
    # names of one length make a kernel of zeros, and short lists dependent kernels
    basis = basis[:, values > 1e-10 * values[0]]

    def remove(rows: Float[np.ndarray, "draw pair"]) -> Float[np.ndarray, "draw pair"]:
        rest = rows - (rows @ basis) @ basis.T
        # what the kernels explain whole leaves rounding, which would correlate with anything
        explained = np.linalg.norm(rest, axis=1) <= 1e-10 * np.linalg.norm(rows, axis=1)
        return np.where(explained[:, None], 0.0, rest)

    return remove


def _correlations(
    rows: Float[np.ndarray, "draw pair"], other: Float[np.ndarray, "1 pair"]
) -> Draws:
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(other)
    return np.divide(rows @ other[0], lengths, out=np.zeros(len(rows)), where=lengths > 0)


def _counts(names: Sequence[str], sizes: Sequence[int]) -> Float[np.ndarray, "category gram"]:
    counted = [
        Counter(name[i : i + n] for n in sizes for i in range(len(name) - n + 1)) for name in names
    ]
    grams = sorted(set().union(*counted))
    return np.array([[count[gram] for gram in grams] for count in counted], dtype=float).reshape(
        len(names), -1
    )
