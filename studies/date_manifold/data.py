"""Texts that state a quantity and return to it: of a template, about one person or two, or a
user's own.

1. Every word that is asked about is a named span. A dataset names three of them: the word that
   states the label (the source), one that returns to it (the destination) and one that has nothing
   to do with it (the distractor).
2. The label's axis is cut into categories (months, weekdays, decades), the things that a lookup
   table would know: whole categories are left out and put in other orders to tell a geometry from
   a table.
3. A template states a quantity once, goes on with a sentence about the same person that has nothing
   to do with it, and returns to the quantity at the end. So each word can be asked whether it
   carries the quantity: the words before it is stated cannot, and the unrelated words should not.
"""

import dataclasses
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import regex
from jaxtyping import Float, Int, Shaped

from interp.labelled import read_labelled
from interp.positions import LETTER, Sample
from interp.smds import Shape, as_shape, ideal_coordinates, line
from interp.stats import permute_groups
from interp.texts import Categories, Texts

FEWEST = 24
"""Rows below which neither folds nor left-out categories hold enough."""

FEWEST_LABELS = 10
"""Labels below which those that are left do not say where one lies that was held out."""

PARTS = 12
"""Parts into which the axis of a user's labels is cut, as many as a year has months."""

ENOUGH = 200
"""Permutations for each model with which ten findings can be supported."""

NOUNS = {"circular": "circle", "linear": "line", "log_linear": "logarithmic line"}
"""What the shapes that a task asks for are called in a sentence."""

# --- what is known of each text ------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Dataset(Texts):
    """Texts and the label of each.

    Raises:
        ValueError: what `Texts` refuses; labels that are not finite; a group of two labels; and a
            source, destination or distractor that is no position.
    """

    task: str
    """Which template, or "data" for a user's own texts."""
    quantity: str
    """What the label is, in words."""
    unit: str
    """Unit of the label, plural; "" where it has none."""
    shape: str | Shape
    """Geometry that is asked for first."""
    category_noun: str
    """What a category is."""
    source: str
    """Word that states the label."""
    destination: str
    """Word that returns to it."""
    distractor: str | None
    """Word that has nothing to do with it; None where no word is known to be such."""
    before: int
    """Leading words that stand, in every text, before anything of the label is said."""
    other: Float[np.ndarray, " n"] | None = None
    """Label of the other person of a text that names two; one for each group."""
    made_of: str = "Folds and permutations keep all texts of one label whole."
    """What folds are made of, in sentences."""

    def __post_init__(self) -> None:
        for row in np.flatnonzero(~np.isfinite(self.labels))[:1]:
            raise ValueError(f"label {self.labels[row]} of row {row} is not finite")
        super().__post_init__()
        # refuses a group of two labels, which could not be permuted
        permute_groups(self.labels, self.groups, 1, np.random.default_rng(0))
        if self.other is not None:
            if len(self.other) != len(self.labels):
                raise ValueError(f"other has {len(self.other)} entries for {len(self.labels)}")
            dataclasses.replace(self, labels=self.other, other=None)  # is checked as labels are
        for word in (self.source, self.destination, self.distractor):
            if word is not None and word not in self.positions:
                raise ValueError(f"{word!r} is none of the words {', '.join(self.positions)}")
        if not 0 <= self.before <= self.positions.index(self.source):
            raise ValueError(
                f"before = {self.before} is not in 0..{self.positions.index(self.source)}, the "
                f"number of words before {self.source!r}"
            )

    @property
    def geometry(self) -> Shape:
        """The shape asked for first, in coordinates that no fold rescales."""
        if self.shape == "linear":
            return line(float(self.axis.edges[0]), float(self.axis.edges[-1]))
        return as_shape(self.shape, period=self.period)

    @property
    def noun(self) -> str:
        """The shape asked for first, in a word."""
        return NOUNS.get(self.geometry.name, self.geometry.name)

    @property
    def article(self) -> str:
        """The quantity with its article."""
        vowel = self.quantity[0] in "aeiou" or self.quantity == "hour"
        return f"{'an' if vowel else 'a'} {self.quantity}"

    @property
    def landmarks(self) -> tuple[str, ...]:
        """Source and destination; one word where a text has one span."""
        return tuple(dict.fromkeys((self.source, self.destination)))

    @property
    def marks(self) -> dict[str, str]:
        """The words that a dataset names, and what they are called."""
        marks = {self.source: "source", self.destination: "destination"}
        return marks if self.distractor is None else marks | {self.distractor: "distractor"}

    @property
    def exchanged(self) -> str:
        """The unit that is exchanged under permuted labels."""
        return f"group of texts of one {self.quantity} ({len(np.unique(self.groups))})"

    @property
    def lacking(self) -> str:
        """What a test of the categories' order lacks; "" where nothing."""
        rows = np.bincount(self.category, minlength=len(self.categories))
        missing = int((rows == 0).sum())
        return f"a text of each {self.category_noun}; {missing} have none" if missing else ""

    @property
    def recurring(self) -> bool:
        """Whether a file of one's own has labels that recur in several groups, and many labels:
        texts of one label may then be tellings of one fact, which the file does not say."""
        labels = len(np.unique(self.labels))
        return self.task == "data" and FEWEST_LABELS <= labels < len(np.unique(self.groups))

    def ideal(self, labels: Float[np.ndarray, " n"] | None = None) -> Float[np.ndarray, "n k"]:
        """Ideal coordinates of the labels, or of others."""
        chosen = self.labels if labels is None else labels
        return ideal_coordinates(chosen, self.geometry, period=self.period)

    def angles(self, rows: Int[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
        """Labels of some rows as angles in the cycle, in radians."""
        assert self.period is not None
        return 2 * np.pi * self.labels[rows] / self.period

    def permuted(self, seed: int) -> "Dataset":
        """The same texts under labels permuted among groups, all of one group moving together."""
        rng = np.random.default_rng([seed, 1])  # not the permutations that the null is made of
        _, first, member = np.unique(self.groups, return_index=True, return_inverse=True)
        taken = permute_groups(first[member], self.groups, 1, rng)[0]
        other = None if self.other is None else self.other[taken]
        return dataclasses.replace(self, labels=self.labels[taken], other=other)

    def fingerprint(self) -> str:
        """SHA-256 of texts, spans, labels and groups."""
        other = None if self.other is None else self.other.tolist()
        return hashlib.sha256((super().fingerprint() + repr(other)).encode()).hexdigest()

    def shuffled_orders(self, n_orders: int, *, seed: int) -> Float[np.ndarray, "orders n"]:
        """Labels with the categories laid out in random orders (`Categories.shuffled_orders`), on
        the axis on which the shape measures."""
        logarithmic = self.geometry.name == "log_linear"
        return self.axis.shuffled_orders(self.labels, n_orders, seed=seed, logarithmic=logarithmic)


# --- templates -----------------------------------------------------------------------------------

OTHER = " (other)"
"""Ending of the names of the other person's words."""

PEOPLE = {
    "Alice": ("She", "she", "her"),
    "Carol": ("She", "she", "her"),
    "Emma": ("She", "she", "her"),
    "Bob": ("He", "he", "his"),
    "David": ("He", "he", "his"),
    "Frank": ("He", "he", "his"),
}
CHOICES = {
    "sport": ("tennis", "chess", "golf", "soccer", "hockey", "rugby"),
    "color": ("blue", "green", "red", "yellow", "purple", "orange"),
    "city": ("London", "Paris", "Rome", "Berlin", "Madrid", "Oslo"),
}
FILLINGS = len(PEOPLE) * int(np.prod([len(values) for values in CHOICES.values()]))
"""Distinct sentences about one label."""

MONTHS = tuple(str(pd.Timestamp(2023, month, 1).month_name()) for month in range(1, 13))
DAYS_IN_MONTH = np.array([pd.Timestamp(2023, month, 1).days_in_month for month in range(1, 13)])
FIRST_DAY = np.concatenate([[0], np.cumsum(DAYS_IN_MONTH)[:-1]])
"""Day of the year on which each month begins, counting from 0."""
WEEKDAYS = tuple(str(pd.Timestamp(2024, 1, day).day_name()) for day in range(1, 8))
"""From Monday, as 2024 began."""
UNITS = (("day", 1, 2, 6), ("week", 7, 1, 4), ("month", 30, 2, 11), ("year", 365, 1, 9))
"""Units of time: singular, days, fewest and most that are written; their ranges do not meet."""

BIRTH = "{name} was born on the {day} of {month}."
UNRELATED = "{She} plays {sport} with friends, loves the color {color}, and lives in {city}."
PARTY = "Every year, {she} invites everyone to a big party on {her} birthday."


@dataclass(frozen=True)
class Template:
    """A quantity, its sentences and its axis."""

    text: str
    quantity: str
    unit: str
    values: Int[np.ndarray, " values"]
    """Every label that can be written."""
    slots: Callable[[int], dict[str, str]]
    """The slots that state a label."""
    period: float | None
    shape: str
    categories: tuple[str, ...]
    category_noun: str
    edges: Float[np.ndarray, " edges"]
    source: str
    destination: str
    by_sentence: bool = False
    """The exchangeable unit is the sentence, of which then none may occur twice, and not the label,
    of which there are too few to hold some out."""


def person(name: str) -> dict[str, str]:
    """Slots of a name and its pronouns."""
    return dict(zip(("She", "she", "her"), PEOPLE[name], strict=True)) | {"name": name}


def choices(rng: np.random.Generator) -> dict[str, str]:
    """Slots of the unrelated sentence, drawn evenly."""
    return {slot: str(rng.choice(values)) for slot, values in CHOICES.items()}


def _words(text: str) -> Iterator[tuple[str, str, str]]:
    """(name, word, punctuation after it) of a template; a repeated word gets a number."""
    seen: dict[str, int] = {}
    for chunk in text.split(" "):
        match = regex.fullmatch(rf"(\{{\w+\}}|{LETTER}+)((?:(?!{LETTER}).)*)", chunk)
        assert match is not None, chunk
        word, mark = match.groups()
        name = f"[{word[1:-1]}]" if word.startswith("{") else word
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name} {seen[name]}"), word, mark


def filled(text: str, slots: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(name, word as written, punctuation after it) of a template; slots have names in brackets."""
    return [(name, word.format_map(slots), mark) for name, word, mark in _words(text)]


def written(words: list[tuple[str, str, str]]) -> Sample:
    """The text of such words, with a span for each."""
    text, spans = "", {}
    for name, word, mark in words:
        text += " " if text else ""
        spans[name] = (len(text), len(text) + len(word))
        text += word + mark
    return Sample(text, spans)


def words_before(template: Template) -> int:
    """Number of words before the first that states anything of the label."""
    stating = {f"[{slot}]" for slot in template.slots(int(template.values[0]))}
    return next(i for i, (name, _, _) in enumerate(_words(template.text)) if name in stating)


def date(day: int) -> dict[str, str]:
    """Slots of a day of the year, counting from 0."""
    month = int(np.searchsorted(FIRST_DAY, day, side="right") - 1)
    return {"day": _ordinal(day - int(FIRST_DAY[month]) + 1), "month": MONTHS[month]}


def _ordinal(number: int) -> str:
    if number in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def _hour(hour: int) -> dict[str, str]:
    return {"hour": str((hour - 1) % 12 + 1), "half": "am" if hour < 12 else "pm"}


def _duration(days: int) -> dict[str, str]:
    unit, length, _, _ = next(u for u in reversed(UNITS) if days >= u[1] * u[2])
    number = days // length
    return {"number": str(number), "unit": unit if number == 1 else f"{unit}s"}


TEMPLATES: Mapping[str, Template] = {
    "birthday": Template(
        text=f"{BIRTH} {UNRELATED} {PARTY}",
        quantity="date",
        unit="days",
        values=np.arange(365),
        slots=date,
        period=365.0,
        shape="circular",
        categories=tuple(month[:3] for month in MONTHS),
        category_noun="month",
        edges=np.append(FIRST_DAY, 365.0),
        source="[month]",
        destination="birthday",
    ),
    "weekday": Template(
        text=f"{{name}} has a dentist appointment on {{weekday}}. {UNRELATED} On the morning of "
        "that day, {she} drives to the clinic.",
        quantity="weekday",
        unit="days",
        values=np.arange(7),
        slots=lambda day: {"weekday": WEEKDAYS[day]},
        period=7.0,
        shape="circular",
        categories=tuple(day[:3] for day in WEEKDAYS),
        category_noun="weekday",
        edges=np.arange(8.0),
        source="[weekday]",
        destination="day",
        by_sentence=True,
    ),
    "hour": Template(
        text=f"{{name}} catches the train at {{hour}} {{half}}. {UNRELATED} {{She}} arrives at the "
        "station just before that time.",
        quantity="hour",
        unit="hours",
        values=np.arange(24),
        slots=_hour,
        period=24.0,
        shape="circular",
        categories=tuple(" ".join(_hour(hour).values()) for hour in range(24)),
        category_noun="hour",
        edges=np.arange(25.0),
        source="[half]",
        destination="time",
        by_sentence=True,
    ),
    "duration": Template(
        text=f"{{name}} worked abroad for {{number}} {{unit}}. {UNRELATED} {{She}} tells everyone "
        "about that stay.",
        quantity="duration",
        unit="days",
        values=np.array(
            [length * k for _, length, low, high in UNITS for k in range(low, high + 1)]
        ),
        slots=_duration,
        period=None,
        shape="log_linear",
        categories=tuple(f"{unit}s" for unit, _, _, _ in UNITS),
        category_noun="unit",
        edges=np.array([float(length * low) for _, length, low, _ in UNITS] + [3650.0]),
        source="[unit]",
        destination="stay",
    ),
    "age": Template(
        text=f"{{name}} turned {{age}} this year. {UNRELATED} Nobody at the club knows {{her}} "
        "age.",
        quantity="age",
        unit="years",
        values=np.arange(1, 100),
        slots=lambda age: {"age": str(age)},
        period=None,
        shape="linear",
        categories=("1-9", *(f"{decade}s" for decade in range(10, 100, 10))),
        category_noun="decade",
        edges=np.array([1.0, *range(10, 101, 10)]),
        source="[age]",
        destination="age",
    ),
}
"""How each quantity is written."""

TASKS = tuple(TEMPLATES)
"""Quantities that have a template."""


# --- datasets ------------------------------------------------------------------------------------


def texts(config: Any) -> Dataset:
    """The dataset that the options describe."""
    if config.data is not None:
        dataset = from_file(config.data, group_near_copies=config.group_near_copies)
    else:
        dataset = generate(config.task, config.n, seed=config.seed, people=config.people)
    enough = ENOUGH * len(config.model)
    if config.permutations < enough:
        print(
            f"{config.permutations} permutations for {len(config.model)} models: their least p, "
            f"corrected over ten findings a model, is above .05; --permutations {enough} would do",
            file=sys.stderr,
        )
    return dataset.permuted(config.seed) if config.permute_dates else dataset


def generate(task: str, n: int, *, seed: int, people: int = 1) -> Dataset:
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
    task: str,
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
        labels=label.astype(np.float64),
        period=template.period,
        shape=template.shape,
        groups=np.arange(len(label)) if template.by_sentence else label,
        categories=template.categories,
        category_noun=template.category_noun,
        edges=template.edges,
        source=template.source,
        destination=template.destination,
        distractor="[sport]",
        before=before,
        other=None if other is None else other.astype(np.float64),
    )


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
    rows = read_labelled(path, group_near_copies=group_near_copies)
    if len(rows.samples) < FEWEST:
        raise ValueError(f"{path}: {len(rows.samples)} rows; at least {FEWEST} are needed")
    names = rows.columns.get("category")
    try:
        labels, period = rows.numbers(), rows.period()
        axis = _parts(labels, names, period)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    words = tuple(rows.samples[0].spans)
    return Dataset(
        task="data",
        quantity="label",
        unit="",
        samples=rows.samples,
        labels=labels,
        period=period,
        shape="linear" if period is None else "circular",
        groups=rows.groups,
        categories=axis.names,
        category_noun="part" if names is None else "category",
        edges=axis.edges,
        source=words[0],
        destination=words[-1],
        distractor=None,
        before=0,
        made_of=rows.made_of,
    )


def _parts(
    labels: Float[np.ndarray, " n"], names: Shaped[np.ndarray, " n"] | None, period: float | None
) -> Categories:
    if names is None:
        return Categories.equal_parts(labels, PARTS, period=period)
    for row in np.flatnonzero(np.char.strip(names) == "")[:1]:
        raise ValueError(f"row {row}, counting from 0, has no category; all rows need one, or none")
    return Categories.named(labels, names, period=period)
