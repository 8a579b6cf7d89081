"""How aligned the two languages are at every hook and in every pooling."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Integer, Shaped
from tqdm import tqdm

from interp.alignment import (
    Components,
    Decomposition,
    DictionaryTest,
    Pairing,
    Resampled,
    cka_permutations,
    cosines,
    decompose,
    dictionary_test,
    draw_pairs,
    heldout_procrustes,
    hits,
    linear_cka,
    pairing_test,
    principal_components,
    resample,
)
from interp.stats import PermutationTest, fdr, permutation_test, simultaneous_band
from studies.embedding_alignment.activations import SITES, Sides
from studies.embedding_alignment.problems import Pairs
from studies.embedding_alignment.tokens import POOLINGS, SPELT, Poolings

REFITS = 19
"""Re-pairings by which the rotation of held-out pairs is judged; each is fitted in every fold."""

RANKS = (1, 5)
"""k of retrieval@k."""

EXCHANGES = 199
"""Exchanges of partners that CKA is held to."""

DICTIONARIES = 999
"""Dictionaries dealt anew; each is a product of counts and vectors."""

MAPPED = ("last", "mean", "rest", "unshared")
"""Poolings for which a rotation between the languages is fitted."""

Rows = tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]
Draws = Integer[np.ndarray, "resamples n"]


@dataclass(frozen=True)
class Settings:
    """How pairs are resampled and held out."""

    resamples: int
    """Resamples of pairs for intervals."""
    folds: int
    """Folds of the held-out rotation."""
    seed: int
    """Of resamples, folds and re-pairings."""


@dataclass(frozen=True)
class Cell:
    """One pooling at one hook."""

    n: int
    """Pairs of which both texts have such tokens."""
    plain: Pairing
    """Cosine, pairs scrambled among all."""
    stratified: Pairing
    """Cosine, pairs scrambled within their category."""
    centred: Pairing
    """The same after each language's mean is taken away."""
    retrieval: Mapping[tuple[int, bool, bool], Pairing]
    """Retrieval@k among all texts by (k, whether the second language searches, whether each
    language's mean is taken away)."""
    cka: float
    """Debiased linear CKA."""
    norms: tuple[float, float]
    """Mean norm of either language's rows."""
    meeting: float
    """Cosine of the two languages' means."""
    resampled: Resampled
    """`stratified` on resampled pairs."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % limits of the stratified z over pairs, as far from it on both sides: resampled z
        lie too high where pairs align well, and their percentiles cover 85 %."""
        z = np.array([self.stratified.z])
        low, high = simultaneous_band(z, self.resampled.z[:, None])
        return float(low[0]), float(high[0])


@dataclass(frozen=True)
class Measured:
    """One model."""

    model: str
    """The name it was asked for by."""
    sides: Sides
    """Its activations."""
    pairs: Pairs
    """The texts."""
    poolings: Poolings
    """Their tokens."""
    cells: Mapping[tuple[str, str], Cell]
    """By hook and pooling."""
    rotated: Mapping[tuple[int, str], Pairing]
    """Cosine of held-out pairs after a rotation fitted on others, within categories, by depth and
    pooling."""
    components: tuple[Components, ...]
    """Principal components of the mean pooling, by depth."""
    shares: tuple[Decomposition, ...]
    """What shared tokens carry of the mean pooling's excess within categories, by depth."""
    plain_shares: tuple[Decomposition, ...]
    """The same with pairs scrambled among all."""
    cka: PermutationTest
    """Debiased CKA of the stream against partners exchanged within categories, [depths, MAPPED]."""
    dictionary: Mapping[str, DictionaryTest | None]
    """By pooling of `SPELT`, the vectors of tokens within categories against dictionaries dealt
    anew, words of one language without their language's mean; None for fewer than three pairs."""

    @property
    def depths(self) -> tuple[str, ...]:
        """Names of the residual stream's depths."""
        return self.sides.depths

    def cell(self, depth: int, pooling: str, site: str = SITES[0]) -> Cell:
        """The cell of a pooling at a depth of a site."""
        return self.cells[self.sides.hooks(site)[depth], pooling]

    def curve(
        self, pooling: str, test: str = "stratified", value: str = "z", site: str = SITES[0]
    ) -> Float[np.ndarray, " depths"]:
        """A number of each cell's test over the depths of a site."""
        hooks = self.sides.hooks(site)
        return np.array([getattr(getattr(self.cells[h, pooling], test), value) for h in hooks])

    def draws(self, pooling: str) -> Float[np.ndarray, "resamples depths"]:
        """Stratified z on resampled pairs, the same pairs at every depth."""
        hooks = self.sides.hooks(SITES[0])
        return np.stack([self.cells[h, pooling].resampled.z for h in hooks], axis=1)

    def adjusted(self) -> Float[np.ndarray, "depths poolings"]:
        """Benjamini-Hochberg adjusted p of the residual stream's cells."""
        return fdr(np.stack([self.curve(name, value="p") for name in POOLINGS], axis=1))

    def table(self) -> pd.DataFrame:
        """A row for every hook and pooling."""
        rows = []
        for site in SITES:
            for hook in self.sides.hooks(site):
                rows += [
                    {"site": site, "hook": hook, "pooling": name, **_row(self.cells[hook, name])}
                    for name in POOLINGS
                ]
        return pd.DataFrame(rows)


def measure(
    model: str, sides: Sides, pairs: Pairs, poolings: Poolings, settings: Settings
) -> Measured:
    """Test every hook and pooling, and what the residual stream's depths show besides."""
    draws = draw_pairs(
        len(pairs),
        settings.resamples,
        strata=pairs.category,
        rng=np.random.default_rng(settings.seed),
    )
    defined: dict[str, Bool[np.ndarray, " n"]] = dict(zip(POOLINGS, poolings.defined, strict=True))
    stream = sides.hooks(SITES[0])
    cells: dict[tuple[str, str], Cell] = {}
    rotated: dict[tuple[int, str], Pairing] = {}
    components, shares, plain_shares, exchanged = [], [], [], []
    for hook in tqdm(sides.store.hooks, desc=f"alignment in {model}", unit="hook"):
        sets = sides.read(hook)
        for name, rows in sets.items():
            cells[hook, name] = _cell(rows, pairs.category, defined[name], draws)
        if hook in stream:
            depth = stream.index(hook)
            rotated |= {
                (depth, name): _rotated(sets[name], pairs, defined[name], settings)
                for name in MAPPED
            }
            exchanged.append(
                [_exchanged(sets[name], pairs, defined[name], settings) for name in MAPPED]
            )
            components.append(
                principal_components(*sets["mean"], pairs.category, groups=np.arange(len(pairs)))
            )
            shares.append(_share(sets, poolings, draws, pairs.category))
            plain_shares.append(_share(sets, poolings, draws, None))
    return Measured(
        model, sides, pairs, poolings, cells, rotated,
        tuple(components), tuple(shares), tuple(plain_shares),
        permutation_test(
            np.array([[cells[hook, name].cka for name in MAPPED] for hook in stream]),
            np.moveaxis(np.array(exchanged), -1, 0),
        ),
        {name: _dictionary(name, sides, pairs, poolings, defined[name], settings)
         for name in SPELT},
    )  # fmt: skip


def _exchanged(
    rows: Rows, pairs: Pairs, defined: Bool[np.ndarray, " n"], settings: Settings
) -> Float[np.ndarray, " exchanges"]:
    if defined.sum() < 3:
        return np.full(EXCHANGES, np.nan)
    A, B = (side[defined] for side in rows)
    return cka_permutations(
        A,
        B,
        pairs.category[defined],
        groups=np.arange(len(A)),  # no two pairs are one text
        n_permutations=EXCHANGES,
        seed=settings.seed,
    )


def _dictionary(
    pooling: str,
    sides: Sides,
    pairs: Pairs,
    poolings: Poolings,
    defined: Bool[np.ndarray, " n"],
    settings: Settings,
) -> DictionaryTest | None:
    if defined.sum() < 3:
        return None
    used, kinds = [], []
    for types, vectors in zip(poolings.types, sides.vectors, strict=True):
        weights = types.weights[pooling][defined]
        some = weights.any(axis=0)
        used.append((weights[:, some], vectors[some]))
        kinds.append(types.kinds[some])
    return dictionary_test(
        used[0],
        used[1],
        kinds[1],
        pairs.category[defined],
        centre=pooling == "specific",
        n_permutations=DICTIONARIES,
        seed=settings.seed,
    )


def _cell(
    rows: Rows,
    category: Shaped[np.ndarray, " n"],
    defined: Bool[np.ndarray, " n"],
    draws: Draws,
) -> Cell:
    n, strata = int(defined.sum()), category[defined]
    if n < 3:
        return _empty(n, len(draws))
    A, B = (side[defined] for side in rows)
    own = np.arange(n)  # no two pairs are one text, whatever a shallow depth tells apart
    scores, centred = (cosines(A, B, groups=own, centre=centre) for centre in (False, True))
    means = A.mean(axis=0, dtype=float), B.mean(axis=0, dtype=float)
    lengths = [float(np.linalg.norm(side, axis=1).mean(dtype=float)) for side in (A, B)]
    return Cell(
        n=n,
        plain=pairing_test(scores),
        stratified=pairing_test(scores, strata),
        centred=pairing_test(centred, strata),
        retrieval={
            (k, back, without): pairing_test(hits(centred if without else scores, k, backward=back))
            for k in RANKS
            if k < n
            for back, without in product((False, True), repeat=2)
        },
        cka=linear_cka(A, B, groups=own),
        norms=(lengths[0], lengths[1]),
        meeting=float(means[0] @ means[1] / np.prod([np.linalg.norm(m) for m in means])),
        resampled=resample(scores, draws[:, defined], strata),
    )


def _undefined(n: int) -> Pairing:
    why = f"{n} pairs have such tokens in both texts"
    return Pairing(np.nan, np.nan, np.nan, np.nan, np.nan, why, ())


def _empty(n: int, resamples: int) -> Cell:
    none, nothing = _undefined(n), np.full(resamples, np.nan)
    drawn = Resampled(nothing, nothing)
    return Cell(n, none, none, none, {}, np.nan, (np.nan, np.nan), np.nan, drawn)


def _rotated(
    rows: Rows, pairs: Pairs, defined: Bool[np.ndarray, " n"], settings: Settings
) -> Pairing:
    if defined.sum() < max(3, settings.folds):
        return _undefined(int(defined.sum()))
    A, B = (side[defined] for side in rows)
    held_out = heldout_procrustes(
        A,
        B,
        pairs.category[defined],
        groups=np.arange(len(A)),  # no two pairs are one text, whatever a shallow depth tells apart
        n_splits=settings.folds,
        seed=settings.seed,
    )
    # each re-pairing is a fit: few of them place a z beside the cosines, and no verdict rests on it
    return pairing_test(held_out.scores, held_out.folds, n_permutations=REFITS, seed=settings.seed)


def _share(
    sets: dict[str, Rows],
    poolings: Poolings,
    draws: Draws,
    category: Shaped[np.ndarray, " n"] | None,
) -> Decomposition:
    """What shared tokens bring to the mean over tokens; nothing to a text that has none."""
    fraction = poolings.shared_fraction[..., None]
    part = [
        np.where(weight > 0, weight * shared, 0.0)
        for weight, shared in zip(fraction, sets["shared"], strict=True)
    ]
    # no two pairs are one text, whatever a shallow depth tells apart
    own = np.arange(len(part[0]))
    return decompose(sets["mean"], (part[0], part[1]), draws, category, groups=own)


def _row(cell: Cell) -> dict[str, object]:
    tests = {"": cell.stratified, "plain_": cell.plain, "centred_": cell.centred}
    row: dict[str, object] = {"n": cell.n}
    for prefix, test in tests.items():
        row |= {
            f"{prefix}{name}": getattr(test, name) for name in ("matched", "expected", "z", "p")
        }
    low, high = cell.interval
    row |= {"z_low": low, "z_high": high, "status": cell.stratified.status}
    row |= {"silent": ", ".join(cell.stratified.silent), "cka": cell.cka}
    for (k, back, without), test in cell.retrieval.items():
        name = f"retrieval_{k}{'_back' if back else ''}{'_centred' if without else ''}"
        row[name] = test.matched
    return row | {"norm_first": cell.norms[0], "norm_second": cell.norms[1]}
