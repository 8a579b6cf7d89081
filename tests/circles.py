"""Activations with and without a circle in them, for tests of SMDS and its studies."""

import numpy as np

MONTH_STARTS = np.cumsum([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30])
PERIOD = 365


def days_and_months(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Days of the year [n], uniform, and their months 0..11."""
    days = rng.integers(0, PERIOD, n)
    return days, np.searchsorted(MONTH_STARTS, days, side="right") - 1


def shuffled_months(rng: np.random.Generator, days: np.ndarray, repeats: int) -> np.ndarray:
    """Days [repeats, n] after the twelve months change places, the day of the month kept."""
    month = np.searchsorted(MONTH_STARTS, days, side="right") - 1
    day = days - MONTH_STARTS[month]
    lengths = np.diff(np.append(MONTH_STARTS, PERIOD))
    places = np.array([rng.permutation(12) for _ in range(repeats)])[:, month]
    return MONTH_STARTS[places] + np.minimum(day, lengths[places] - 1)


def planted(rng: np.random.Generator, days: np.ndarray, d: int) -> dict[str, np.ndarray]:
    """Four cells [n, d]: noise, a lookup table of months, a circle of months, a smooth circle."""
    month = np.searchsorted(MONTH_STARTS, days, side="right") - 1
    axes = np.linalg.qr(rng.normal(size=(d, 47)))[0].T
    noise = rng.normal(size=(len(days), d))

    def circle(at: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * at / PERIOD
        return np.stack([np.cos(angle), np.sin(angle)], axis=1) @ axes[:2]

    return {
        "noise": noise,
        "lookup": noise + 14 * axes[2:14][month],
        "months": noise
        + 14 * circle(MONTH_STARTS[month] + 15)
        + 14 * axes[14:45][days - MONTH_STARTS[month]],
        "smooth": noise + 8 * circle(days),
    }
