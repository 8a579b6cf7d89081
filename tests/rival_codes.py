"""Codes of the months that are circles, and codes that only look like one.

Noise is what residual streams have: three massive dimensions, the rest a rotated power spectrum.
Every depth has its own gain and its own random table of months beside the code.
"""

import numpy as np
from jaxtyping import Float, Int

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
ANGLE = 2 * np.pi * (np.arange(12) + 0.5) / 12


def spectrum(d: int) -> Float[np.ndarray, " d"]:
    """Standard deviations: three massive dimensions, then j^-.35 with a mean variance of 1."""
    rest = np.arange(1, d - 2) ** -0.35
    return np.concatenate([[12.0, 8.0, 6.0], rest / np.sqrt(np.mean(rest**2))])


def noise(n: int, d: int, rng: np.random.Generator) -> Float[np.ndarray, "n d"]:
    """Rows without a month."""
    rows = rng.normal(size=(n, d)) * spectrum(d)
    rotation = np.linalg.qr(rng.normal(size=(d - 3, d - 3)))[0]
    rows[:, 3:] = rows[:, 3:] @ rotation
    return rows


def _embedded(points: np.ndarray, d: int, rng: np.random.Generator) -> np.ndarray:
    return points @ np.linalg.qr(rng.normal(size=(d, points.shape[1])))[0].T


def _ngrams(names: tuple[str, ...], sizes: tuple[int, ...]) -> np.ndarray:
    grams = sorted(
        {n.lower()[i : i + k] for n in names for k in sizes for i in range(len(n) - k + 1)}
    )
    return np.array([[name.lower().count(gram) for gram in grams] for name in names], dtype=float)


def points(kind: str, rng: np.random.Generator) -> Float[np.ndarray, "12 k"]:
    """Month codes of unit root-mean-square length, in as few dimensions as they need."""
    season = ((np.arange(12) + 1) // 3) % 4
    walk = np.cumsum(rng.normal(size=(12, 2)), axis=0)
    made = {
        "circle": lambda: np.stack([np.cos(ANGLE), np.sin(ANGLE)], axis=1),
        "table": lambda: np.eye(12),
        "seasons": lambda: rng.normal(size=(4, 8))[season],
        "seasons in a square": lambda: np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])[season],
        "line": lambda: np.arange(12.0)[:, None],
        "random walk": lambda: walk,
        "open arc": lambda: np.stack([f(ANGLE * 0.75) for f in (np.cos, np.sin)], axis=1),
        "axis": lambda: np.cos(ANGLE)[:, None],
        "halves": lambda: (np.abs(np.arange(12) - 5.5) < 3)[:, None].astype(float),
        "spelling": lambda: _ngrams(MONTHS, (1, 2, 3)),
    }
    if " + " in kind:
        parts = [points(part, rng) for part in kind.split(" + ")]
        return np.concatenate(parts, axis=1) / np.sqrt(len(parts))
    code = made[kind]()
    code = code - code.mean(axis=0)
    return code / np.sqrt((code**2).sum(axis=1).mean())


def planted(
    kind: str | None,
    *,
    amplitude: float,
    table: float = 2.0,
    n: int = 500,
    d: int = 128,
    depths: int = 8,
    seed: int,
) -> tuple[list[tuple[str, Float[np.ndarray, "n d"]]], Int[np.ndarray, " n"]]:
    """Cells at several depths with a code of a kind (None for no code), and each row's month."""
    rng = np.random.default_rng(seed)
    month = rng.permutation(np.arange(n) % 12)
    code = np.zeros((12, 1)) if kind is None else points(kind, rng)
    code = _embedded(code, d, rng)
    cells = []
    for depth in range(depths):
        own = rng.normal(size=(12, d)) / np.sqrt(d) * table
        values = amplitude * rng.uniform(0.8, 1.2) * code + own
        cells.append((f"block {depth}", values[month] + noise(n, d, rng)))
    return cells, month
