"""What is read of the texts, by kind of token, and how much of an alignment shared tokens carry.

A pooling is a mean over some tokens of a text, or its last one (`interp.pooling`). Every pooling is
read from the residual stream at every depth, and from what both halves of every block add to it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer
from tqdm import tqdm

from interp import alignment, study
from interp.claims import LEVEL, Claim, description, finding
from interp.model import attn_out, depth_names, mlp_out, residual_stream
from interp.pairs import Pairs
from interp.plots import depth_lines
from interp.pooling import POOLINGS, SPELT, Poolings, pool, same_last
from interp.report import Figure, Section, Table
from interp.store import Store, by_position
from interp.study import Subject

SHARED = "How much of it do shared tokens carry?"

DICTIONARIES = 999
"""Dictionaries dealt anew; each is a product of counts and vectors."""

Rows = tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]
"""Activations of the first language's texts and of the second's, in the order of the pairs."""


def poolings(subject: Subject, pairs: Pairs) -> Poolings:
    """The tokens of every pooling."""
    return pool(subject.model.tokenizer, pairs)


def store(subject: Subject, _pairs: Pairs) -> Store:
    """Every pooling in the stream at every depth, then in the attention and the MLP of every block;
    the first language's texts stand before the second's."""
    blocks, pooled = range(subject.model.cfg.n_layers), subject.ask(poolings)
    hooks = [*residual_stream(subject.model), *map(attn_out, blocks), *map(mlp_out, blocks)]
    return subject.stores.extract(
        subject.run.study, subject.model, pooled.samples, hooks=hooks, rule=pooled.rules
    )


def vectors(subject: Subject, _pairs: Pairs) -> Rows:
    """Each language's tokens in the embedding matrix, in the order of `Poolings.types`."""
    first, second = (
        subject.model.W_E[types.ids].detach().float().cpu().numpy()
        for types in subject.ask(poolings).types
    )
    return first, second


def resamples(subject: Subject, pairs: Pairs) -> Integer[np.ndarray, "resamples n"]:
    """How often each pair is drawn for intervals, as many of each category as it has."""
    rng = np.random.default_rng(subject.config.seed)
    return alignment.draw_pairs(
        len(pairs), subject.config.resamples, strata=pairs.category, rng=rng
    )


@dataclass(frozen=True)
class Sites:
    """How far pairs stand out in the stream, and in what each half of a block adds to it."""

    stream: alignment.AlignmentGrid
    """The residual stream, depth by depth."""
    attention: alignment.AlignmentGrid
    """What attention adds, block by block."""
    mlp: alignment.AlignmentGrid
    """What the MLP adds, block by block."""

    @property
    def depths(self) -> tuple[str, ...]:
        """Names of the stream's depths."""
        return depth_names(self.stream.blocks)

    @property
    def n_layers(self) -> int:
        """Blocks of the model, which is also the depth of the last one."""
        return len(self.attention.blocks)

    @property
    def best(self) -> int:
        """Depth of the block where pairs stand out most, by the mean pooling within categories."""
        return 1 + int(np.argmax(np.nan_to_num(self.stream.curve("mean")[1:-1], nan=-np.inf)))

    def table(self) -> pd.DataFrame:
        """A row for every site, hook and pooling."""
        grids = {"residual stream": self.stream, "attention": self.attention, "MLP": self.mlp}
        tables = [grid.table().assign(site=site) for site, grid in grids.items()]
        renamed = {"block": "hook", "position": "pooling"}
        return pd.concat(tables, ignore_index=True).rename(columns=renamed)


def sites(subject: Subject, pairs: Pairs) -> Sites:
    """Pairs against scrambled pairs at every hook and pooling."""
    activations, name = subject.ask(store), f"alignment in {subject.name}"
    hooks = tqdm(by_position(activations), total=len(activations.hooks), desc=name, unit="hook")
    grid = alignment.alignment_grid(
        iter(hooks),
        subject.ask(resamples),
        pairs.category,
        positions=POOLINGS,
        defined=subject.ask(poolings).defined,
    )
    blocks = (len(grid.blocks) - 2) // 3  # the stream has an embedding and a final norm besides
    edges = (0, blocks + 2, 2 * blocks + 2, 3 * blocks + 2)
    return Sites(*(grid.part(start, stop) for start, stop in pairwise(edges)))


def stream(subject: Subject, pairs: Pairs) -> Iterator[dict[str, Rows]]:
    """Both languages' rows by pooling, one depth of the residual stream after another."""
    hooks, n = subject.ask(sites).stream.blocks, len(pairs)
    for _, activations in by_position(subject.ask(store), hooks=hooks):
        rows = zip(POOLINGS, activations, strict=True)
        yield {name: (texts[:n], texts[n:]) for name, texts in rows}


def dictionaries(subject: Subject, pairs: Pairs) -> Mapping[str, alignment.DictionaryTest | None]:
    """Vectors of tokens within categories against dictionaries dealt anew, by pooling of `SPELT`.

    Words of one language are held without their language's mean; None for fewer than three pairs.
    """
    pooled, tests = subject.ask(poolings), {}
    for name in SPELT:
        defined, sides, kinds = pooled.has(name), [], []
        for types, embedded in zip(pooled.types, subject.ask(vectors), strict=True):
            used = types.used(name, defined)
            sides.append((types.weights[name][defined][:, used], embedded[used]))
            kinds.append(types.kinds[used])
        tests[name] = None
        if defined.sum() >= 3:
            tests[name] = alignment.dictionary_test(
                sides[0],
                sides[1],
                kinds[1],
                pairs.category[defined],
                centre=name == "specific",
                n_permutations=DICTIONARIES,
                seed=subject.config.seed,
            )
    return tests


def dealt(subject: Subject, pooling: str) -> dict[str, tuple[float, float]]:
    """The test of a pooling's words: they recur in texts, so what holds for these pairs must hold
    for these words as well."""
    test = subject.ask(dictionaries)[pooling]
    return {} if test is None else {"vectors dealt to other tokens": (test.p, test.floor)}


def distinct(subject: Subject, pooling: str) -> int:
    """Different tokens of the second language in a pooling."""
    types = subject.ask(poolings).types[1]
    return int(types.weights[pooling].any(axis=0).sum())


def shares(subject: Subject, pairs: Pairs) -> Mapping[str, tuple[alignment.Decomposition, ...]]:
    """What shared tokens carry of the mean pooling's excess, depth by depth, with pairs scrambled
    within categories and among all."""
    fraction, counts = subject.ask(poolings).shared_fraction[..., None], subject.ask(resamples)
    strata = {"within categories": pairs.category, "among all pairs": None}
    depths: dict[str, list[alignment.Decomposition]] = {name: [] for name in strata}
    own = np.arange(len(pairs))  # no two pairs are one text, whatever a shallow depth tells apart
    for rows in stream(subject, pairs):
        # what shared tokens bring to the mean over all: nothing to a text that has none
        first, second = (
            np.where(weight > 0, weight * shared, 0.0)
            for weight, shared in zip(fraction, rows["shared"], strict=True)
        )
        for name, category in strata.items():
            share = alignment.decompose(rows["mean"], (first, second), counts, category, groups=own)
            depths[name].append(share)
    return {name: tuple(by_depth) for name, by_depth in depths.items()}


def shared_tokens(subject: Subject, pairs: Pairs) -> study.Part:
    """How much of the alignment do tokens carry that both texts contain?"""
    share, words = subject.ask(shares)["within categories"][0], subject.ask(dictionaries)
    origin = f"no share can be given ({share.status})."
    if share.status == alignment.OK:
        origin = (
            f"shared tokens carry {_interval(share)} of it, words and marks of one language the "
            "rest."
        )
    if (test := words["specific"]) is not None:
        origin += (
            " Words that only one language has, without the languages' means, stand "
            f"{test.z:.1f} standard deviations above dictionaries dealt anew."
        )
    centred = subject.ask(sites).stream.cell(0, "specific").centred.z
    body = [_kinds(subject, pairs), _last_tokens(subject, pairs), _shares(subject)]
    return study.Part(
        claims=[_carried(subject, pairs), _words(subject, pairs)],
        sections=[Section(f"{subject.name}: the tokens", body)],
        tables={"tokens": subject.ask(poolings).counts},
        row={
            "... of which shared tokens carry": share.share,
            "raw embedding, words of one language, centred": centred,
        },
        words=[f"Where the free alignment comes from: {origin}"],
    )


def _interval(share: alignment.Decomposition) -> str:
    if share.interval is None:
        return share.status
    return f"{share.share:.2f} [{share.interval[0]:.2f}, {share.interval[1]:.2f}]"


def _carried(subject: Subject, pairs: Pairs) -> Claim:
    within, among = subject.ask(shares).values()
    share = within[0]
    fraction = 100 * subject.ask(poolings).shared_fraction.mean(axis=1)
    names = [f"of {language} tokens (%)" for language in pairs.languages]
    return description(
        SHARED,
        "What tokens that both texts contain bring to the raw embeddings' alignment.",
        estimate=share.share,
        unit="of the excess cosine within categories",
        interval=share.interval,
        null="0 for tokens that bring nothing; with the other tokens' share it makes 1, products "
        "of both kinds belonging half to each",
        needs="" if share.interval else f"a share ({share.status})",
        controls={
            "share without categories": _interval(among[0]),
            **dict(zip(names, fraction, strict=True)),
            "share at the last block": _interval(within[-2]),
        },
    )


def _words(subject: Subject, pairs: Pairs) -> Claim:
    """Tokens that the texts do not share, in the raw embedding: what translation alone can give."""
    grids, test = subject.ask(sites), subject.ask(dictionaries)["specific"]
    cell = grids.stream.cell(0, "specific")
    blocks = grids.stream.adjusted()[1:-1, POOLINGS.index("specific")] <= LEVEL
    defined = cell.centred.status == alignment.OK and test is not None
    exchanges = {
        "partners exchanged within categories": cell.centred.p,
        **dealt(subject, "specific"),
    }
    return finding(
        SHARED,
        "Words that only one of the languages has align in the raw embeddings.",
        estimate=test.z if test is not None and defined else None,
        unit="standard deviations above dictionaries dealt anew, within categories, language means "
        "removed",
        null="the second language's vectors dealt to other tokens of their kind"
        if defined
        else cell.centred.status,
        exchange=f"token ({distinct(subject, 'specific')}); and {exchanged(pairs)}",
        tests=exchanges if defined else {},
        needs="" if defined else "words of one language in three pairs of a category",
        controls={
            "z by pairs of texts": cell.centred.z,
            "the same with language means": cell.stratified.z,
            "blocks where they align": f"{int(blocks.sum())} of {grids.n_layers} "
            "(there they may have read the numbers)",
        },
    )


def exchanged(pairs: Pairs) -> str:
    """The unit that is exchanged."""
    return f"pair of texts, within its category ({len(pairs)})"


def _kinds(subject: Subject, pairs: Pairs) -> Table:
    """What the tokens are."""
    grids, counts = subject.ask(sites), subject.ask(poolings).counts
    depths = {grids.depths[depth]: depth for depth in (0, grids.n_layers)}
    by_kind = {"language-specific": "specific", "numeric": "numeric", "shared letters": "shared"}
    rows = []
    for kind in dict.fromkeys(counts["kind"]):
        row: dict[str, object] = {"kind": "BOS and the like" if kind == "special" else kind}
        of_kind = counts[counts["kind"] == kind].set_index("language")
        for column in ("tokens", "distinct", "shared"):
            row[column] = " / ".join(str(of_kind.loc[name, column]) for name in pairs.languages)
        # The first token sees itself alone and is the same one in both texts.
        alone = 1.0 if kind == "special" and bool((of_kind["tokens"] > 0).all()) else np.nan
        for name, depth in depths.items():
            pooling = by_kind.get(kind)
            met = alone if pooling is None else grids.stream.cell(depth, pooling).meeting
            row[f"cosine, {name}"] = met
        rows.append(row)
    matched = " and ".join(
        f"{grids.stream.cell(depth, 'shared').stratified.matched:.3f} ({name})"
        for name, depth in depths.items()
    )
    return Table(
        pd.DataFrame(rows),
        f"Tokens by what they decode to ({' / '.join(pairs.languages)}): in all texts, different "
        "ones, and how many the partner has too. Cosine: between the languages' mean activations "
        "over such tokens (for shared letters: over all shared tokens). "
        f"Within a pair, the mean of the shared tokens has cosine {matched}.",
    )


def _last_tokens(subject: Subject, pairs: Pairs) -> Table:
    """What the texts of each category end in."""
    pooled = subject.ask(poolings)
    same = same_last(pooled, pairs)
    rows = []
    for category, members in pairs.members.items():
        row: dict[str, object] = {"category": category, "pairs": len(members)}
        for side, language in enumerate(pairs.languages):
            ends = pd.Series([pooled.last[side][pair] for pair in members]).value_counts()
            several = ", ".join(f"{end} ({count})" for end, count in ends.head(4).items())
            common = same.get(category, ("", ""))[side]
            row[f"{language} ends in"] = f"{common} (all)" if common else several
        rows.append(row)
    return Table(pd.DataFrame(rows), "What the last token is.")


def _shares(subject: Subject) -> Figure:
    by_null = subject.ask(shares)
    limits = {
        name: np.array([(np.nan, np.nan) if s.interval is None else s.interval for s in depths])
        for name, depths in by_null.items()
    }
    return Figure(
        depth_lines(
            {name: np.array([s.share for s in depths]) for name, depths in by_null.items()},
            subject.ask(sites).depths,
            title="Share of the pairs' excess cosine that shared tokens carry (mean pooling)",
            y_title="share",
            bands={name: (low_high[:, 0], low_high[:, 1]) for name, low_high in limits.items()},
            references={"none": 0, "all": 1},
        ),
        "1 minus the excess over scrambled pairs without shared tokens, over the excess with all. "
        "Past the embedding the other tokens have read the shared ones, so a falling share says "
        "where their content went, not that it ceased to matter. Below 0: shared tokens hide "
        "alignment. Bands: 95 % over pairs.",
    )
