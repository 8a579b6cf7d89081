"""Do categories lie side by side as their neighbours do, and all of them on a circle or a line?

The category means of a word, at every depth from 25 to 75 %, are held to what else would bring
neighbours together: clusters of seasons or halves, an open chain, one axis, names spelled alike,
and compounds of those (`interp.smds.cycle_test`). Places within a category, such as the day within
the month, are asked for apart (`interp.smds.within_category`): a word that knows its month alone
predicts the date to R2 .98. Quantities that do not return, such as ages, are asked for their order
instead (`interp.smds.chain_test`).
"""

from collections import Counter

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from interp.arrays import group_means
from interp.claims import Claim, description, finding
from interp.positions import stretches
from interp.report import Section, Table
from interp.smds import CycleTest, chain_test, cycle_test, within_category
from interp.smds.within import TARGETS
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import Detection
from studies.date_manifold.scoring import NOUNS, Part, Read, Settings, exchanged

ORDERS, WITHIN = 999, 499
"""Draws of a null over whole orders of the categories, and within clusters of them."""

FEWEST = 4
"""Categories below which there is no order to test."""

Cells = list[tuple[str, Float[np.ndarray, "n d"]]]


def investigate(found: Detection, read: Read, data: Dataset, settings: Settings) -> Part:
    """The cycle at source and destination, and places within categories."""
    words = tuple(dict.fromkeys((data.source, data.destination)))
    middle = [found.layout.rows[row] for row in found.layout.middle]
    cells: dict[str, Cells] = {word: [] for word in words}
    for depth, (_, activations) in zip(found.layout.rows, read(), strict=True):
        for word in words if depth in middle else ():
            cells[word].append((depth, activations[data.words.index(word)]))
    claims, frames, columns = [], [], {}
    for word in words:
        if data.period is None:
            claims.append(_in_order(found.layout.model, word, cells[word], data, settings))
            continue
        missing = lacking(data)
        test = None if missing else tested(cells[word], data, settings)
        claims += geometry(found.layout.model, word, test, data, missing)
        claims += _within(found.layout.model, word, cells[word], data, settings)
        if test is not None:
            frames.append(_frame(word, test))
            columns[f"circle at {word}, largest p"] = float(test.largest_p(circle=True).min())
    if not frames:
        return Part(claims, [])
    table = pd.concat(frames, ignore_index=True)
    caption = (
        f"p of refusing each rival of a circle of {data.category_noun}s, at every depth from 25 to "
        "75 %, corrected over those depths. A circle needs all of them at one depth. The share is "
        f"that of the squared distances of the {data.category_noun} means in the circle's plane; "
        f"unrelated directions have {2 / (len(data.categories) - 1):.2f}."
    )
    section = Section(f"{found.layout.model}: is it a circle?", [Table(table, caption)])
    return Part(claims, [section], columns, {"cycle": table.assign(model=found.layout.model)})


def lacking(data: Dataset) -> str:
    """What the test of an order lacks; "" where nothing."""
    rows = np.bincount(data.category, minlength=len(data.categories))
    if not rows.all():
        return f"a text of each {data.category_noun}; {int((rows == 0).sum())} have none"
    return ""


def tested(cells: Cells, data: Dataset, settings: Settings) -> CycleTest:
    """The test at every depth."""
    averaged, category = by_fact(cells, data)
    return cycle_test(
        averaged,
        category,
        names=written_names(data),
        n_categories=len(data.categories),
        n_orders=ORDERS,
        n_within=WITHIN,
        seed=settings.seed,
    )


def by_fact(cells: Cells, data: Dataset) -> tuple[Cells, Int[np.ndarray, " group"]]:
    """Texts of one group count once."""
    _, first, member = np.unique(data.group, return_index=True, return_inverse=True)
    return [(depth, group_means(X, member)) for depth, X in cells], data.category[first]


def _in_order(model: str, word: str, cells: Cells, data: Dataset, settings: Settings) -> Claim:
    """The one finding about a quantity that does not return."""
    noun, many = data.category_noun, f"{data.category_noun}s"
    question = f"Is it a {NOUNS['linear']} or a lookup table?"
    statement = f"At {word} the {many} lie in their order, as no lookup table or sorts explain."
    exchange = f"{noun} ({len(data.categories)})"
    few = "" if len(data.categories) >= FEWEST else f"{FEWEST} {many}"
    if missing := few or lacking(data):
        return finding(
            question, statement, tests={}, exchange=exchange, needs=missing, subject=model
        )
    averaged, category = by_fact(cells, data)
    test = chain_test(
        averaged,
        category,
        names=written_names(data),
        n_categories=len(data.categories),
        n_orders=ORDERS,
        seed=settings.seed,
    )
    depth = test.best()
    return finding(
        question,
        statement,
        subject=model,
        estimate=float(test.share[depth]),
        unit=f"of the squared distances of {noun} means lie along their order at "
        f"{test.depths[depth]}",
        null=f"a lookup table has {1 / (len(data.categories) - 1):.2f}; each rival by its own "
        f"orders of the {many}",
        exchange=exchange,
        selection=f"the depth, of {len(test.depths)}: each p is corrected over them (max-T)",
        tests={name: (float(p[depth]), test.floor[name]) for name, p in test.p.items()},
    )


def written_names(data: Dataset) -> list[str] | None:
    """How the texts write each category at the source, by its commonest form; None where two
    categories have one form, or a category has many."""
    forms: list[str] = []
    texts = []
    for sample in data.samples:
        parts = stretches(sample.spans[data.source])
        texts.append(sample.text[parts[0][0] : parts[-1][1]])
    for category in range(len(data.categories)):
        own = Counter(texts[row] for row in np.flatnonzero(data.category == category))
        (form, times), *_ = own.most_common(1) or [("", 0)]
        if 2 * times < own.total() or not form:
            return None
        forms.append(form)
    return forms if len(set(forms)) == len(forms) else None


def geometry(
    model: str, word: str, test: CycleTest | None, data: Dataset, missing: str
) -> list[Claim]:
    """Two findings about one word: neighbours are alike, and all lie on a circle."""
    noun, many = data.category_noun, f"{data.category_noun}s"
    said = {
        False: f"At {word} neighbouring {many} are alike, as no single rival explains.",
        True: f"At {word} the {many} lie on a {NOUNS['circular']}.",
    }
    question = f"Do the {many} lie on a {NOUNS['circular']}?"
    exchange = f"{noun} ({len(data.categories)}: all there are)"
    if test is None:
        return [
            finding(
                question, text, tests={}, exchange=exchange, needs=missing, subject=model,
                primary=circle and word == data.source,
            )
            for circle, text in said.items()
        ]  # fmt: skip
    return [
        _claim(question, text, test, circle, word, model, exchange, data)
        for circle, text in said.items()
    ]


def _claim(
    question: str,
    statement: str,
    test: CycleTest,
    circle: bool,
    word: str,
    model: str,
    exchange: str,
    data: Dataset,
) -> Claim:
    depth = test.best(circle=circle)
    rivals = [name for name in test.p if circle or not name.startswith("one axis beside")]
    table = 2 / (len(data.categories) - 1)
    return finding(
        question,
        statement,
        subject=model,
        primary=circle and word == data.source,
        estimate=float(test.share[depth]),
        unit=f"of the squared distances of {data.category_noun} means lie in the circle's plane at "
        f"{test.depths[depth]}",
        null=f"a lookup table has {table:.2f}; each rival by its own orders of the "
        f"{data.category_noun}s",
        exchange=exchange,
        selection=f"the depth, of {len(test.depths)}: each p is corrected over them (max-T)",
        tests={name: (float(test.p[name][depth]), test.floor[name]) for name in rivals},
        controls={"p of being open at some break": float(test.closed[depth])} if circle else {},
    )


def _within(model: str, word: str, cells: Cells, data: Dataset, settings: Settings) -> list[Claim]:
    """Whether a word holds the place within its category; nothing where categories are values."""
    groups = {name: len(set(data.group[data.category == name])) for name in set(data.category)}
    values = {name: len(set(data.label[data.category == name])) for name in set(data.category)}
    assert data.period is not None
    if min(groups.values()) < 2 or min(values.values()) < 2:
        return []
    noun, unit = data.category_noun, data.unit.removesuffix("s") or "place"
    made = within_category(
        cells,
        data.label,
        data.category,
        data.group,
        period=data.period,
        n_splits=settings.n_splits,
        n_permutations=settings.n_permutations,
        seed=settings.seed,
    )
    test, column = made.test, TARGETS.index("number")
    if not np.isfinite(test.p_family[:, column]).any():
        return [
            description(
                f"Where is the {data.quantity}?", f"{word}: the {unit} within the {noun}.",
                subject=model, needs=f"activations of {word} that vary within a {noun}",
            )
        ]  # fmt: skip
    depth = int(np.nanargmin(np.where(np.isnan(test.z[:, column]), np.inf, -test.z[:, column])))
    return [
        finding(
            f"Where is the {data.quantity}?",
            f"The word {word} tells the {unit} within the {noun} as well.",
            subject=model,
            estimate=float(test.observed[depth, column]),
            unit=f"held-out R2 within {noun}s at {made.depths[depth]}",
            null=f"{settings.n_permutations} exchanges of labels within {noun}s: mean "
            f"{test.mean[depth, column]:.2f}, since nothing held out is told by noise",
            exchange=exchanged(data),
            selection=f"the depth, of {len(made.depths)}: p is corrected over them (max-T)",
            tests={
                f"the {noun} alone": (float(test.p_family[depth, column]), test.floor),
            },
            controls={
                f"p of the place on the {NOUNS['circular']}": float(
                    np.nanmin(test.p_family[:, TARGETS.index("arc")])
                )
            },
        )
    ]


def _frame(word: str, test: CycleTest) -> pd.DataFrame:
    columns = {f"p, {name}": values for name, values in test.p.items()}
    return pd.DataFrame({"word": word, "depth": test.depths, "share": test.share, **columns})
