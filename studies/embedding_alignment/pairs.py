"""Do pairs stand out from scrambled pairs, by their cosines and beyond them?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from interp import alignment, study
from interp.claims import LEVEL, Claim, finding
from interp.numerals import runs
from interp.pairs import Pairs
from interp.plots import Axis, Scale, depth_lines, heatmap, lines
from interp.pooling import POOLINGS, same_last
from interp.report import Block, Figure, Section
from interp.stats import PermutationTest, permutation_test
from interp.study import Subject
from studies.embedding_alignment import tokens
from studies.embedding_alignment.tokens import poolings, sites, stream

Result = TypeVar("Result")

FREE = "How much alignment is there for free, in the raw embeddings?"

REFITS = 19
"""Re-pairings by which the rotation of held-out pairs is judged; each is fitted in every fold."""

EXCHANGES = 199
"""Exchanges of partners that CKA is held to."""

MAPPED = ("last", "mean", "rest", "unshared")
"""Poolings for which a rotation between the languages is fitted."""


def method(subjects: Sequence[Subject], pairs: Pairs) -> list[Block]:
    """What was done, in words."""
    sizes = ", ".join(f"{name}: {len(members)}" for name, members in pairs.members.items())
    identical = f" {pairs.identical} pairs have identical texts." if pairs.identical else ""
    if pairs.copies:
        identical += f" {pairs.copies} more repeat one of these on both sides and are left out."
    return [
        f"{len(pairs)} pairs of {' and '.join(pairs.languages)} texts ({sizes}).{identical} Each "
        "text is read at every depth as the last token, the mean over tokens and means over "
        "kinds of token. The mean cosine of pairs is held against scrambled pairs by exact "
        "moments (no sampling), among all pairs and within categories, where the template is "
        f"the same. Intervals come from {subjects[0].config.resamples} resamples of pairs, in "
        "which a pair's own copy does not count as a stranger.",
        f"Example: {pairs.texts[0][0]} | {pairs.texts[1][0]}",
        "In the table of models numbers are z within categories, mean pooling unless named.",
    ]


def side_by_side(subjects: Sequence[Subject], _pairs: Pairs) -> study.Part:
    """At which depths do pairs stand out in each of the models?"""
    percent = np.linspace(0, 100, 21)
    series = {}
    for subject in subjects:
        for pooling in ("mean", "unshared"):
            # the final norm is no depth of its own
            z = subject.ask(sites).stream.curve(pooling)[:-1]
            depths = np.linspace(0, 100, len(z))
            series[f"{subject.name}, {pooling}"] = np.interp(percent, depths, z)
    figure = lines(
        series,
        percent.tolist(),
        title="Models side by side: z within categories",
        x_title="depth in % of the blocks",
        y_title="z",
        references={"chance": 0},
    )
    caption = "0 % is the raw embedding, 100 % the last block."
    return study.Part(sections=[Section("The models side by side", [Figure(figure, caption)])])


def raw_embeddings(subject: Subject, pairs: Pairs) -> study.Part:
    """How far do pairs stand out, and how much of it is free in the raw embeddings?"""
    grids = subject.ask(sites)
    last, mean = (grids.stream.cell(0, pooling) for pooling in ("last", "mean"))
    within = "not at all: what aligned is the token that a category's texts end in."
    if last.stratified.status == alignment.OK:
        within = f"by z {last.stratified.z:.1f}."
    words = [
        f"In {subject.name} the raw embedding of the last token sets pairs apart from scrambled "
        f"ones by z {last.plain.z:.1f}, and within categories {within}",
        f"Averaged over all tokens the raw embedding gives z {mean.stratified.z:.1f} within "
        "categories.",
    ]
    if undefined := _undefined(subject):
        words.append("Undefined within categories: " + "; ".join(undefined) + ".")
    title = f"{subject.name}: pairs against scrambled pairs"
    return study.Part(
        claims=[_free(subject, pairs), _last_token(subject, pairs)],
        sections=[Section(title, [_curves(subject), _map(subject)])],
        tables={"cells": grids.table()},
        row={
            "raw embedding, last token: z among all": last.plain.z,
            "the same within categories": last.stratified.z,
            "raw embedding, mean": mean.stratified.z,
        },
        words=words,
    )


def _null(test: alignment.Pairing) -> str:
    return (
        f"pairs scrambled within categories: cosine {test.expected:.3g} with a standard deviation "
        f"of {test.sd:.2g} (exact moments)"
    )


def _free(subject: Subject, pairs: Pairs) -> Claim:
    cell = subject.ask(sites).stream.cell(0, "mean")
    return finding(
        FREE,
        "Averaged over tokens, raw embeddings lie closer in pairs than in scrambled pairs of one "
        "category.",
        estimate=cell.stratified.z,
        unit="z within categories",
        interval=cell.interval,
        null=_null(cell.stratified),
        controls={
            "z without categories": cell.plain.z,
            "z without language means": cell.centred.z,
            "matched cosine": cell.stratified.matched,
            "retrieval@1 among all, language means removed": cell.retrieval[1, False, True].matched,
        },
        primary=True,
        exchange=f"{tokens.exchanged(pairs)}; and token ({tokens.distinct(subject, 'mean')})",
        tests={
            "partners exchanged within categories": cell.stratified.p,
            **tokens.dealt(subject, "mean"),
        },
    )


def _last_token(subject: Subject, pairs: Pairs) -> Claim:
    cell = subject.ask(sites).stream.cell(0, "last")
    defined = cell.stratified.status == alignment.OK
    exchanges = {
        "partners exchanged within categories": cell.stratified.p,
        **tokens.dealt(subject, "last"),
    }
    return finding(
        FREE,
        "Raw embeddings of the last token align pairs.",
        estimate=cell.stratified.z,
        unit="z within categories",
        interval=cell.interval if defined else None,
        null=_null(cell.stratified) if defined else _why_undefined(subject, 0, "last"),
        controls={"z without categories": cell.plain.z, "texts end in": _last_tokens(subject)},
        exchange=tokens.exchanged(pairs),
        tests=exchanges if defined else {},
        needs="" if defined else "last tokens that differ within some category",
    )


def _why_undefined(subject: Subject, depth: int, pooling: str) -> str:
    """Why a cell has no z within categories, with the tokens that are to blame."""
    status = subject.ask(sites).stream.cell(depth, pooling).stratified.status
    if status == alignment.OK or pooling != "last" or depth:
        return status
    ends = _last_tokens(subject)
    return f"last tokens are identical within every category ({ends}): {status}"


def _last_tokens(subject: Subject) -> str:
    """The last tokens that all texts of a category share, by category."""
    categories: dict[str, list[str]] = {}
    for name, (first, second) in same_last(subject.ask(poolings), subject.texts).items():
        categories.setdefault(f"{first or 'various'} {second or 'various'}", []).append(name)
    ends = (f"{ends} in {', '.join(names)}" for ends, names in categories.items())
    return "; ".join(ends) or "various"


def _undefined(subject: Subject) -> list[str]:
    """Every cell of the residual stream without a z within categories, and why."""
    grids = subject.ask(sites)
    return [
        f"{depth}, {pooling}: {_why_undefined(subject, row, pooling)}"
        for row, depth in enumerate(grids.depths)
        for pooling in POOLINGS
        if grids.stream.cell(row, pooling).stratified.status != alignment.OK
    ]


def _curves(subject: Subject) -> Figure:
    grid = subject.ask(sites).stream
    within = {f"{name}, within categories": name for name in ("mean", "rest", "unshared", "last")}
    series = {label: grid.curve(pooling) for label, pooling in within.items()}
    series |= {f"{name}, all pairs": grid.curve(name, "plain") for name in ("mean", "last")}
    return Figure(
        depth_lines(
            series,
            subject.ask(sites).depths,
            title="How far pairs stand out from scrambled pairs",
            y_title="z of the matched cosine",
            bands={label: grid.limits(pooling) for label, pooling in within.items()},
            references={"chance": 0},
        ),
        "Exact z of the mean cosine of pairs. Scrambled among all pairs, texts also differ in "
        "template: that alone makes the z of the last token large where it is a full stop. "
        "Within categories the template is the same. Rest: the mean but for each text's first "
        "token, whose norm can outweigh all others. Bands: 95 % over resampled pairs.",
    )


def _map(subject: Subject) -> Figure:
    grids = subject.ask(sites)
    depths = range(len(grids.depths))
    status = [[_why_undefined(subject, depth, name) for name in POOLINGS] for depth in depths]
    return Figure(
        heatmap(
            np.stack([grids.stream.curve(name) for name in POOLINGS], axis=1),
            Axis(grids.depths, "depth"),
            Axis(POOLINGS, "pooling"),
            title="z within categories, at every depth and pooling",
            scale=Scale("z"),
            survivors=grids.stream.adjusted() <= LEVEL,
            survivors_label="false discovery rate 5 %",
            status=np.array(status),
        ),
        "Poolings: last visible token; mean over all tokens; rest, all but the first; tokens both "
        "texts have (equal by construction in the raw embedding); tokens they do not share; of "
        "these the words; numbers. A crossed cell has no z, and says why.",
    )


def beyond_cosines(subject: Subject, pairs: Pairs) -> study.Part:
    """Do partners find one another, are the geometries alike, and is one a turned other?"""
    body = [_retrieval(subject, pairs), _geometries(subject), _rotation(subject)]
    return study.Part(sections=[Section(f"{subject.name}: beyond the cosine of pairs", body)])


def _retrieval(subject: Subject, pairs: Pairs) -> Figure:
    grid, (first, second) = subject.ask(sites).stream, pairs.languages
    cells = [grid.cell(depth, "mean").retrieval for depth in range(len(grid.blocks))]
    series = {}
    for without, how in ((True, "means removed"), (False, "as they are")):
        for back, name in ((False, f"{first} finds {second}"), (True, f"{second} finds {first}")):
            series[f"{name}, {how}"] = np.array([cell[1, back, without].matched for cell in cells])
    return Figure(
        depth_lines(
            series,
            subject.ask(sites).depths,
            title="Retrieval@1: is the partner the nearest of all texts? (mean pooling)",
            y_title="share of texts",
            references={"chance": 1 / len(pairs)},
        ),
        "By cosine, among all texts of the other language, with and without each language's mean. "
        f"A z far above chance and few partners found go together: over {len(pairs)} pairs a "
        "small excess is sure. Retrieval@5 is in the table of cells.",
    )


def geometries(subject: Subject, pairs: Pairs) -> PermutationTest:
    """Debiased CKA of the stream against partners exchanged within categories, by depth and
    pooling of `MAPPED`."""

    def exchanges(A: np.ndarray, B: np.ndarray, category: np.ndarray) -> np.ndarray:
        if len(A) < 3:
            return np.full(EXCHANGES, np.nan)
        own, seed = np.arange(len(A)), subject.config.seed
        return alignment.cka_permutations(
            A, B, category, groups=own, n_permutations=EXCHANGES, seed=seed
        )

    null = [list(by_pooling.values()) for by_pooling in _mapped(subject, pairs, exchanges)]
    grid = subject.ask(sites).stream
    depths = range(len(grid.blocks))
    observed = np.array([[grid.cell(depth, name).cka for name in MAPPED] for depth in depths])
    return permutation_test(observed, np.moveaxis(np.array(null), -1, 0))


def _geometries(subject: Subject) -> Figure:
    test, grids = subject.ask(geometries), subject.ask(sites)
    curves = dict(zip(MAPPED, test.observed.T, strict=True))
    figure = depth_lines(
        {**curves, "mean, partners exchanged": test.mean[:, MAPPED.index("mean")]},
        grids.depths,
        title="Similarity of the two languages' geometries",
        y_title="debiased linear CKA",
        references={"unrelated": 0},
    )
    survivors = zip(MAPPED, (test.p_family <= LEVEL).T, strict=True)
    depths = "; ".join(f"{name}: {runs(grids.depths, chosen)}" for name, chosen in survivors)
    return Figure(
        figure,
        "Do texts that are alike in one language have partners that are alike in the other? "
        "Templates alone make two geometries similar, so partners are exchanged within categories. "
        f"Above that, corrected over depths and poolings (max-T at 5 %): {depths}.",
    )


def rotations(subject: Subject, pairs: Pairs) -> Sequence[Mapping[str, alignment.Pairing]]:
    """Cosine of held-out pairs after a rotation fitted on others, within categories, by depth and
    pooling of `MAPPED`."""
    folds, seed = subject.config.folds, subject.config.seed

    def rotated(A: np.ndarray, B: np.ndarray, category: np.ndarray) -> alignment.Pairing:
        if len(A) < max(3, folds):
            return alignment.Pairing.undefined(f"{len(A)} pairs have such tokens in both texts")
        held_out = alignment.heldout_procrustes(
            A, B, category, groups=np.arange(len(A)), n_splits=folds, seed=seed
        )
        # each re-pairing is a fit: few of them place a z beside the cosines, and no verdict does
        return alignment.pairing_test(
            held_out.scores, held_out.folds, n_permutations=REFITS, seed=seed
        )

    return list(_mapped(subject, pairs, rotated))


def _rotation(subject: Subject) -> Figure:
    depths = subject.ask(rotations)
    return Figure(
        depth_lines(
            {name: np.array([tests[name].z for tests in depths]) for name in MAPPED},
            subject.ask(sites).depths,
            title="After a rotation fitted on other pairs (orthogonal Procrustes, held out)",
            y_title="z within categories and folds",
            references={"chance": 0},
        ),
        "Where this is far above the plain z, the languages hold the same content in turned "
        "coordinates.",
    )


def _mapped(
    subject: Subject, pairs: Pairs, test: Callable[[np.ndarray, np.ndarray, np.ndarray], Result]
) -> Iterator[dict[str, Result]]:
    """A test of both languages' rows and their categories at every depth, by pooling of `MAPPED`,
    on the pairs that have it. No two of them are one text, whatever a shallow depth tells apart."""
    defined = {name: subject.ask(poolings).has(name) for name in MAPPED}
    for rows in stream(subject, pairs):
        yield {
            name: test(*(side[has] for side in (*rows[name], pairs.category)))
            for name, has in defined.items()
        }
