"""How far patching a word moves what is decoded elsewhere, with its null and intervals.

1. A text (the receiver) runs with another text's (the donor's) activations at one word and depth
   (activation patching, Meng et al. 2022), and a cyclic label is decoded from another word, as a
   point of the plane.
2. `share_moved` regresses decoded points on both texts' true labels: 0 is no effect, 1 is all of
   the way to the donor's label.
3. The null deals the donors to other receivers, max-T over words and depths. It leaves what an edit
   breaks, and takes what it carries over.
4. Intervals are the jackknife's over pairs, and resampled pairs say how cells depend.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Complex, Float, Int, Shaped
from scipy.stats import norm

from interp.stats import (
    PermutationTest,
    jackknife_half_width,
    permutation_test,
    simultaneous_band,
)

N_BOOT = 1000
"""Resamples of the pairs."""


def share_moved(
    patched: Complex[np.ndarray, "*cells pair"],
    receiver: Complex[np.ndarray, " pair"],
    donor: Complex[np.ndarray, " pair"],
    receiver_angle: Float[np.ndarray, " pair"],
    donor_angle: Float[np.ndarray, " pair"],
) -> Float[np.ndarray, "*cells"]:
    """How far patching moves decoded labels towards the donors': 0 not at all, 1 all the way.

    Decoded labels are points of the plane, regressed on the points of the receivers' and the
    donors' true labels (e^i angle, both centred) together; b is the coefficient of the donors. The
    share is (b patched - b receiver) / (b donor - b receiver), with the unedited runs of receivers
    and donors, so it is exactly 0 where patching changes nothing and exactly 1 where it gives the
    donor's own prediction, whatever the map shrinks. Points have no wrap-around: 359 degrees are
    beside 1. An edit that merely wipes the receiver's label out gets about 0, where a distance to
    the donor would call it half of the way.
    """
    own, other = (np.exp(1j * a) - np.exp(1j * a).mean() for a in (receiver_angle, donor_angle))
    partial = other - own * np.vdot(own, other).real / np.vdot(own, own).real
    moved = ((patched - receiver) * partial.conj()).real.sum(axis=-1)
    return np.asarray(moved / ((donor - receiver) * partial.conj()).real.sum())


@dataclass(frozen=True)
class PatchedPairs:
    """Texts set apart in pairs, and the others."""

    receivers: Int[np.ndarray, " pair"]
    """Texts that are edited, by number; every one is of another group."""
    donors: Int[np.ndarray, " pair"]
    """Texts whose activations they get, of other groups again."""
    training: Int[np.ndarray, " text"]
    """Texts of all other groups."""

    @classmethod
    def draw(cls, groups: Shaped[np.ndarray, " text"], n: int, *, seed: int) -> "PatchedPairs":
        """At most n pairs, of no more than half of the groups, so that a map has texts to learn."""
        names, first = np.unique(groups, return_index=True)
        count = min(n, len(names) // 4)
        # a stream of its own: other draws of the seed stay what they are without interventions
        drawn = np.random.default_rng([seed, 2]).permutation(first)[: 2 * count]
        training = np.flatnonzero(~np.isin(groups, groups[drawn]))
        return cls(drawn[:count], drawn[count:], training)


@dataclass(frozen=True)
class Patching:
    """Receivers of which two words were patched, and what was decoded from another word."""

    words: tuple[str, str]
    """The word that is asked about, and one to hold against it."""
    rows: tuple[int, ...]
    """Depths that were patched, by number; the embedding is 0."""
    patched: Complex[np.ndarray, "word row pair"]
    """Decoded after patching."""
    receiver: Complex[np.ndarray, " pair"]
    """Decoded in the receiver's unedited run."""
    donor: Complex[np.ndarray, " pair"]
    """Decoded in the donor's."""
    receiver_angle: Float[np.ndarray, " pair"]
    """True angle of the receiver's label, in radians."""
    donor_angle: Float[np.ndarray, " pair"]
    """True angle of the donor's label, in radians."""

    def share(
        self,
        pairs: Int[np.ndarray, " _"] | None = None,
        dealt: Int[np.ndarray, " _"] | None = None,
    ) -> Float[np.ndarray, "word row"]:
        """`share_moved` by word and depth, over these pairs, or with donors dealt to other
        receivers."""
        pairs = np.arange(len(self.receiver)) if pairs is None else pairs
        donors = pairs if dealt is None else dealt
        return share_moved(
            self.patched[..., pairs],
            self.receiver[pairs],
            self.donor[donors],
            self.receiver_angle[pairs],
            self.donor_angle[donors],
        )

    def deepest_half(self) -> int:
        """The deepest depth at which patching the first word still moves half of what it moves at
        best: past it most of the label has gone elsewhere."""
        share = self.share()[0]
        best = share.max()
        # of shares that are all negative, half of the best is more than any
        return self.rows[int(np.flatnonzero(share >= min(best, best / 2))[-1])]

    def distance(self, decoded: Complex[np.ndarray, "*cells pair"]) -> Float[np.ndarray, "*cells"]:
        """Median distance of decoded labels from the donors' true ones, in cycles."""
        angle = np.abs(np.angle(decoded * np.exp(-1j * self.donor_angle)))
        return np.asarray(np.median(angle, axis=-1) / (2 * np.pi))

    def moved(self, *, n_permutations: int, seed: int) -> "MovedShares":
        """Shares with the limits of resampled pairs and the null of dealt donors.

        Forty pairs weigh very differently in a regression: percentiles of resamples cover 90 %
        where 95 are asked. So widths are the jackknife's, and resamples say how cells depend (see
        `docs/verdicts.md`).

        Args:
            n_permutations: Deals of the donors to other receivers.
            seed: Of resamples and deals.
        """
        rng = np.random.default_rng(seed)
        n, share = len(self.receiver), self.share()
        draws = np.array([self.share(rng.integers(n, size=n)) for _ in range(N_BOOT)])
        null = np.array([self.share(dealt=rng.permutation(n)) for _ in range(n_permutations)])
        without = np.array([self.share(np.delete(np.arange(n), pair)) for pair in range(n)])
        spread, own = draws.std(axis=0), jackknife_half_width(without) / norm.ppf(0.975)
        wide = np.divide(own, spread, out=np.ones_like(spread), where=spread > 0)
        limits = simultaneous_band(
            share.ravel(), (share + wide * (draws - draws.mean(axis=0))).reshape(N_BOOT, -1)
        )
        low, high = (limit.reshape(share.shape) for limit in limits)
        # where the first block is read already, the embedding is all there is
        blocks = np.array(self.rows) > (0 if max(self.rows) else -1)

        def excess(shares: np.ndarray) -> np.ndarray:
            less = shares[..., 0, :] - shares[..., 1, :]
            return np.asarray(less[..., blocks].mean(axis=-1))

        half = jackknife_half_width(excess(without))
        return MovedShares(
            patching=self,
            share=share,
            low=low,
            high=high,
            null=null,
            test=permutation_test(share, null),
            blocks=blocks,
            excess=float(excess(share)),
            interval=(float(excess(share) - half), float(excess(share) + half)),
        )


@dataclass(frozen=True)
class MovedShares:
    """Shares moved, with their intervals and their null."""

    patching: Patching
    """What was decoded."""
    share: Float[np.ndarray, "word row"]
    """Share moved by word and depth."""
    low: Float[np.ndarray, "word row"]
    """Lower limit, simultaneous over words and depths."""
    high: Float[np.ndarray, "word row"]
    """Upper limit."""
    null: Float[np.ndarray, "permutations word row"]
    """Shares under dealt donors."""
    test: PermutationTest
    """The shares against them, max-T over words and depths."""
    blocks: Bool[np.ndarray, " row"]
    """Depths after a block: the embedding of another word is another word."""
    excess: float
    """Share of the first word less that of the second, mean over those depths."""
    interval: tuple[float, float]
    """Jackknife interval of it over pairs."""

    def table(self, depths: Sequence[str]) -> pd.DataFrame:
        """A row for every word and patched depth; `depths` names all depths of the model."""
        rows = [depths[row] for row in self.patching.rows]
        index = pd.MultiIndex.from_product([self.patching.words, rows], names=["word", "depth"])
        columns = {
            "share": self.share,
            "low": self.low,
            "high": self.high,
            "null_mean": self.test.mean,
            "null_sd": self.test.sd,
            "p_family": self.test.p_family,
        }
        flat = {name: values.ravel() for name, values in columns.items()}
        return pd.DataFrame(flat, index=index).reset_index()
