"""Experiment 5: does the destination take its label from the source?

At one depth after another the source word of a text (the receiver) gets the residual stream of
another text (the donor), and the model runs on (activation patching, Meng et al. 2022). What the
destination then holds is decoded by a map fitted on other texts. The distractor is patched in the
same way, and the donors are dealt to other receivers, which leaves what an edit breaks and takes
what it carries over.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Complex, Float, Int
from scipy.stats import norm

from interp.claims import Claim, description
from interp.extract import BatchEdit
from interp.intervene import patch
from interp.plots import lines
from interp.report import Figure, Section
from interp.stats import (
    PermutationTest,
    interval,
    jackknife_half_width,
    permutation_test,
    simultaneous_band,
)
from studies.date_manifold.data import Dataset
from studies.date_manifold.intervention import Pairs, Reader, angles, question
from studies.date_manifold.scoring import Layout, Part, Settings

DEPTHS = 6
"""Depths at which words are patched, the embedding among them."""

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
    return moved / ((donor - receiver) * partial.conj()).real.sum()


@dataclass(frozen=True)
class Patching:
    """Receivers whose words were patched, and what was decoded at the destination."""

    words: tuple[str, str]
    """Source and distractor."""
    rows: tuple[int, ...]
    """Depths that were patched, as rows of the study's figures."""
    patched: Complex[np.ndarray, "word row pair"]
    """Decoded after patching."""
    receiver: Complex[np.ndarray, " pair"]
    """Decoded in the receiver's unedited run."""
    donor: Complex[np.ndarray, " pair"]
    """Decoded in the donor's."""
    receiver_angle: Float[np.ndarray, " pair"]
    """True angle of the receiver's label."""
    donor_angle: Float[np.ndarray, " pair"]
    """True angle of the donor's label."""

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
        """The deepest depth at which patching the source still moves half of what it moves at best:
        past it most of the label has gone elsewhere."""
        source = self.share()[0]
        best = source.max()
        # of shares that are all negative, half of the best is more than any
        return self.rows[int(np.flatnonzero(source >= min(best, best / 2))[-1])]


def patch_words(
    reader: Reader, data: Dataset, pairs: Pairs, words: tuple[str, str], rows: Sequence[int]
) -> Patching:
    """Give words of the receivers the donors' activations, at one depth after another."""
    places = {word: reader.places(pairs.receivers, word) for word in words}
    patched = np.empty((len(words), len(rows), len(pairs.receivers)), dtype=complex)
    for column, row in enumerate(rows):
        for number, word in enumerate(words):
            values = reader.activations(row, word)[pairs.donors]
            edit = _patching(reader, row, values, places[word])
            patched[number, column] = reader.run(pairs.receivers, edit)
    return Patching(
        words=words,
        rows=tuple(rows),
        patched=patched,
        receiver=reader.run(pairs.receivers),
        donor=reader.decode(reader.stored[pairs.donors]),
        receiver_angle=angles(data, pairs.receivers),
        donor_angle=angles(data, pairs.donors),
    )


def _patching(reader: Reader, row: int, values: np.ndarray, places: np.ndarray) -> BatchEdit:
    hook = reader.store.hooks[row]
    return lambda rows: patch(reader.model, {hook: values[rows, None]}, positions=places[rows])


def depths(row: int) -> tuple[int, ...]:
    """Depths to patch for a destination that is read at `row`: only before it can a word reach
    another one."""
    return tuple(np.linspace(0, row - 1, min(row, DEPTHS)).round().astype(int).tolist())


@dataclass(frozen=True)
class Judged:
    """Shares with their intervals and their null."""

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
    """Share of the source less that of the distractor, mean over those depths."""
    interval: tuple[float, float]
    """Jackknife interval of it over pairs."""


def judge(found: Patching, *, n_permutations: int, seed: int) -> Judged:
    """Resampled pairs, and donors dealt to other receivers.

    Forty pairs weigh very differently in a regression: percentiles of resamples cover 90 % where 95
    are asked. So widths are the jackknife's, and resamples say how cells depend (see
    `docs/verdicts.md`).
    """
    rng = np.random.default_rng(seed)
    n, share = len(found.receiver), found.share()
    draws = np.array([found.share(rng.integers(n, size=n)) for _ in range(N_BOOT)])
    dealt = [found.share(dealt=rng.permutation(n)) for _ in range(n_permutations)]
    without = np.array([found.share(np.delete(np.arange(n), pair)) for pair in range(n)])
    spread, own = draws.std(axis=0), jackknife_half_width(without) / norm.ppf(0.975)
    wide = np.divide(own, spread, out=np.ones_like(spread), where=spread > 0)
    limits = simultaneous_band(
        share.ravel(), (share + wide * (draws - draws.mean(axis=0))).reshape(N_BOOT, -1)
    )
    low, high = (limit.reshape(share.shape) for limit in limits)
    # where the first block is read already, the embedding is all there is
    blocks = np.array(found.rows) > (0 if max(found.rows) else -1)

    def excess(shares: np.ndarray) -> np.ndarray:
        return (shares[..., 0, :] - shares[..., 1, :])[..., blocks].mean(axis=-1)

    half = jackknife_half_width(excess(without))
    return Judged(
        share=share,
        low=low,
        high=high,
        null=np.array(dealt),
        test=permutation_test(share, np.array(dealt)),
        blocks=blocks,
        excess=float(excess(share)),
        interval=(float(excess(share) - half), float(excess(share) + half)),
    )


def investigate(
    found: Patching, r2: float, layout: Layout, row: int, data: Dataset, settings: Settings
) -> tuple[Part, str]:
    """What patching establishes for a destination read at `row`, and its outcome in words."""
    judged = judge(found, n_permutations=settings.n_permutations, seed=settings.seed)
    source, other = judged.share[:, judged.blocks].mean(axis=1)
    names = [layout.rows[r] for r in np.array(found.rows)[judged.blocks]]
    outcome = (
        f"patching {found.words[0]} ({len(found.receiver)} pairs, mean over {len(names)} depths "
        f"from {names[0]} to {names[-1]}) moves the {data.quantity} decoded at {data.destination} "
        f"by {source:.2f} of the way to the donor's, patching {found.words[1]} by {other:.2f}"
    )
    part = Part(
        [_claim(found, judged, r2, layout, row, data, outcome)],
        [Section(f"{layout.model}: patching", [_figure(found, judged, layout, row, data)])],
        {f"share moved by patching {found.words[0]}, less {found.words[1]}": judged.excess},
        {"patching": _table(found, judged, layout)},
    )
    return part, outcome


def statement(data: Dataset) -> str:
    """What patching is to show."""
    return (
        f"How far patching {data.source} moves the {data.quantity} decoded at {data.destination}, "
        f"beyond patching {data.distractor or 'another word'}."
    )


def _claim(
    found: Patching,
    judged: Judged,
    r2: float,
    layout: Layout,
    row: int,
    data: Dataset,
    outcome: str,
) -> Claim:
    source, distractor = found.words
    # at the embedding the word itself is replaced, which always moves what is read after it
    p = float(judged.test.p_family[0, 1:].min(initial=1.0))
    before, after = (_distance(found, decoded, data) for decoded in (found.receiver, found.patched))
    first = layout.rows[found.rows[0]]
    return description(
        question(data),
        statement(data),
        subject=layout.model,
        estimate=judged.excess if r2 > 0 else None,
        unit=f"share of the way to the donor's {data.quantity}, less that of {distractor}, mean "
        f"over {judged.blocks.sum()} depths, as a decoder reads it at {layout.rows[row]}",
        null=f"{len(judged.null)} deals of the donors to other receivers, max-T over words and "
        f"depths after the embedding: p {p:.3f}",
        exchange=f"pair of texts ({len(found.receiver)})",
        needs="" if r2 > 0 else "a map that reads unedited texts (R2 above 0)",
        controls={
            f"share of {source} at {first}": judged.share[0, 0],
            f"share of {source} at {layout.rows[found.rows[-1]]}": judged.share[0, -1],
            f"largest share of {distractor}": judged.share[1].max(),
            f"median distance from the donor's, unedited ({data.unit})": before,
            f"the same with {source} patched at {first}": after[0, 0],
            f"R2 of the map on the {2 * len(found.receiver)} texts set apart": r2,
        },
        causal_test=outcome,
    )


def _distance(found: Patching, decoded: np.ndarray, data: Dataset) -> np.ndarray:
    """Median distance of decoded labels from the donors' true ones, in units of the label."""
    assert data.period is not None
    apart = np.abs(np.angle(decoded * np.exp(-1j * found.donor_angle)))
    return np.median(apart, axis=-1) / (2 * np.pi) * data.period


def _figure(found: Patching, judged: Judged, layout: Layout, row: int, data: Dataset) -> Figure:
    dealt = judged.null[:, 0]
    series = dict(zip((f"{word} patched" for word in found.words), judged.share, strict=True))
    series["donors dealt anew"] = dealt.mean(axis=0)
    low, high = interval(dealt)
    limits = [*zip(judged.low, judged.high, strict=True), (low, high)]
    figure = lines(
        series,
        [layout.rows[r] for r in found.rows],
        title=f"Whose {data.quantity} does {data.destination} hold?",
        x_title="depth of the patch",
        y_title="share of the way to the donor's",
        bands=dict(zip(series, limits, strict=True)),
        references={"the donor's": 1, "the receiver's own": 0},
    )
    return Figure(
        figure,
        f"{len(found.receiver)} texts got another text's activations at one word and depth; "
        f"{data.destination} is read at {layout.rows[row]} by a map fitted on other texts. Where "
        f"the curve of {found.words[0]} falls, the {data.quantity} has gone on to other words. "
        "Bands: 95 %, simultaneous over both words' depths; of dealt donors, 95 % of the deals.",
    )


def _table(found: Patching, judged: Judged, layout: Layout) -> pd.DataFrame:
    index = pd.MultiIndex.from_product(
        [found.words, [layout.rows[r] for r in found.rows]], names=["word", "depth"]
    )
    columns = {
        "share": judged.share,
        "low": judged.low,
        "high": judged.high,
        "null_mean": judged.test.mean,
        "null_sd": judged.test.sd,
        "p_family": judged.test.p_family,
    }
    flat = {name: values.ravel() for name, values in columns.items()}
    table = pd.DataFrame(flat, index=index).reset_index()
    table.insert(0, "model", layout.model)
    return table
