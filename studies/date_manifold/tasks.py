"""Datasets: n sentences of a template about one person or two, or a user's own texts."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

from interp.labelled import Labelled, number, read_labelled
from interp.positions import Sample
from studies.date_manifold.data import Dataset
from studies.date_manifold.templates import (
    BIRTH,
    FILLINGS,
    PARTY,
    PEOPLE,
    TASKS,
    TEMPLATES,
    UNRELATED,
    Task,
    Template,
    choices,
    date,
    filled,
    person,
    words_before,
    written,
)

FEWEST = 24
"""Rows below which neither folds nor left-out categories hold enough."""

PARTS = 12
"""Parts into which the axis of a user's labels is cut, as many as a year has months."""

OTHER = " (other)"
"""Ending of the names of the other person's words."""


def generate(task: Task, n: int, *, seed: int, people: int = 1) -> Dataset:
    """n sentences. Labels come in rounds of all that can be written, each in random order, so that
    they are as even as n allows; the other slots are drawn independently of the label.

    With `people` = 2 a sentence names two persons of different names and dates, of whom the rest
    of the text asks after one; which of them stands first is random, each in half of the texts.
    The words of the one who is asked after have their plain names, those of the other end in
    " (other)". The two dates are independent, but all sentences of one date share the other one,
    so that a fold that leaves a date out knows neither.

    Raises:
        ValueError: an unknown task, fewer than 24 sentences, more than there are distinct ones
            where the sentence is the group, or two people in another task than "birthday".
    """
    if task not in TASKS:
        raise ValueError(f"task {task!r} is none of {', '.join(TASKS)}")
    if people not in (1, 2) or (people == 2 and task != "birthday"):
        raise ValueError(f"people = {people} in task {task!r}; 1, or 2 in task 'birthday'")
    template = TEMPLATES[task]
    most = FILLINGS * len(template.values)
    if n < FEWEST:
        raise ValueError(f"n = {n}: fewer than {FEWEST} sentences are too few for folds")
    if template.by_sentence and n > most:
        raise ValueError(f"n = {n}: task {task!r} has {most} distinct sentences")
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(template.values) for _ in range(-(-n // len(template.values)))]
    label = np.concatenate(rounds)[:n]
    if people == 1:
        samples = _sentences(template, label, rng)
        return _dataset(task, samples, label, before=words_before(template))
    other = _partner_dates(rng)[label]
    samples = _pairs(label, other, rng)
    # whoever stands second, the words of the first already name a date
    return _dataset(task, samples, label, before=0, other=other)


def _dataset(
    task: Task,
    samples: list[Sample],
    label: Int[np.ndarray, " n"],
    *,
    before: int,
    other: Int[np.ndarray, " n"] | None = None,
) -> Dataset:
    template = TEMPLATES[task]
    return Dataset(
        task=task,
        quantity=template.quantity,
        unit=template.unit,
        samples=samples,
        label=label.astype(np.float64),
        period=template.period,
        shape=template.shape,
        group=np.arange(len(label)) if template.by_sentence else label,
        category=_category(label, template.edges),
        categories=template.categories,
        category_noun=template.category_noun,
        edges=template.edges,
        source=template.source,
        destination=template.destination,
        distractor="[sport]",
        before=before,
        other=None if other is None else other.astype(np.float64),
    )


def _category(
    label: Shaped[np.ndarray, " n"], edges: Float[np.ndarray, " edges"]
) -> Int[np.ndarray, " n"]:
    return np.asarray(np.searchsorted(edges[1:-1], label, side="right"))


def _sentences(
    template: Template, label: Int[np.ndarray, " n"], rng: np.random.Generator
) -> list[Sample]:
    samples: list[Sample] = []
    seen: set[str] = set()
    for value in label.tolist():
        while True:
            slots = person(str(rng.choice(list(PEOPLE)))) | template.slots(value) | choices(rng)
            sample = written(filled(template.text, slots))
            if not (template.by_sentence and sample.text in seen):
                break
        seen.add(sample.text)
        samples.append(sample)
    return samples


def _pairs(
    label: Int[np.ndarray, " n"], other: Int[np.ndarray, " n"], rng: np.random.Generator
) -> list[Sample]:
    """Texts of two births; words in the order in which the one who is asked after stands first."""
    rest = " ".join((UNRELATED, PARTY)).replace("{She}", "{name}").replace("{she}", "{name}")
    asked_first = rng.permutation(len(label)) % 2 == 0
    samples = []
    for mine, theirs, first in zip(label.tolist(), other.tolist(), asked_first, strict=True):
        asked, second = rng.choice(list(PEOPLE), 2, replace=False)
        slots = person(str(asked)) | date(mine) | choices(rng)
        words = filled(f"{BIRTH} {rest}", slots)
        other_birth = [
            (name + OTHER, word, mark)
            for name, word, mark in filled(BIRTH, person(str(second)) | date(theirs))
        ]
        birth, after = words[: len(other_birth)], words[len(other_birth) :]
        order = birth + other_birth if first else other_birth + birth
        sample = written(order + after)
        names = [name for name, _, _ in birth + other_birth + after]
        samples.append(Sample(sample.text, {name: sample.spans[name] for name in names}))
    return samples


def _partner_dates(rng: np.random.Generator) -> Int[np.ndarray, " day"]:
    """For each day of the year another one, in one random cycle through all of them: no day is its
    own partner, and each is a partner once."""
    cycle = rng.permutation(len(TEMPLATES["birthday"].values))
    partner = np.empty_like(cycle)
    partner[cycle] = np.roll(cycle, -1)
    return partner


def from_file(path: Path | str, *, group_near_copies: bool = False) -> Dataset:
    """Texts, labels and spans of a CSV or JSONL file, as `interp.labelled` describes it.

    The first span states the label and the last returns to it. A column `period` (one number in
    all rows, or empty) makes the label a cycle. A column `category` names the label's categories,
    which must not interleave; without it the range of the labels, or the cycle, is cut into twelve
    equal parts, of which empty ones are joined to the part before.

    Raises:
        ValueError: fewer than 24 rows, a label that is no number, a period that is none or that
            changes, a row without a category, categories that interleave, or what `read_labelled`
            and `Dataset` refuse.
    """
    read = read_labelled(path, group_near_copies=group_near_copies)
    if len(read.samples) < FEWEST:
        raise ValueError(f"{path}: {len(read.samples)} rows; at least {FEWEST} are needed")
    label = _numbers(path, read)
    period = _period(path, read.columns.get("period"))
    names = read.columns.get("category")
    edges, categories = (
        _equal_parts(label, period) if names is None else _named_parts(path, label, names, period)
    )
    words = tuple(read.samples[0].spans)
    return Dataset(
        task="data",
        quantity="label",
        unit="",
        samples=read.samples,
        label=label,
        period=period,
        shape="linear" if period is None else "circular",
        group=read.groups,
        category=_category(label, edges),
        categories=categories,
        category_noun="part" if names is None else "category",
        edges=edges,
        source=words[0],
        destination=words[-1],
        distractor=None,
        before=0,
        made_of=read.made_of,
    )


def _numbers(path: Path | str, read: Labelled) -> Float[np.ndarray, " n"]:
    labels = read.labels
    if labels.dtype != np.float64:
        row = next(row for row, label in enumerate(labels) if number(str(label)) is None)
        raise ValueError(
            f"{path}, line {read.lines[row]}: label {str(labels[row])!r} of row {row}, counting "
            "from 0, is no finite number"
        )
    if np.ptp(labels) == 0:
        raise ValueError(f"{path}: every label is {labels[0]}; a geometry needs labels that differ")
    return labels


def _period(path: Path | str, column: Shaped[np.ndarray, " n"] | None) -> float | None:
    if column is None:
        return None
    written_periods = np.unique(np.char.strip(column))
    if len(written_periods) > 1:
        raise ValueError(
            f"{path}: periods {str(written_periods[0])!r} and {str(written_periods[1])!r}; all "
            "rows need the same, or none has one"
        )
    value = str(written_periods[0])
    period = number(value)
    if value and (period is None or period <= 0):
        raise ValueError(f"{path}: period {value!r} must be a number above 0, or empty")
    return period


def _equal_parts(
    label: Float[np.ndarray, " n"], period: float | None
) -> tuple[Float[np.ndarray, " edges"], tuple[str, ...]]:
    low, high = (label.min(), label.max()) if period is None else (0.0, period)
    bounds = np.linspace(low, high, PARTS + 1)
    edges = np.append(bounds[np.unique(_category(label, bounds))], high)
    return edges, tuple(f"{begin:g} to {end:g}" for begin, end in pairwise(edges))


def _named_parts(
    path: Path | str,
    label: Float[np.ndarray, " n"],
    names: Shaped[np.ndarray, " n"],
    period: float | None,
) -> tuple[Float[np.ndarray, " edges"], tuple[str, ...]]:
    for row in np.flatnonzero(np.char.strip(names) == "")[:1]:
        raise ValueError(
            f"{path}: row {row}, counting from 0, has no category; all rows need one, or none"
        )
    spans = sorted(
        (label[names == name].min(), label[names == name].max(), str(name))
        for name in np.unique(names)
    )
    for (low, high, name), (begin, end, following) in pairwise(spans):
        if high >= begin:
            raise ValueError(
                f"{path}: categories {name!r} ({low:g} to {high:g}) and {following!r} ({begin:g} "
                f"to {end:g}) interleave; each must be a stretch of the labels of its own"
            )
    # without a cycle the last category ends one step behind its largest label, for otherwise one of
    # a single value would have no width
    step = np.diff(np.unique(label)).min()
    end = label.max() + step if period is None else period
    return np.array([low for low, _, _ in spans] + [end]), tuple(name for _, _, name in spans)
