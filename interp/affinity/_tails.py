"""Tails of standardised scores, as log P(|Z| > t) on the null's grid. Four kinds of score:

mixture     Given the query, a logit is one coordinate of the key's random direction (or normal, for
            Gaussian residuals), which has a tail in closed form; average it over drawn queries.
            Smooth, and right where draws of logits would run out.
cosine      With a norm on the keys, given the query and all of a key but its part along the query,
            the logit exceeds a level where a quadratic in that part does, and the part is normal.
quadratic   A vector with itself gives x^T S x + l . x. For Gaussian x by Lugannani & Rice (1980)
            from the cumulants of quadratic forms (Kuonen 1999); on the sphere, which is a Gaussian
            given its length, by Skovgaard's (1987) conditional form of the same saddlepoint.
pearson     Where only draws are at hand: the symmetric curve of Pearson (1916) with their kurtosis,
            Student's t above 3 and a coordinate on the sphere below, its bound left out.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from scipy import special
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from interp.affinity._null import GRID

COARSE = GRID[::4]
"""Where averages over draws are taken; log p is smooth, and monotone cubics fill the grid."""
TINY = -700.0
"""Least log p: exp of less is no longer a normal float64."""


def coordinate_tail(dimensions: float) -> Float[Tensor, " grid"]:
    """Of one coordinate of a random direction in so many dimensions; of a normal variable for
    infinitely many."""
    return _log(2 * _beyond(_deviate(GRID, dimensions)))


def mixture_tail(
    centres: Float[Tensor, " draws"],
    scales: Float[Tensor, " draws"],
    mean: Float[Tensor, ""],
    sd: Float[Tensor, ""],
    *,
    dimensions: float,
) -> Float[Tensor, " grid"]:
    """Of (centre + scale * e - mean) / sd over the draws, with e a standardised coordinate."""
    if sd == 0:  # no spread, so z is 0 or infinite and any tail will do
        return coordinate_tail(math.inf)
    reach, shift = COARSE[:, None] * sd, centres - mean
    beyond = [
        _beyond(_deviate((reach + side) / scales, dimensions)).mean(dim=1)
        for side in (shift, -shift)
    ]
    return _filled(_log(beyond[0] + beyond[1]))


def cosine_tail(
    w: Float[Tensor, "draws k"],
    h: Float[Tensor, "draws k"],
    offset: Float[Tensor, " k"],
    covariance: Float[Tensor, "k k"],
    mean: Float[Tensor, ""],
    sd: Float[Tensor, ""],
    *,
    eps: float,
) -> Float[Tensor, " grid"]:
    """Of (w . h / rms(h) - mean) / sd for drawn w and unrelated drawn h, Gaussian with mean
    `offset` and this covariance.

    h = rest + slope * t with t = w . h normal and the rest, drawn, independent of it. So
    t > c sqrt(|h|^2 + k eps) is t > 0 and (1 - c^2 |slope|^2) t^2 - 2 c^2 slope.rest t
    - c^2 (|rest|^2 + k eps) > 0, an interval of t.
    """
    k, along = h.shape[1], w @ covariance
    spread = (along * w).sum(dim=1)
    slope = along / spread[:, None]
    rest = h - slope * (h * w).sum(dim=1, keepdim=True)
    steep, cross = slope.square().sum(dim=1), (slope * rest).sum(dim=1)
    far = rest.square().sum(dim=1) + k * eps
    centre, width = w @ offset, spread.sqrt()

    def beyond(cut: Tensor, side: int) -> Tensor:
        sign = torch.where(cut < 0, -side, side)
        square = cut.square() / k
        low, high = _interval(1 - square * steep, sign * square * cross, square * far)
        # the difference of upper tails, as in what lies far out the lower ones are both 1
        inside = _beyond((low - sign * centre) / width) - _beyond((high - sign * centre) / width)
        return torch.where(cut < 0, 1 - inside, inside).mean(dim=1)

    reach = COARSE[:, None] * sd
    return _filled(_log(beyond(reach + mean, 1) + beyond(reach - mean, -1)))


def _interval(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The ends between which t > 0 and a t^2 - 2 b t - c > 0, for c >= 0; equal where nowhere."""
    inside = b.square() + a * c
    root = inside.clamp(min=0).sqrt()
    # the form of the root that subtracts nothing; at c = 0 it is 0 / 0 and t > 0 all there is
    low = torch.where(b > 0, (b + root) / a, c / (root - b)).nan_to_num(0.0)
    high = torch.where(a > 0, math.inf, (b - root) / a)
    nowhere = (a <= 0) & ((b >= 0) | (inside <= 0))
    return torch.where(nowhere, 0.0, low), torch.where(nowhere, 0.0, high)


def pearson_tail(kurtosis: float, *, draws: int) -> Float[Tensor, " grid"]:
    """Of the symmetric variable of unit variance in Pearson's family with this kurtosis, found from
    so many draws.

    Below 3 the family is bounded, and a score past a bound that was only estimated would have p 0.
    So past what the draws can show, p = 1 / draws, the tail falls as a normal one.
    """
    if kurtosis > 3:
        return _log(torch.from_numpy(student_tail(GRID.numpy(), kurtosis)))
    # a coordinate in D dimensions has kurtosis 3 D / (D + 2)
    bounded = coordinate_tail(2 * kurtosis / (3 - kurtosis) if kurtosis < 3 else math.inf)
    normal = coordinate_tail(math.inf)
    last = int((bounded >= -math.log(draws)).sum()) - 1
    return torch.cat([bounded[:last], normal[last:] + (bounded[last] - normal[last])])


def student_tail(
    size: Float[np.ndarray, "*cells"], kurtosis: float | Float[np.ndarray, "*cells"]
) -> Float[np.ndarray, "*cells"]:
    """P(|T| > size) of Student's t of this kurtosis, scaled to variance 1; of a normal variable for
    a kurtosis of 3 or less."""
    # with a million degrees of freedom it is a normal variable
    freedom = 4 + 6 / np.maximum(kurtosis - 3, 6e-6)
    return 2 * special.stdtr(freedom, -size * (freedom / (freedom - 2)) ** 0.5)


def quadratic_tail(
    S: Float[Tensor, "k k"], linear: Float[Tensor, " k"], *, dimensions: float
) -> Float[Tensor, " grid"]:
    """Of x^T S x + linear . x, standardised, for x in so many dimensions of which S and linear see
    k: on the sphere of radius sqrt(dimensions), or standard normal for infinitely many."""
    values, basis = torch.linalg.eigh(S)
    linear = basis.T @ linear
    share = 0.0 if math.isinf(dimensions) else 1 / dimensions
    mean = values.sum()
    variance = 2 * (values.square().sum() - share * mean**2) / (1 + 2 * share)
    sd = (variance + linear.square().sum()).sqrt()
    if sd == 0:
        return coordinate_tail(math.inf)
    sides = [_tilted(sign * values / sd, linear / sd, dimensions) for sign in (1, -1)]
    beyond = torch.zeros_like(GRID)
    for (z, log_p), (other_z, other_log_p) in (sides, sides[::-1]):
        # to the left of the first tilt the tail goes on as 1 - the other side's
        z = torch.cat([-other_z[:1], z])
        log_p = torch.cat([torch.log1p(-other_log_p[:1].exp()), log_p])
        beyond = beyond + _interpolated(z, log_p).exp()
    beyond[0] = 1.0
    return _log(beyond)


def _tilted(values: Tensor, linear: Tensor, dimensions: float) -> tuple[Tensor, Tensor]:
    """Upper tail of the form in units of its sd: log p at the z to which each tilt leads.

    Tilts are the free parameter and z follows, so that no equation in z need be solved and the
    end of a bounded law is approached and never passed.
    """
    # from where u and w are still far from cancelling to where |z| has passed the grid
    if math.isinf(dimensions):
        size = torch.logspace(math.log10(0.05), 3, 120, dtype=torch.float64)[:, None]
        t = size / (1 + 2 * values.max().clamp(min=0) * size)  # stays below the pole 1 / (2 max)
        v, rest = torch.ones_like(t), 0.0
    else:
        t = torch.logspace(math.log10(0.05), 2, 120, dtype=torch.float64)[:, None]
        rest = dimensions - len(values)
        v = _length_tilt(t, values, linear, dimensions)
    a, square = v - 2 * t * values, linear.square()
    r = 1 / a
    bent = 1 + 2 * t * values * r
    # K(t, u), its first derivative in t, and its second in t
    cumulant = (-a.log() + t**2 * square * r).sum(1) / 2
    z = (values * r + t * square * r * (1 + t * values * r)).sum(1)
    curvature = (2 * (values * r) ** 2 + square * r * bent**2).sum(1)
    exponent = t[:, 0] * z - cumulant
    if not math.isinf(dimensions):
        exponent = exponent + ((1 - v) * dimensions + rest * v.log())[:, 0] / 2
        K_uu = (2 * r**2 + 4 * t**2 * square * r**3).sum(1) + 2 * rest / v[:, 0] ** 2
        K_tu = (2 * values * r**2 + 2 * t * square * r**2 * bent).sum(1)
        curvature = (curvature * K_uu - K_tu**2) / (2 * dimensions)
    w, u = (2 * exponent).clamp(min=0).sqrt(), t[:, 0] * curvature.clamp(min=0).sqrt()
    mills = torch.special.erfcx(w / 2**0.5) * (math.pi / 2) ** 0.5
    log_p = -exponent - math.log(2 * math.pi) / 2 + (mills + 1 / u - 1 / w).log()
    return z - values.sum(), log_p


def _length_tilt(t: Tensor, values: Tensor, linear: Tensor, dimensions: float) -> Tensor:
    """The v = 1 - 2 u for which the tilted |x|^2 keeps its expectation D.

    f(v) = E|x|^2 falls from infinity at the largest pole. Newton's method on 1 / f, which is
    concave, climbs to the root from the left without overshooting; for a single pole it is exact.
    """
    poles = 2 * t * values
    rest = dimensions - len(values)
    top = poles.amax(dim=1, keepdim=True)
    if rest > 0:
        top = top.clamp(min=0)
    v = top + 1 / dimensions  # where the largest pole alone holds the whole length
    for _ in range(30):
        r = 1 / (v - poles)
        weight = 1 + t**2 * linear.square() * r
        f = (weight * r).sum(1, keepdim=True) + rest / v
        slope = -((2 * weight - 1) * r**2).sum(1, keepdim=True) - rest / v**2
        step = f * (dimensions - f) / (dimensions * slope)
        v = v + step
        if (step.abs() < 1e-13 * v.abs()).all():
            break
    return v


def _filled(log_p: Tensor) -> Tensor:
    log_p[0] = 0.0  # both sides together hold everything, but for rounding
    return torch.from_numpy(PchipInterpolator(COARSE.numpy(), log_p.numpy())(GRID.numpy()))


def _interpolated(z: Tensor, log_p: Tensor) -> Tensor:
    """log p on the grid. sqrt(-log p) is nearly straight for normal and heavier tails alike, and
    goes on straight past the last point."""
    kept = log_p.isfinite() & (log_p > TINY) & (log_p < 0)
    x, y = z[kept].numpy(), (-log_p[kept]).sqrt().numpy()
    found = np.interp(GRID.numpy(), x, y)
    past = GRID.numpy() > x[-1]
    slope = (y[-1] - y[-2]) / (x[-1] - x[-2])
    found[past] = y[-1] + slope * (GRID.numpy()[past] - x[-1])
    return -torch.from_numpy(found).square().clamp(max=-TINY)


def _deviate(t: Tensor, dimensions: float) -> Tensor:
    """The normal deviate with the tail that sqrt(D) times a coordinate of a random direction has
    at t. A coordinate is a Student t in disguise; Wallace (1959) gives the deviate of that."""
    if math.isinf(dimensions):
        return t
    n = dimensions - 1
    inside = (t.square() / dimensions).clamp(max=1)
    return t.sign() * (8 * n + 1) / (8 * n + 3) * (-n * torch.log1p(-inside)).sqrt()


def _beyond(deviate: Tensor) -> Tensor:
    """P(normal > deviate), to full relative precision; torch's ndtr has none beyond 8."""
    return torch.special.erfc(deviate / 2**0.5) / 2


def _log(p: Tensor) -> Tensor:
    return p.log().clamp(min=TINY, max=0)
