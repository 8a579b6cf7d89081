"""L2 logistic regression of many label vectors on the same rows, fitted side by side.

The objective is scikit-learn's `LogisticRegression(class_weight="balanced")`: with row weights s
that give every class the same total and sum to n,

    (1 / n) sum_i s_i loss_i(X w + b)  +  |w|^2 / (2 C n),

the logistic loss of one column for two classes, the softmax loss of one column per class for more.
Its minimum is unique, so that a different solver changes no prediction. Permuted labels share the
rows, so every product below is one matrix product for all of them:

1. Newton's direction by conjugate gradients, preconditioned by the Hessian's diagonal, to a
   precision that tightens with the gradient (Dembo & Steihaug 1983).
2. Its length by halving until the objective falls enough (Armijo).
3. A label vector whose gradient is small leaves the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import expit, logsumexp, softmax

TOLERANCE = 1e-8
"""Largest entry of the gradient at the minimum, as scikit-learn's lbfgs judges it. The last Newton
step squares the error, so that 1e-8 costs no more than 1e-6; decision values are then right to some
1e-5, where 1e-6 left 5e-3 (160 rows of 4096 features)."""
MAX_STEPS = 100
"""Newton steps; 6 to 12 are usual."""
# Enough for a direction of descent; what is missing costs another Newton step, not the minimum.
MAX_INNER_STEPS = 50
# An objective of order 1 in float64 cannot show a fall below this, and need not.
ROUNDING = 1e-14


@dataclass(frozen=True)
class LogisticFit:
    """Logistic regressions of several label vectors."""

    weights: Float[np.ndarray, "features vectors columns"]
    """Coefficients; the last feature is the intercept. One column for two classes."""
    converged: Bool[np.ndarray, " vectors"]
    """Whether the gradient fell below `TOLERANCE` within `MAX_STEPS` steps."""

    def decisions(self, X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "vectors n columns"]:
        """Decision values of rows X; positive for class 1, or largest for the predicted class."""
        return np.moveaxis(_product(_with_intercept(X), self.weights), 1, 0)


def fit_logistic(
    X: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "vectors n"],
    n_classes: int,
    *,
    C: float | int = 1.0,
    sample_weights: Float[np.ndarray, "vectors n"] | None = None,
) -> LogisticFit:
    """Fit one balanced logistic regression per label vector, each holding classes 0..n_classes-1.

    `sample_weights` weigh the rows of each label vector within its classes, which keep equal
    totals. Raises ValueError when a label vector lacks a class.
    """
    one_hot = labels.T[..., None] == np.arange(n_classes)  # [n, vectors, classes]
    counts = one_hot.sum(axis=0)
    if not counts.all():
        raise ValueError(f"label vector {np.argwhere(counts == 0)[0, 0]} lacks a class")
    rows = _with_intercept(X)
    columns = 1 if n_classes == 2 else n_classes
    targets = one_hot[..., -columns:].astype(np.float64)
    weighted = one_hot if sample_weights is None else one_hot * sample_weights.T[..., None]
    totals = n_classes * weighted.sum(axis=0)
    row_weights = (weighted / totals).sum(axis=2, keepdims=True)  # sum to 1
    penalty = np.full((rows.shape[1], 1, 1), 1 / (C * len(X)))
    penalty[-1] = 0  # the intercept is free
    weights = np.zeros((rows.shape[1], len(labels), columns))
    active = np.arange(len(labels))
    for _ in range(MAX_STEPS):
        batch = _Batch(rows, targets[:, active], row_weights[:, active], penalty)
        weights[:, active], done = _newton_step(batch, weights[:, active])
        active = active[~done]
        if not active.size:
            break
    if columns > 1:
        # One constant in every class's intercept changes no probability: none, as scikit-learn.
        weights[-1] -= weights[-1].mean(axis=-1, keepdims=True)
    return LogisticFit(weights, ~np.isin(np.arange(len(labels)), active))


@dataclass(frozen=True)
class _Batch:
    rows: np.ndarray  # [n, features]
    targets: np.ndarray  # [n, vectors, columns]
    row_weights: np.ndarray  # [n, vectors, 1]
    penalty: np.ndarray  # [features, 1, 1]

    def objective(self, margins: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Value of each label vector, [vectors]."""
        if margins.shape[2] == 1:
            log_sum = np.logaddexp(0, margins)
        else:
            log_sum = logsumexp(margins, axis=2, keepdims=True)
        loss = log_sum - (self.targets * margins).sum(axis=2, keepdims=True)
        return (self.row_weights * loss).sum(axis=(0, 2)) + 0.5 * _dot(
            self.penalty * weights, weights
        )

    def probabilities(self, margins: np.ndarray) -> np.ndarray:
        return expit(margins) if margins.shape[2] == 1 else softmax(margins, axis=2)

    def gradient(self, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
        residuals = self.row_weights * (probabilities - self.targets)
        return _product(self.rows.T, residuals) + self.penalty * weights

    def hessian_diagonal(self, probabilities: np.ndarray) -> np.ndarray:
        slope = self.row_weights * probabilities * (1 - probabilities)
        return _product(self.rows.T**2, slope) + self.penalty

    def hessian_times(self, probabilities: np.ndarray, direction: np.ndarray) -> np.ndarray:
        change = _product(self.rows, direction)
        if probabilities.shape[2] == 1:
            change *= 1 - probabilities
        else:
            change -= (probabilities * change).sum(axis=2, keepdims=True)
        curved = self.row_weights * probabilities * change
        return _product(self.rows.T, curved) + self.penalty * direction


def _newton_step(batch: _Batch, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights after one step, and which label vectors had none to make."""
    margins = _product(batch.rows, weights)
    probabilities = batch.probabilities(margins)
    gradient = batch.gradient(probabilities, weights)
    done = np.abs(gradient).max(axis=(0, 2)) <= TOLERANCE
    if done.all():
        return weights, done
    times = partial(batch.hessian_times, probabilities)
    step = _conjugate_gradients(times, batch.hessian_diagonal(probabilities), gradient, done)
    along, change = _dot(gradient, step), _product(batch.rows, step)
    start = batch.objective(margins, weights)
    length = np.where(done, 0.0, 1.0)
    for _ in range(30):  # 2^-30 of a Newton step is as good as none
        moved = length[:, None]
        value = batch.objective(margins + moved * change, weights + moved * step)
        short = value > start + 1e-4 * length * along + ROUNDING  # Armijo's usual constant
        if not short.any():
            break
        length[short] /= 2
    return weights + length[:, None] * step, done


def _conjugate_gradients(
    times: Callable, diagonal: np.ndarray, gradient: np.ndarray, done: np.ndarray
) -> np.ndarray:
    """Approximate solution of Hessian x step = -gradient for every label vector."""
    step, residual = np.zeros_like(gradient), -gradient
    # An intercept whose rows are all certain has next to no curvature; dividing by it would
    # only scale the preconditioner, but not by infinity.
    scale = 1 / np.maximum(diagonal, 1e-12)
    size = np.sqrt(_dot(gradient, gradient))
    goal = np.where(done, np.inf, np.minimum(0.1, np.sqrt(size)) * size)
    direction = scale * residual
    power = _dot(residual, direction)
    for _ in range(MAX_INNER_STEPS):
        running = np.sqrt(_dot(residual, residual)) > goal
        if not running.any():
            break
        curved = times(direction)
        bend = _dot(direction, curved)
        length = np.where(running & (bend > 0), power / np.where(bend > 0, bend, 1), 0)[:, None]
        step += length * direction
        residual -= length * curved
        scaled = scale * residual
        former, power = power, _dot(residual, scaled)
        direction = scaled + (power / np.where(former > 0, former, 1))[:, None] * direction
    return step


def _with_intercept(X: np.ndarray) -> np.ndarray:
    return np.concatenate([X, np.ones((len(X), 1))], axis=1)


def _product(matrix: np.ndarray, stack: np.ndarray) -> np.ndarray:
    """matrix [a, b] times stack [b, vectors, columns] as one matrix product."""
    return (matrix @ stack.reshape(len(stack), -1)).reshape(len(matrix), *stack.shape[1:])


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("fvc,fvc->v", a, b)
