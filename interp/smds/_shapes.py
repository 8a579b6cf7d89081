"""Hypotheses about the geometry of labels: ideal coordinates or ideal distances.

A shape says how far apart two labels should lie if a representation has that geometry (Tiblias et
al. 2025, "Shape Happens", arXiv 2510.01025). Shapes that are exact in a Euclidean space are given
by coordinates (the chord distance of a circle *is* the distance of points on it), the others by
distances, from which classical multidimensional scaling takes coordinates (`interp.smds._scaling`).

`u` below is the label rescaled by the smallest and largest value present, as the published method
does. **Trap:** for labels of a cycle that puts the last one on the first (with months 0..11,
December falls on January), so cyclic shapes take an explicit `period`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Real, Shaped
from scipy.spatial.distance import pdist, squareform

from interp.smds import _geometry as geometry
from interp.smds._geometry import Labels


@dataclass(frozen=True)
class Shape:
    """One geometry. Your own is `Shape("mine", coordinates=...)` or `Shape("mine", distances=...)`.

    Exactly one of `coordinates` and `distances` must be given, else ValueError. For a fixed matrix
    of distances pass row numbers as labels: `distances=lambda y: table[np.ix_(y, y)]` with `y`
    cast to int.
    """

    name: str
    """How the shape is called in results."""
    n_components: int | None = None
    """Dimensions of the embedding unless the caller asks otherwise; None keeps all coordinates, or
    as many dimensions as the distances between the labels span."""
    coordinates: Callable[[Labels], np.ndarray] | None = None
    """Labels -> points [n, k] whose Euclidean distances are the ideal ones."""
    distances: Callable[[Labels], np.ndarray] | None = None
    """Labels -> ideal distances [n, n]; a negative entry leaves that pair out."""
    columns: tuple[int, ...] | None = None
    """Numbers of label columns accepted (1 includes labels [n]); None accepts any."""
    absolute: bool = False
    """A label's coordinates do not depend on which other labels are there, so that predictions of
    different folds share one frame."""
    categorical: bool = False
    """Whether only the equality of labels counts, so that they may be names."""

    def __post_init__(self) -> None:
        if (self.coordinates is None) == (self.distances is None):
            raise ValueError(f"shape {self.name!r} needs either coordinates or distances")


def circular(period: float | int | None = None) -> Shape:
    """Points on a circle, (cos 2 pi u, sin 2 pi u); u = y / period, or min-max without a period."""
    return Shape(
        "circular",
        2,
        coordinates=partial(_on_circle, period=period),
        columns=(1,),
        absolute=period is not None,
    )


def line(low: float | int, high: float | int) -> Shape:
    """A line on which `low` is 0 and `high` is 1, whatever labels a fold holds; "linear" rescales
    each fold by its own extremes, as the published code does. Raises ValueError for low >= high."""
    if not low < high:
        raise ValueError(f"a line from {low} to {high} has no length; low must be below high")
    return Shape(
        "linear",
        1,
        coordinates=partial(_on_line, low=low, high=high),
        columns=(1,),
        absolute=True,
    )


def chain(threshold: float | int = 2.0, *, period: float | int | None = None) -> Shape:
    """Ring of which only pairs nearer than `threshold` steps count; other pairs are left out."""
    return Shape(
        "chain",
        2,
        distances=partial(geometry.chain, period=period, threshold=threshold),
        columns=(1,),
    )


def hierarchical(level_distances: Sequence[float] = (100.0, 10.0, 1.0)) -> Shape:
    """Tree: the distance belongs to the first level (column) at which two labels differ."""
    return Shape(
        "hierarchical",
        2,
        distances=partial(geometry.hierarchical, level_distances=level_distances),
        columns=(len(level_distances),),
    )


def graph_geodesic(n_neighbors: int = 5) -> Shape:
    """Shortest paths in the graph of each label's nearest neighbours."""
    return Shape(
        "graph_geodesic", 3, distances=partial(geometry.graph_geodesic, n_neighbors=n_neighbors)
    )


def polytope(dimensions: int = 3) -> Shape:
    """One vertex per distinct label, as far apart on a sphere in `dimensions` as they will go."""
    return Shape(
        "polytope",
        dimensions,
        distances=partial(geometry.polytope, dimensions=dimensions),
        columns=(1,),
    )


# functions of the module, since a shape travels to other processes and into saved estimators


def _on_circle(y: Labels, period: float | int | None) -> np.ndarray:
    return geometry.on_circle(2 * np.pi * geometry.phase(y, period))


def _on_line(y: Labels, low: float | int, high: float | int) -> np.ndarray:
    return (geometry.column(y)[:, None] - low) / (high - low)


def _on_half_circle(y: Labels) -> np.ndarray:
    return geometry.on_circle(np.pi * geometry.unit(geometry.column(y)))


def _rescaled(y: Labels) -> np.ndarray:
    return geometry.unit(y).reshape(len(y), -1)


def _unequal(y: Labels) -> np.ndarray:
    return (geometry.gap(geometry.column(y)) > 0).astype(float)


_BY_NAME: dict[str, Callable[[float | int | None], Shape]] = {
    "circular": circular,
    "linear": lambda _: Shape("linear", coordinates=_rescaled),
    "log_linear": lambda _: Shape(
        "log_linear", 1, coordinates=geometry.log_linear, columns=(1,), absolute=True
    ),
    "semicircular": lambda _: Shape(
        "semicircular",
        2,
        coordinates=_on_half_circle,
        columns=(1,),
    ),
    "spiral": lambda _: Shape("spiral", 2, coordinates=geometry.spiral, columns=(1,)),
    "cluster": lambda _: Shape(
        # classes that are all equally far apart are a simplex: one dimension fewer than classes
        "cluster",
        distances=_unequal,
        columns=(1,),
        categorical=True,
    ),
    "discrete_circular": lambda period: Shape(
        "discrete_circular", 2, distances=partial(geometry.ring, period=period), columns=(1,)
    ),
    "chain": lambda period: chain(period=period),
    "hierarchical": lambda _: hierarchical(),
    "cylinder": lambda _: Shape(
        "cylinder", 3, coordinates=geometry.cylinder, columns=(2,), absolute=True
    ),
    "sphere": lambda _: Shape(
        "sphere", 3, coordinates=geometry.sphere, columns=(2,), absolute=True
    ),
    "geodesic": lambda _: Shape("geodesic", 3, distances=geometry.geodesic, columns=(2,)),
    "torus": lambda _: Shape("torus", 3, distances=geometry.torus, columns=(1, 2)),
    "klein_bottle": lambda _: Shape(
        "klein_bottle", 4, distances=geometry.klein_bottle, columns=(1, 2)
    ),
    "polytope": lambda _: polytope(),
    "graph_geodesic": lambda _: graph_geodesic(),
}

SHAPES = tuple(_BY_NAME)
"""Names of the shapes that need no argument of their own."""


def as_shape(shape: str | Shape, *, period: float | int | None = None) -> Shape:
    """The shape called `shape`; a `Shape` is returned as it is.

    `period` reaches the shapes of a cycle (circular, discrete_circular, chain) and no other.
    Raises ValueError for an unknown name or a period that is not positive.
    """
    if period is not None and not period > 0:
        raise ValueError(f"period={period} must be positive")
    if isinstance(shape, Shape):
        return shape
    if shape not in _BY_NAME:
        raise ValueError(f"unknown shape {shape!r}; choose from {', '.join(SHAPES)}")
    return _BY_NAME[shape](period)


def check_labels(y: Shaped[np.ndarray, "n *columns"], shape: Shape) -> Labels:
    """`y` as float64 labels that `shape` accepts; names as their numbers in sorted order.

    Raises ValueError for non-finite labels, for fewer than two distinct labels and for a number of
    columns that the shape has no meaning for.
    """
    if y.dtype.kind in "USO":
        if not shape.categorical:
            raise ValueError(f"shape {shape.name!r} needs numbers as labels, not {y.ravel()[0]!r}")
        y = np.unique(y, return_inverse=True)[1].reshape(y.shape)
    labels = np.asarray(y, dtype=np.float64)
    finite = np.isfinite(labels)
    if not finite.all():
        raise ValueError(f"labels hold {labels[~finite][0]} at row {np.argwhere(~finite)[0][0]}")
    columns = 1 if labels.ndim == 1 else labels.shape[1]
    if labels.ndim > 2 or (shape.columns is not None and columns not in shape.columns):
        wanted = "any number of" if shape.columns is None else " or ".join(map(str, shape.columns))
        raise ValueError(
            f"shape {shape.name!r} takes {wanted} label column(s), not labels {labels.shape}"
        )
    if len(labels) and (labels == labels[0]).all():
        raise ValueError(f"every label is {labels[0]}; a shape needs two distinct labels")
    return labels


def ideal_coordinates(
    y: Real[np.ndarray, "n *columns"],
    shape: str | Shape = "circular",
    *,
    period: float | int | None = None,
) -> Float[np.ndarray, "n k"]:
    """Exact coordinates [n, k] of a shape that has them (circular, linear, sphere, ...).

    Raises ValueError for a shape known by its distances only and for unusable labels.
    """
    chosen = as_shape(shape, period=period)
    if chosen.coordinates is None:
        raise ValueError(f"shape {chosen.name!r} has distances but no exact coordinates")
    return chosen.coordinates(check_labels(y, chosen))


def ideal_distances(
    y: Real[np.ndarray, "n *columns"],
    shape: str | Shape = "circular",
    *,
    period: float | int | None = None,
) -> Float[np.ndarray, "n n"]:
    """Ideal distances [n, n]; -1 marks a pair that the shape leaves out of every score.

    Units are the shape's own: a unit circle's chord, steps along a ring, radians on a sphere.
    Raises ValueError for unusable labels.
    """
    chosen = as_shape(shape, period=period)
    labels = check_labels(y, chosen)
    if chosen.coordinates is not None:
        return squareform(pdist(chosen.coordinates(labels)))
    assert chosen.distances is not None
    return chosen.distances(labels)
